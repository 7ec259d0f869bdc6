"""Backfills as their runs have left them."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.backfill.plan import ModelCost
from imagen_ops.backfill.reconciliation import Reconciliation, backfill_record, reconcile
from imagen_ops.backfill.run import BackfillRun
from imagen_ops.jobs.job_form import JobForm
from imagen_ops.ui.panels.backfills import read_backfills
from tests.plugins.imagen_ops.backfill.test_plan_text import PLAN
from tests.plugins.imagen_ops.backfill.test_reconciliation import REPORT
from tests.plugins.imagen_ops.ui.conftest import Page, Stored

NOW = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
DONE = reconcile(REPORT, PLAN)


def run(
    name: str = "scheduled__1",
    days_ago: float = 0,
    reconciliation: Reconciliation = DONE,
    **others: Any,
) -> dict[str, Any]:
    """What a run keeps of itself, by its own hand."""
    of = BackfillRun(name, "0" * 32, "2026-11-22", PLAN.glob, JobForm("m"))
    given = {"state": "done", "job_id": "job-1", "plan": PLAN, **others}
    plan = given.pop("plan")
    return backfill_record(
        of, plan, at=NOW - timedelta(days=days_ago), reconciliation=reconciliation, **given
    )


def only(stored: Stored, storage: Any, record: dict[str, Any]) -> dict[str, Any]:
    stored.records("backfills", record)
    [shown] = read_backfills(storage, NOW)["runs"]
    return dict(shown)


def test_there_are_none_yet(page: Page) -> None:
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
    assert shown["cost_usd"] == 134.0
    assert (shown["adds_up"], shown["unaccounted"]) == (True, [])
    assert shown["noted"] == list(PLAN.first_problems)


def test_a_run_whose_prompts_are_missing_says_which(stored: Stored, storage: Any) -> None:
    reconciliation = reconcile({**REPORT, "predictions": 1000}, PLAN)
    shown = only(stored, storage, run(reconciliation=reconciliation, state="unaccounted"))
    assert shown["adds_up"] is False
    assert shown["unaccounted"] == list(reconciliation.unaccounted)


def test_a_run_that_had_nothing_to_do_has_nothing_to_add_up(stored: Stored, storage: Any) -> None:
    nothing = Reconciliation({}, {}, (), ())
    shown = only(stored, storage, run(reconciliation=nothing, state="skipped", job_id=None))
    assert shown["adds_up"] is None
    assert shown["counts"] == {}


def test_what_has_no_known_price_has_no_cost(stored: Stored, storage: Any) -> None:
    unknown = ModelCost("mine", images=5, to_pay=5, above_1k=0, usd=None)
    plan = dataclasses.replace(PLAN, models=(*PLAN.models, unknown))
    assert only(stored, storage, run(plan=plan))["cost_usd"] is None


def test_the_newest_fifty_of_two_weeks_come_first(stored: Stored, storage: Any) -> None:
    records = [run(f"run-{n}", days_ago=n / 10) for n in range(300)]
    stored.records("backfills", *records)
    shown = read_backfills(storage, NOW)["runs"]
    assert [one["run_id"] for one in shown] == [f"run-{n}" for n in range(50)]
    assert len(stored.requests) <= 1 + 15, "of 31 days"


def test_a_run_whose_task_was_tried_again_past_midnight_is_there_once(
    stored: Stored, storage: Any
) -> None:
    reconciliation = reconcile(None, PLAN)
    stored.records(
        "backfills",
        run(days_ago=1, reconciliation=reconciliation, state="unaccounted"),
        run(days_ago=0),
    )
    [shown] = read_backfills(storage, NOW)["runs"]
    assert shown["adds_up"] is True


def test_a_record_of_another_version_is_shown_as_far_as_it_goes(
    stored: Stored, storage: Any
) -> None:
    broken = {"plan": 7, "counts": [1], "state": [], "unaccounted": "none", "noted": [7, "x"]}
    shown = only(stored, storage, {**run(), **broken})
    assert shown["adds_up"] is None
    assert (shown["planned"], shown["counts"], shown["cost_usd"]) == ({}, {}, None)
    assert (shown["unaccounted"], shown["noted"]) == ([], ["x"])
