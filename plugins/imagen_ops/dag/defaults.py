"""What all DAGs have in common, so that a test can hold them to it."""

from datetime import datetime, timedelta
from typing import Any

from imagen_ops.alerts.run_callbacks import run_failed, run_succeeded

OWNER = "imagen"
TAG = "imagen"

# Retries are for what passes by itself; what does not fails its task at once. The first calls of
# a task have googleapiclient's own retries behind them already.
TASK_DEFAULTS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 3,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    # Of one try, and of one look of a task that waits.
    "execution_timeout": timedelta(minutes=10),
    "depends_on_past": False,
}

DAG_DEFAULTS: dict[str, Any] = {
    "start_date": datetime(2026, 1, 1),
    "catchup": False,
    "default_args": TASK_DEFAULTS,
    "is_paused_upon_creation": False,
    # Of runs, not of tasks: what a task retries is nobody's business yet.
    "on_failure_callback": run_failed,
    "on_success_callback": run_succeeded,
}
