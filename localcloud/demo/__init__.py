"""The whole product on one machine: stream, backfill, replay, drain, and a contact sheet."""
