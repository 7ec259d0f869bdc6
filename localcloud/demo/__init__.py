"""The whole way on one machine, shown: stream, backfill, drain, and the pictures."""
