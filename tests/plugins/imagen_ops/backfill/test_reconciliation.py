"""What a report is held against, and what is kept of a run."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from imagen_ops.backfill.plan import PlannedFile
from imagen_ops.backfill.planning import SHOWN_FILES, SHOWN_PROBLEMS
from imagen_ops.backfill.reconciliation import Reconciliation, backfill_record, reconcile
from imagen_ops.backfill.run import BackfillRun
from imagen_ops.jobs.job_form import JobForm
from imagen_ops.records.history import MAX_BYTES_PER_RECORD
from tests.plugins.imagen_ops.backfill.test_plan_text import PLAN

AT = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
RUN = BackfillRun("scheduled__1", "0" * 32, "2026-11-22", PLAN.glob, JobForm("m"))
REPORT = {
    "schema": "imagen.report/1",
    "source": "backfill:scheduled__1",
    "prompts": 1202,
    "predictions": 1199,
    "reused": 100,
    "failures": 3,
    "images": 1099,
    "bytes": 9_000_000,
    "model_calls": 1105,
    "failures_by_reason": {"BLOCKED": 1, "INVALID_PROMPT": 2},
}


def record(reconciliation: Reconciliation, **others: Any) -> dict[str, Any]:
    given = {
        "at": AT,
        "state": "done",
        "job_id": "job-1",
        "reconciliation": reconciliation,
        **others,
    }
    plan = given.pop("plan", PLAN)
    return backfill_record(RUN, plan, **given)


def test_where_every_prompt_ended_the_account_adds_up() -> None:
    reconciliation = reconcile(REPORT, PLAN)
    assert reconciliation.adds_up
    assert reconciliation.counts["predictions"] == 1199
    assert reconciliation.failures_by_reason == {"BLOCKED": 1, "INVALID_PROMPT": 2}
    assert reconciliation.noted == PLAN.first_problems


@pytest.mark.parametrize("ended", [1198, 1200])
def test_prompts_that_ended_too_rarely_or_too_often_are_unaccounted_for(ended: int) -> None:
    reconciliation = reconcile({**REPORT, "predictions": ended}, PLAN)
    assert not reconciliation.adds_up
    assert reconciliation.unaccounted == (
        f"1,202 prompts came in and {ended + 3:,} ended ({ended:,} predictions, 3 failures)",
    )
    assert reconciliation.counts["prompts"] == 1202, "what is known is kept"


def test_a_report_that_is_missing_says_what_to_look_at() -> None:
    reconciliation = reconcile(None, PLAN)
    assert not reconciliation.adds_up
    assert "has left no report: look at its log" in reconciliation.unaccounted[0]
    assert reconciliation.counts == {}
    assert reconciliation.noted == PLAN.first_problems


@pytest.mark.parametrize(
    ("report", "says"),
    [
        ({}, "schema"),
        ([], "TypeError"),
        ("report", "TypeError"),
        (7, "TypeError"),
        ({**REPORT, "schema": "imagen.report/2"}, "imagen.report/2"),
        ({**REPORT, "prompts": -1}, "expected a count, got -1"),
        ({**REPORT, "failures": True}, "expected a count, got True"),
        ({**REPORT, "images": 1.0}, "expected a count, got 1.0"),
        ({**REPORT, "reused": "100"}, "expected a count, got '100'"),
        ({**REPORT, "model_calls": None}, "expected a count, got None"),
        ({**REPORT, "failures_by_reason": {"BLOCKED": -1}}, "expected a count, got -1"),
        ({**REPORT, "failures_by_reason": {"BLOCKED": False}}, "expected a count, got False"),
        ({**REPORT, "failures_by_reason": ["BLOCKED"]}, "AttributeError"),
        ({k: v for k, v in REPORT.items() if k != "predictions"}, "predictions"),
    ],
)
def test_what_is_no_report_accounts_for_nothing(report: Any, says: str) -> None:
    reconciliation = reconcile(report, PLAN)
    (why,) = reconciliation.unaccounted
    assert why.startswith("the report is none of imagen.report/1: ")
    assert says in why
    assert reconciliation.counts == reconciliation.failures_by_reason == {}


@pytest.mark.parametrize("read", [0, 1201, 1203])
def test_rows_that_changed_since_the_plan_are_noted_and_no_fault(read: int) -> None:
    report = {**REPORT, "prompts": read, "predictions": read, "failures": 0}
    reconciliation = reconcile(report, PLAN)
    assert reconciliation.adds_up
    assert f"1,202 rows were planned and {read:,} were read" in reconciliation.noted[-1]


def test_a_record_names_what_was_wrong_with_files() -> None:
    kept = record(reconcile(REPORT, PLAN))
    assert kept["schema"] == "imagen.backfill/1"
    assert kept["at"] == "2026-11-23T00:30:00+00:00"
    assert kept["day"] == "2026-11-22"
    assert kept["noted"] == ["gs://b/prompts/b.txt: is empty"]
    assert kept["plan"] == PLAN.to_json()
    assert json.loads(json.dumps(kept)) == kept


def test_a_record_of_the_worst_night_is_no_larger_than_a_record_may_be() -> None:
    paths = [f"gs://b/prompts/{number:0900}.txt" for number in range(SHOWN_FILES)]
    plan = dataclasses.replace(
        PLAN,
        first_files=tuple(PlannedFile(path, 1, 1, AT.isoformat(), 1) for path in paths),
        first_invalid=tuple(f"{path}:1: {'x' * 300}" for path in paths),
        problems=250,
        first_problems=tuple(f"{path}: {'x' * 300}" for path in paths[:SHOWN_PROBLEMS]),
    )
    kept = record(reconcile(REPORT, plan), plan=plan)
    assert len(json.dumps(kept)) < MAX_BYTES_PER_RECORD
    assert kept["noted"][0] == plan.first_problems[0]
    assert kept["noted"][-1] == "and 240 more problems: see the log of `plan`"
    assert kept["plan"]["problems"] == 250
