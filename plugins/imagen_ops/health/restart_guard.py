"""How many restarts an hour health may make: what falls over each time needs a person."""

from datetime import UTC, datetime, timedelta

from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.alerts.alert import alert
from imagen_ops.google.rest import explained
from imagen_ops.records.history import History

RESTART_SCHEMA = "imagen.restart/1"


def take_restart(history: History, *, run_id: str, most_per_hour: int, start_dag_id: str) -> None:
    """Take one of the hour's restarts, before anything is started.

    Args:
        history: the records of restarts; the refused ones are kept in it, too.
        run_id: of the DAG run that wants to restart. What an earlier try of it took is its own.
        most_per_hour: how many restarts there may be within any 60 minutes.
        start_dag_id: of the DAG that a person starts the stream with, for the message.

    Raises:
        AirflowFailException: none is left. The first refusal within an hour is an alert as well.
        ApiError: storage refuses, or does not answer.
    """
    now = datetime.now(UTC)
    record = {"schema": RESTART_SCHEMA, "run_id": run_id, "at": now.isoformat()}
    with explained("counting the restarts of the last hour in storage"):
        lately = [r for r in history.since(now - timedelta(hours=1)) if r["run_id"] != run_id]
        taken = [one for one in lately if not one["refused"]]
        refused = len(taken) >= most_per_hour
        history.put({**record, "refused": refused})
    if not refused:
        return
    text = (
        f"not restarting: there were {len(taken)} restarts within an hour, and "
        f"IMAGEN_RESTARTS_PER_HOUR allows {most_per_hour}. Look at why the job ends (its error is "
        f"in the verdict), mend it, and run {start_dag_id}"
    )
    if not any(one["refused"] for one in lately):
        alert("stream_crash_loop", text, run_id=run_id)
    raise AirflowFailException(text)
