"""The backfills of the last two weeks: what was planned, approved, and made, and what it cost."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.backfill.approval import Decision
from imagen_ops.backfill.run import APPROVE_TASK
from imagen_ops.records.folders import BACKFILL_RECORDS
from imagen_ops.ui.panels.steps import run_url
from imagen_ops.ui.storage import Deadline, Storage
from imagen_ops.ui.untrusted import mapping, moment, number, numbers, text, texts

DAG_ID = "imagen_backfill"
_SHOWN_FOR = timedelta(days=14)
_MAX_RUNS = 50
_PLANNED = ("files", "prompts", "distinct", "invalid", "problems", "images", "images_to_pay")
# Other engines that a later version of the runs may have are left out.
_ENGINES = ("batch", "online")
# States of runs whose job is still to come, if it ever does. They have paid nothing so far.
BEFORE_THE_JOB = frozenset(decision.value for decision in Decision)
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
    return {"runs": [_as_of(now, run) for run in newest[:_MAX_RUNS]]}


def _as_of(now: datetime, run: dict[str, Any]) -> dict[str, Any]:
    """Return a run with whether it still waits for approval.

    A run that somebody ended by hand leaves no record of that: its question ends with its time.
    """
    approval = run["approval"]
    if approval is None or approval["decision"] != Decision.ASKED:
        return run
    until = moment(approval["until"])
    waits = until is not None and until > now
    decision = Decision.ASKED if waits else Decision.UNANSWERED
    return {**run, "approval": {**approval, "decision": decision.value, "waits": waits}}


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
        "engines": _engines(mapping(record.get("engines"))),
        "approval": _approval(run_id, mapping(record.get("approval"))),
        "unaccounted": texts(record.get("unaccounted")),
        "noted": texts(record.get("noted")),
        "url": run_url(DAG_ID, run_id),
    }


def _engines(shares: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what each engine made and cost; nothing if the run had only one."""
    return [
        {
            "engine": name,
            "images": number(mapping(shares[name]).get("images")),
            "cost_usd": number(mapping(shares[name]).get("cost_usd")),
        }
        for name in _ENGINES
        if name in shares
    ]


def _approval(run_id: str, approval: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how far the question has got whether the run may pay; None if nobody was asked."""
    decision = text(approval.get("decision"))
    if decision is None:
        return None
    return {
        "decision": decision,
        "waits": False,
        "by": text(approval.get("by")),
        "until": text(approval.get("until")),
        "max_images": number(approval.get("max_images")),
        "max_cost_usd": number(approval.get("max_cost_usd")),
        # Where Airflow asks, as `HITLOperator.generate_link_to_ui` has it.
        "url": f"{run_url(DAG_ID, run_id)}/tasks/{APPROVE_TASK}/required_actions",
    }
