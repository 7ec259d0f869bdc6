"""Where in the bucket each kind of record is kept: one folder a kind."""

HEALTH_RECORDS = "records/health"
RESTART_RECORDS = "records/restarts"
BACKFILL_RECORDS = "records/backfills"
RUN_RECORDS = "records/runs"
REPLAY_RECORDS = "records/replays"
