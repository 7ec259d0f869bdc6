"""The folder of each kind of record in the bucket."""

HEALTH_RECORDS = "records/health"
RESTART_RECORDS = "records/restarts"
BACKFILL_RECORDS = "records/backfills"
RUN_RECORDS = "records/runs"
REPLAY_RECORDS = "records/replays"
LAUNCH_RECORDS = "records/launches"
ACTION_RECORDS = "records/actions"
