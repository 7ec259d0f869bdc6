"""What was done in the last two weeks, by whom and with which form."""

from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.records.folders import ACTION_RECORDS, RUN_RECORDS
from imagen_ops.settings import MAX_APPROVAL_HOURS, MAX_PREFETCH_HOURS
from imagen_ops.ui.panels.steps import (
    DRAIN,
    HEALTH,
    START,
    EndedRun,
    Step,
    by_time,
    ended_runs,
    steps,
)
from imagen_ops.ui.storage import Deadline, Storage

_SHOWN_FOR = timedelta(days=14)
_MAX_RUNS = 100
# No DAG's `dagrun_timeout` is longer.
_RUN_LASTS = timedelta(hours=91 + MAX_APPROVAL_HOURS + MAX_PREFETCH_HOURS)
# What a run of a DAG is called. What others leave is called by their ids.
_NAMES = {
    START: "start",
    DRAIN: "drain",
    HEALTH: "restart",
    "imagen_backfill": "backfill",
    "imagen_dead_letters_replay": "replay",
}


def read_done(storage: Storage, now: datetime | None = None) -> dict[str, Any]:
    """Read what runs have done.

    Returns:
        `{"runs"}`, the newest first.

    Raises:
        ReadError: it cannot be read.
    """
    deadline, now = Deadline(), now or datetime.now(UTC)
    since = now - _SHOWN_FOR
    acted = storage.list_days(ACTION_RECORDS, since, deadline)
    ran = storage.list_days(RUN_RECORDS, since, deadline)
    taken = by_time(storage.read(acted, steps, deadline))
    ended = [run for day in storage.read(ran, ended_runs, deadline) for run in day]
    return {"runs": what_runs_did(taken, ended, now)[:_MAX_RUNS]}


def what_runs_did(taken: list[Step], ended: list[EndedRun], now: datetime) -> list[dict[str, Any]]:
    """Return a line for each run, the newest first.

    Args:
        taken: the stages that runs have reached, oldest first.
        ended: the runs that have ended. A run that was cleared may have ended more than once.
        now: the current time.
    """
    ends = {(run.dag_id, run.run_id): run for run in sorted(ended, key=lambda run: run.at)}
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for step in taken:
        key = (step.dag_id, step.run_id)
        first = {
            "what": _NAMES.get(step.dag_id, step.dag_id),
            "run_id": step.run_id,
            **step.asked,
            "form": dict(step.form),
            "job": None,
        }
        line = lines.setdefault(key, first)
        line["job"] = step.job["id"] if step.job else line["job"]
        line["result"] = _result(step, ends.get(key), now)
    return sorted(lines.values(), key=lambda line: str(line["at"]), reverse=True)


def _result(last: Step, end: EndedRun | None, now: datetime) -> str | None:
    """Return how far a run has got; None if that is not known."""
    if last.dag_id == HEALTH:  # the health check ends in its own way
        return "launched"
    if end is not None and end.at >= last.at:
        return "failed" if end.failed else "done"
    # A run whose state was set by hand leaves no record of its end.
    return "under way" if last.at > now - _RUN_LASTS else None
