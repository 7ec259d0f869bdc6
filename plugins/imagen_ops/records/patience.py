"""How long a task waits for Cloud Storage before it says that it has no answer.

The library's own `DEFAULT_RETRY` repeats a call for two minutes (`google.cloud.storage.retry`) and
waits a minute for each answer. A task that fails is retried by Airflow anyway, so it should rather
say soon what is wrong.
"""

from typing import Any

# Of all tries of one call together.
RETRY_SECONDS = 20.0
# To connect, and for an answer to one try.
TIMEOUT_SECONDS = (5.0, 15.0)


def storage_patience() -> dict[str, Any]:
    """Return the keyword arguments `retry` and `timeout` of calls of google-cloud-storage."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return {"retry": DEFAULT_RETRY.with_timeout(RETRY_SECONDS), "timeout": TIMEOUT_SECONDS}
