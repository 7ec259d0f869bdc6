"""What all DAGs have in common, so that a test can hold them to it."""

from datetime import timedelta
from typing import Any

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
