"""The whole way on one machine, shown: stream, backfill, replay, drain, and the pictures."""
