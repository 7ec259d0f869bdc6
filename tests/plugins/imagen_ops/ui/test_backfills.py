"""Backfills, from the records of their runs."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.backfill.plan import ModelCost
from imagen_ops.backfill.reconciliation import Reconciliation, backfill_record, reconcile
from imagen_ops.backfill.run import BackfillRun
from imagen_ops.jobs.params import JobForm
from imagen_ops.ui.panels.backfills import read_backfills
from tests.plugins.imagen_ops.backfill.test_approval import APPROVAL
from tests.plugins.imagen_ops.backfill.test_plan import PLAN
from tests.plugins.imagen_ops.backfill.test_reconciliation import REPORT
from tests.plugins.imagen_ops.ui.conftest import Page, Stored

NOW = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
DONE = reconcile(REPORT, PLAN, 1099)


def run(
    name: str = "scheduled__1",
    days_ago: float = 0,
    reconciliation: Reconciliation = DONE,
    **fields: Any,
) -> dict[str, Any]:
    """Return a run's record, created by the code that runs use."""
    backfill_run = BackfillRun(name, "0" * 32, "2026-11-22", PLAN.glob, JobForm("m"), 1099)
    arguments = {"state": "done", "job_id": "job-1", "plan": PLAN, **fields}
    plan = arguments.pop("plan")
    return backfill_record(
        backfill_run,
        plan,
        at=NOW - timedelta(days=days_ago),
        reconciliation=reconciliation,
        **arguments,
    )


def only(stored: Stored, storage: Any, record: dict[str, Any]) -> dict[str, Any]:
    stored.records("backfills", record)
    [shown] = read_backfills(storage, NOW)["runs"]
    return dict(shown)


def test_without_backfills_the_list_is_empty(page: Page) -> None:
    assert page.data("backfills") == {"runs": []}


def test_a_run_is_shown_with_its_plan_its_counts_and_its_cost(stored: Stored, storage: Any) -> None:
    shown = only(stored, storage, run("manual__2026-11-23T00:30:00+00:00"))
    assert shown["run_id"] == "manual__2026-11-23T00:30:00+00:00"
    assert shown["url"] == "dags/imagen_backfill/runs/manual__2026-11-23T00%3A30%3A00%2B00%3A00"
    assert (shown["at"], shown["day"], shown["prompts"]) == (
        NOW.isoformat(),
        "2026-11-22",
        "gs://b/prompts/*",
    )
    assert shown["planned"] == {
        "files": 3,
        "prompts": 1200,
        "distinct": 1100,
        "invalid": 2,
        "problems": 1,
        "images": 1100,
        "images_to_pay": 1000,
    }
    assert shown["counts"] == dict(DONE.counts)
    assert shown["failures_by_reason"] == {"BLOCKED": 1, "INVALID_PROMPT": 2}
    assert (shown["estimated_usd"], shown["cost_usd"]) == (134.0, 136.5)
    assert shown["unpriced_calls"] == 1
    assert (shown["adds_up"], shown["unaccounted"]) == (True, [])
    assert shown["noted"] == list(PLAN.first_problems)


def test_a_run_with_missing_prompts_says_which(stored: Stored, storage: Any) -> None:
    reconciliation = reconcile({**REPORT, "predictions": 1000}, PLAN, 1099)
    shown = only(stored, storage, run(reconciliation=reconciliation, state="unaccounted"))
    assert shown["adds_up"] is False
    assert shown["unaccounted"] == list(reconciliation.unaccounted)


def test_a_run_with_nothing_to_do_has_nothing_to_account_for(stored: Stored, storage: Any) -> None:
    nothing = Reconciliation({}, {}, (), ())
    shown = only(stored, storage, run(reconciliation=nothing, state="skipped", job_id=None))
    assert shown["adds_up"] is None
    assert shown["counts"] == {}


def test_a_model_without_a_known_price_leaves_the_estimate_unknown(
    stored: Stored, storage: Any
) -> None:
    unknown = ModelCost("mine", images=5, to_pay=5, usd=None)
    plan = dataclasses.replace(PLAN, models=(*PLAN.models, unknown))
    assert only(stored, storage, run(plan=plan))["estimated_usd"] is None


def test_a_record_of_an_older_version_leaves_the_cost_unknown(stored: Stored, storage: Any) -> None:
    old = {name: value for name, value in run().items() if name != "cost_usd"}
    assert only(stored, storage, old)["cost_usd"] is None


def test_the_newest_fifty_runs_of_two_weeks_are_listed(stored: Stored, storage: Any) -> None:
    records = [run(f"run-{n}", days_ago=n / 10) for n in range(300)]
    stored.records("backfills", *records)
    shown = read_backfills(storage, NOW)["runs"]
    assert [run["run_id"] for run in shown] == [f"run-{n}" for n in range(50)]
    assert len(stored.requests) <= 1 + 15, "of 31 days"


def test_a_run_retried_after_midnight_is_listed_once(stored: Stored, storage: Any) -> None:
    reconciliation = reconcile(None, PLAN, 1099)
    stored.records(
        "backfills",
        run(days_ago=1, reconciliation=reconciliation, state="unaccounted"),
        run(days_ago=0),
    )
    [shown] = read_backfills(storage, NOW)["runs"]
    assert shown["adds_up"] is True


UNTIL = NOW + timedelta(hours=3)
ASKED = {"decision": "asked", "until": UNTIL.isoformat(), "max_images": 1000, "max_cost_usd": 5.0}


def test_a_run_that_waits_for_approval_leads_to_the_question(stored: Stored, storage: Any) -> None:
    record = run(
        "manual__1", reconciliation=Reconciliation.without_job(), state="asked", approval=ASKED
    )
    shown = only(stored, storage, record)
    assert shown["approval"] == {
        **ASKED,
        "waits": True,
        "by": None,
        "url": "dags/imagen_backfill/runs/manual__1/tasks/approve/required_actions",
    }
    assert (shown["adds_up"], shown["cost_usd"]) == (None, 0.0)
    # Somebody has ended the run by hand, which leaves no record.
    [later] = read_backfills(storage, UNTIL)["runs"]
    assert (later["approval"]["decision"], later["approval"]["waits"]) == ("unanswered", False)


def test_who_approved_what_stays_with_the_run(stored: Stored, storage: Any) -> None:
    shown = only(stored, storage, run(approval={"decision": "approved", **APPROVAL.to_json()}))
    assert shown["adds_up"] is True
    assert shown["approval"]["by"] == "ada"
    assert (shown["approval"]["max_images"], shown["approval"]["waits"]) == (1000, False)


def test_what_each_engine_made_and_cost_is_shown_where_there_are_two(
    stored: Stored, storage: Any
) -> None:
    engines = {"batch": {"images": 200, "cost_usd": 3.36}, "online": {"images": 7}, "x": {}}
    assert only(stored, storage, {**run(), "engines": engines})["engines"] == [
        {"engine": "batch", "images": 200, "cost_usd": 3.36},
        {"engine": "online", "images": 7, "cost_usd": None},
    ]
    assert only(stored, storage, run())["engines"] == []


def test_a_malformed_record_is_shown_as_far_as_possible(stored: Stored, storage: Any) -> None:
    broken = {
        "approval": [7],
        "engines": 7,
        "plan": 7,
        "counts": [1],
        "state": [],
        "unaccounted": "none",
        "noted": [7, "x"],
    }
    shown = only(stored, storage, {**run(), **broken})
    assert shown["adds_up"] is None
    assert (shown["planned"], shown["counts"], shown["estimated_usd"]) == ({}, {}, None)
    assert (shown["unaccounted"], shown["noted"]) == ([], ["x"])
