"""What happens when a run of one of our DAGs has ended: a record, an alert, word of a recovery.

These are callbacks of the DAG, not a last task of it: they also hear of runs whose time is up and
of tasks that somebody has marked failed, cannot change what becomes of the run, and cost no worker.
What is to be known of them, of Airflow 3.3:

* The scheduler asks for them once a run's tasks are over or its time is up; the DAG processor runs
  them, in the process in which it would parse the DAG's file, one after the other. There are
  settings, connections and Variables as in a task. One that is killed is not repeated.
* All that one file's runs ask for at once has `[dag_processor] dag_file_processor_timeout`, 50 s,
  together, parsing included. So the alert of a failure goes first, and nothing waits for long.
* The context is that of a task: of the one that failed last, or succeeded last, or had not ended
  when the time was up (it is `skipped` by then). Without one, as when all were skipped, there are
  only `dag`, `run_id` and `reason`, and a record has nulls for what is not known.
* A run whose *own* state somebody sets by hand ends without any callback: it leaves no record.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from imagen_ops.alerts.alert import alert
from imagen_ops.alerts.time_limit import within
from imagen_ops.google.clients import Clients
from imagen_ops.records.folders import RUN_RECORDS
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.records.history import History

SCHEMA = "imagen.run/1"
SUCCESS, FAILED = "success", "failed"

# With the notifier's limit, two failures at once of a file's DAGs fit into what there is.
_RECORD_WITHIN_S = 15.0
# Days are whole objects: what runs every five minutes finds its last record in the first look,
# what runs nightly in the second, and only what is triggered now and then costs more.
_LOOK_BACK_DAYS = (0, 1, 7, 31)
_MAX_NAMES = 50
_LONGEST_NAME = 250

_REASONS = {
    "timed_out": "took longer than its dagrun_timeout",
    "all_tasks_deadlocked": "could not go on: none of its tasks can run",
}

_log = logging.getLogger(__name__)
_Callback = Callable[[Mapping[str, Any]], None]


def _harmless(callback: _Callback) -> _Callback:
    """Let a callback's errors end in the log: Airflow counts them, but tells nobody."""

    @functools.wraps(callback)
    def guarded(context: Mapping[str, Any]) -> None:
        try:
            callback(context)
        except Exception:
            _log.exception("a callback failed that never should")

    return guarded


@_harmless
def run_failed(context: Mapping[str, Any]) -> None:
    """Alert (`run_failed`), then keep the run's record; for `on_failure_callback` of a DAG."""
    record = run_record(context, FAILED)
    tasks, url = record["failed_tasks"], record["log_url"]
    why = _REASONS.get(record["reason"], "failed")
    text = f"{record['dag_id']}: run {context['run_id']} {why}"
    if tasks:
        text += f"; look at {', '.join(tasks)}"
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
    _keep(record)


@_harmless
def run_succeeded(context: Mapping[str, Any]) -> None:
    """Keep the run's record; alert (`run_recovered`) if the DAG's last one was a failure.

    For `on_success_callback` of a DAG. The last one may be of the same run, when it was cleared.
    """
    record = run_record(context, SUCCESS)
    previous = _keep(record)
    if previous is None or previous.get("state") != FAILED:
        return
    failed_run = str(previous["run_id"]).removeprefix(f"{record['dag_id']}/")
    alert(
        "run_recovered",
        f"{record['dag_id']}: run {context['run_id']} succeeded; {failed_run} had failed at "
        f"{previous['at']}",
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

    `run_id` is `<dag_id>/<run_id>`, times are ISO 8601, `at` is the end; `triggered_by` is a user,
    null for a schedule; `failed_tasks` and `conf_keys` are names, at most 50. Of `conf` there are
    no values: they may be prompts.
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
    """Return the tasks that failed, and of a failed run the one that its end is blamed on."""
    ti = context.get("ti")
    blamed = {ti.task_id} if ti is not None and state == FAILED else set()
    return blamed | set(_failed_by_their_state(context))


def _failed_by_their_state(context: Mapping[str, Any]) -> Iterator[str]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    ask = getattr(context.get("ti"), "get_task_states", RuntimeTaskInstance.get_task_states)
    try:
        states = ask(dag_id=dag_id, run_ids=[run_id]).get(run_id, {})
    except Exception as error:
        _log.warning("what became of the tasks of %s/%s is not known: %r", dag_id, run_id, error)
        return
    for task_id, task_state in states.items():
        if getattr(task_state, "value", task_state) == FAILED:
            yield task_id


def _log_url(context: Mapping[str, Any]) -> str | None:
    try:
        return str(context["ti"].log_url)
    except Exception:  # of no task, or of one that the DAG has no more
        return None


def _names(names: Any) -> list[str]:
    """Return names in order, within what a record may hold."""
    return sorted(str(name)[:_LONGEST_NAME] for name in names)[:_MAX_NAMES]


def _keep(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Add a record, and return the DAG's last one before it, if there is one; never raises."""
    try:
        return within(_RECORD_WITHIN_S, lambda: _put(record))
    except Exception as error:
        _log.error(
            "no record was kept of run %s, nor is it known how the one before it ended: %s: %s. "
            "Look at IMAGEN_BUCKET, at the Airflow connection to Google, and at whether its "
            "account may write to the bucket",
            record["run_id"],
            type(error).__name__,
            error,
        )
        return None


def _put(record: Mapping[str, Any]) -> dict[str, Any] | None:
    history = Clients(Settings.from_environment()).history(RUN_RECORDS)
    previous = _last_of(history, record["dag_id"], datetime.fromisoformat(record["at"]))
    history.put(record)
    return previous


def _last_of(history: "History", dag_id: str, before: datetime) -> dict[str, Any] | None:
    midnight = before.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for days in _LOOK_BACK_DAYS:
        found = [
            record
            for record in history.since(midnight - timedelta(days=days))
            if record.get("dag_id") == dag_id and datetime.fromisoformat(record["at"]) < before
        ]
        if found:
            return found[-1]
    return None
