"""The defaults of all DAGs. A test checks that every DAG uses them."""

from datetime import datetime, timedelta
from typing import Any

from imagen_ops.alerts.run_callbacks import run_failed, run_succeeded

OWNER = "imagen"
TAG = "imagen"

# Retries are for transient errors; any other error fails its task at once. Before an error counts,
# googleapiclient has already retried the call.
TASK_DEFAULTS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 3,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    # Of one try, or of one check of a waiting task.
    "execution_timeout": timedelta(minutes=10),
    "depends_on_past": False,
}

DAG_DEFAULTS: dict[str, Any] = {
    "start_date": datetime(2026, 1, 1),
    "catchup": False,
    "default_args": TASK_DEFAULTS,
    "is_paused_upon_creation": False,
    # Set for runs and not for tasks: an error that a retry may fix is not worth an alert yet.
    "on_failure_callback": run_failed,
    "on_success_callback": run_succeeded,
}
