"""Callbacks for the end of a DAG run: they write a record and alert about failures and recoveries.

They are callbacks of the DAG and not a last task. So they also cover runs that time out and tasks
that somebody marks as failed, cannot change the result of the run, and need no worker. How Airflow
3.3 runs them:

* The scheduler requests them when the tasks of a run have ended or the run has timed out. The DAG
  processor runs them one after the other, in the process that would parse the DAG's file, with
  settings, connections and Variables as in a task. A callback that is killed does not run again.
* All callbacks that are due for one file share `[dag_processor] dag_file_processor_timeout`, 50 s,
  with parsing. So the alert of a failure goes first, and every wait is short.
* The context is that of one task: the last one that failed or succeeded, or one that had not ended
  when the run timed out (it is `skipped` by then). Without such a task, for instance when all were
  skipped, there are only `dag`, `run_id` and `reason`, and the record has nulls for the rest.
* When somebody sets the state of a *run* by hand, no callback runs, so there is no record.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from imagen_ops.alerts.alert import alert
from imagen_ops.alerts.time_limit import run_within
from imagen_ops.google.clients import Clients
from imagen_ops.records.folders import RUN_RECORDS
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.records.history import History

SCHEMA = "imagen.run/1"
SUCCESS, FAILED = "success", "failed"

# Together with the notifier's timeout of 10 s, two concurrent failures of a file's DAGs fit into
# the 50 s.
_RECORD_TIMEOUT_S = 15.0
# How far back to search for the previous run. A search reads whole days. A DAG that runs every five
# minutes is found in the first step and a nightly one in the second; only rare ones cost more.
_LOOK_BACK_DAYS = (0, 1, 7, 31)
_MAX_NAMES = 50
_MAX_NAME_CHARS = 250

_FAILURES = {
    "timed_out": "took longer than its dagrun_timeout",
    "all_tasks_deadlocked": "cannot continue: none of its remaining tasks can run",
}

_log = logging.getLogger(__name__)
_Callback = Callable[[Mapping[str, Any]], None]


def _log_errors(callback: _Callback) -> _Callback:
    """Log the errors of a callback: Airflow counts them, but reports them nowhere."""

    @functools.wraps(callback)
    def guarded(context: Mapping[str, Any]) -> None:
        try:
            callback(context)
        except Exception:
            _log.exception(
                "a callback failed unexpectedly; there may be no record or alert of the run"
            )

    return guarded


@_log_errors
def run_failed(context: Mapping[str, Any]) -> None:
    """Send the alert `run_failed`, then save the run's record. Never raises.

    For the `on_failure_callback` of a DAG.
    """
    record = run_record(context, FAILED)
    tasks, url = record["failed_tasks"], record["log_url"]
    failure = _FAILURES.get(record["reason"], "failed")
    text = f"{record['dag_id']}: run {context['run_id']} {failure}"
    if tasks:
        text += f"; check {', '.join(tasks)}"
    alert(
        "run_failed",
        f"{text}: {url}" if url else text,
        context=context,
        dag_id=record["dag_id"],
        run_id=context["run_id"],
        tasks=tasks,
        reason=record["reason"],
        log_url=url,
    )
    _save(record)


@_log_errors
def run_succeeded(context: Mapping[str, Any]) -> None:
    """Save the run's record, and send the alert `run_recovered` if the previous run had failed.

    For the `on_success_callback` of a DAG. Never raises. If the run was cleared, the previous
    record may be of the same run.
    """
    record = run_record(context, SUCCESS)
    previous = _save(record)
    if previous is None or previous.get("state") != FAILED:
        return
    failed_run = str(previous["run_id"]).removeprefix(f"{record['dag_id']}/")
    alert(
        "run_recovered",
        f"{record['dag_id']}: run {context['run_id']} succeeded; the previous run {failed_run} "
        f"failed at {previous['at']}",
        context=context,
        dag_id=record["dag_id"],
        run_id=context["run_id"],
        failed_run_id=failed_run,
        failed_at=previous["at"],
        log_url=record["log_url"],
    )


def run_record(
    context: Mapping[str, Any], state: str, now: datetime | None = None
) -> dict[str, Any]:
    """Return the record of a run, `imagen.run/1`.

    Its `run_id` is `<dag_id>/<run_id>`. Times are ISO 8601, and `at` is the end of the run.
    `triggered_by` is a user, or null for a scheduled run. `failed_tasks` and `conf_keys` hold at
    most 50 names. The values of `conf` are left out, because they may be prompts.

    Args:
        context: what Airflow passes to the callback.
        state: `SUCCESS` or `FAILED`.
        now: the end of a run that has none, for tests. Default: the current time.
    """
    run, run_id = context.get("dag_run"), str(context["run_id"])
    start, end = getattr(run, "start_date", None), getattr(run, "end_date", None)
    run_type = getattr(run, "run_type", None)
    return {
        "schema": SCHEMA,
        "run_id": f"{context['dag'].dag_id}/{run_id}",
        "at": (end or now or datetime.now(UTC)).isoformat(),
        "dag_id": context["dag"].dag_id,
        "state": state,
        "reason": context.get("reason"),
        "start": start.isoformat() if start else None,
        "end": end.isoformat() if end else None,
        "seconds": round((end - start).total_seconds(), 3) if start and end else None,
        "failed_tasks": _names(_failed_tasks(context, state)),
        "run_type": None if run_type is None else str(getattr(run_type, "value", run_type)),
        "triggered_by": getattr(run, "triggering_user_name", None),
        "conf_keys": _names(getattr(run, "conf", None) or {}),
        "log_url": _log_url(context),
    }


def _failed_tasks(context: Mapping[str, Any], state: str) -> set[str]:
    """Return the tasks that failed, and for a failed run the task that Airflow blames."""
    ti = context.get("ti")
    blamed = {ti.task_id} if ti is not None and state == FAILED else set()
    return blamed | set(_tasks_in_state_failed(context))


def _tasks_in_state_failed(context: Mapping[str, Any]) -> Iterator[str]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    get_states = getattr(context.get("ti"), "get_task_states", RuntimeTaskInstance.get_task_states)
    try:
        states = get_states(dag_id=dag_id, run_ids=[run_id]).get(run_id, {})
    except Exception as error:
        _log.warning(
            "%s: run %s: the states of its tasks cannot be read, so the record may lack failed "
            "tasks: %s: %s",
            dag_id,
            run_id,
            type(error).__name__,
            error,
        )
        return
    for task_id, task_state in states.items():
        if getattr(task_state, "value", task_state) == FAILED:
            yield task_id


def _log_url(context: Mapping[str, Any]) -> str | None:
    try:
        return str(context["ti"].log_url)
    except Exception:  # no task, or one that the DAG no longer has
        return None


def _names(names: Any) -> list[str]:
    """Return names in order, shortened to fit into a record."""
    return sorted(str(name)[:_MAX_NAME_CHARS] for name in names)[:_MAX_NAMES]


def _save(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Save a record and return the DAG's previous one, if there is one. Never raises."""
    try:
        return run_within(_RECORD_TIMEOUT_S, lambda: _put(record))
    except Exception as error:
        _log.error(
            "the record of run %s was not saved, and the previous run is unknown: %s: %s. Check "
            "IMAGEN_BUCKET, the Airflow connection to Google, and that its account can write to "
            "the bucket",
            record["run_id"],
            type(error).__name__,
            error,
        )
        return None


def _put(record: Mapping[str, Any]) -> dict[str, Any] | None:
    history = Clients(Settings.from_environment()).history(RUN_RECORDS)
    previous = _previous_run(history, record["dag_id"], datetime.fromisoformat(record["at"]))
    history.put(record)
    return previous


def _previous_run(history: "History", dag_id: str, before: datetime) -> dict[str, Any] | None:
    midnight = before.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for days in _LOOK_BACK_DAYS:
        earlier = [
            record
            for record in history.since(midnight - timedelta(days=days))
            if record.get("dag_id") == dag_id and datetime.fromisoformat(record["at"]) < before
        ]
        if earlier:
            return earlier[-1]
    return None
