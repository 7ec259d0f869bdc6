"""The backfills of the last two weeks: what was planned, what came of it, and what it cost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.records.folders import BACKFILL_RECORDS
from imagen_ops.ui.panels.steps import run_url
from imagen_ops.ui.storage import Deadline, Storage
from imagen_ops.ui.untrusted import mapping, moment, number, numbers, text, texts

DAG_ID = "imagen_backfill"
_SHOWN_FOR = timedelta(days=14)
_MAX_RUNS = 50
_PLANNED = ("files", "prompts", "distinct", "invalid", "problems", "images", "images_to_pay")
# By a run's state. Other states launched no job, so there is nothing to account for.
_ADDS_UP = {"done": True, "over_budget": True, "unaccounted": False}


def runs(records: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the page shows of each run in a day's records. Skips records without a time."""
    return [_run(record) for record in records if moment(record.get("at"))]


def read_backfills(storage: Storage, now: datetime | None = None) -> dict[str, Any]:
    """Read the newest runs.

    Returns:
        `{"runs"}`, newest first.

    Raises:
        ReadError: they cannot be read.
    """
    deadline, now = Deadline(), now or datetime.now(UTC)
    days = storage.list_days(BACKFILL_RECORDS, now - _SHOWN_FOR, deadline)
    # A run whose task was retried after midnight is in the records of two days: the later counts.
    by_id = {run["run_id"]: run for day in storage.read(days, runs, deadline) for run in day}
    newest = sorted(by_id.values(), key=lambda run: moment(run["at"]) or now, reverse=True)
    return {"runs": newest[:_MAX_RUNS]}


def _run(record: dict[str, Any]) -> dict[str, Any]:
    plan, run_id = mapping(record.get("plan")), text(record.get("run_id")) or ""
    planned = numbers(plan)
    state = text(record.get("state"))
    return {
        "run_id": run_id,
        "at": text(record.get("at")),
        "day": text(record.get("day")),
        "state": state,
        "prompts": text(plan.get("glob")),
        "adds_up": _ADDS_UP.get(state or ""),
        "planned": {name: planned[name] for name in _PLANNED if name in planned},
        "counts": numbers(record.get("counts")),
        "failures_by_reason": numbers(record.get("failures_by_reason")),
        # With a model whose price is unknown, the plan's cost is only part of the cost.
        "estimated_usd": None if texts(plan.get("unpriced")) else number(plan.get("cost_usd")),
        "cost_usd": number(record.get("cost_usd")),
        "unpriced_calls": number(record.get("unpriced_calls")),
        "unaccounted": texts(record.get("unaccounted")),
        "noted": texts(record.get("noted")),
        "url": run_url(DAG_ID, run_id),
    }
