"""The limit on restarts by the health check: a stream that keeps dying needs a person."""

from datetime import UTC, datetime, timedelta

from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.alerts.alert import alert
from imagen_ops.google.rest import explained
from imagen_ops.health.assessment.formatting import count
from imagen_ops.records.history import History

RESTART_SCHEMA = "imagen.restart/1"


def claim_restart(history: History, *, run_id: str, max_per_hour: int, start_dag_id: str) -> None:
    """Claim one of the restarts allowed per hour, before anything is started.

    Args:
        history: the records of restarts, including the refused ones.
        run_id: the DAG run that wants to restart the stream. A retry does not count again.
        max_per_hour: maximum restarts within any 60 minutes.
        start_dag_id: the DAG with which a person starts the stream, for the message.

    Raises:
        AirflowFailException: no restart remains. The first refusal within an hour is also an alert.
        ApiError: a call to Cloud Storage failed.
    """
    at = datetime.now(UTC)
    record = {"schema": RESTART_SCHEMA, "run_id": run_id, "at": at.isoformat()}
    with explained("counting the restarts of the last hour in Cloud Storage"):
        records = history.since(at - timedelta(hours=1))
        records = [earlier for earlier in records if earlier["run_id"] != run_id]
        restarts = sum(not earlier["refused"] for earlier in records)
        refused = restarts >= max_per_hour
        history.put({**record, "refused": refused})
    if not refused:
        return
    text = (
        f"not restarting: {count(restarts, 'restart')} in the last hour, and "
        f"IMAGEN_RESTARTS_PER_HOUR allows {max_per_hour}. Find out why the job keeps ending (the "
        f"verdict quotes its error), fix it, then run {start_dag_id}"
    )
    if not any(earlier["refused"] for earlier in records):
        alert("stream_crash_loop", text, run_id=run_id)
    raise AirflowFailException(text)
