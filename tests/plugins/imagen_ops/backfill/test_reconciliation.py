"""Comparing a report with its plan, and the record of a run."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from imagen_ops.backfill.plan import PlannedFile
from imagen_ops.backfill.planning import SHOWN_FILES, SHOWN_PROBLEMS
from imagen_ops.backfill.reconciliation import Reconciliation, backfill_record, reconcile
from imagen_ops.backfill.run import BackfillRun
from imagen_ops.jobs.batch_job import BatchState, RowCounts
from imagen_ops.jobs.params import JobForm
from imagen_ops.prefetch.import_report import ImportReport
from imagen_ops.prefetch.share import BatchShare, share_of
from imagen_ops.prefetch.state import Part, Prefetch
from imagen_ops.records.history import MAX_BYTES_PER_RECORD
from tests.plugins.imagen_ops.backfill.test_plan import PLAN

AT = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
RUN = BackfillRun("scheduled__1", "0" * 32, "2026-11-22", PLAN.glob, JobForm("m"), 1099)
REPORT: dict[str, Any] = {
    "schema": "imagen.report/1",
    "source": "backfill:scheduled__1",
    "prompts": 1202,
    "predictions": 1199,
    "reused": 100,
    "failures": 3,
    "images": 1099,
    "bytes": 9_000_000,
    "model_calls": 1105,
    "unpriced_calls": 1,
    "cost_usd": 136.5,
    "tokens": {"input": 9000, "text": 30_000, "image": 1_230_880},
    "failures_by_reason": {"BLOCKED": 1, "INVALID_PROMPT": 2},
}


def record(reconciliation: Reconciliation, **changes: Any) -> dict[str, Any]:
    arguments = {
        "at": AT,
        "state": "done",
        "job_id": "job-1",
        "reconciliation": reconciliation,
        **changes,
    }
    plan = arguments.pop("plan", PLAN)
    return backfill_record(RUN, plan, **arguments)


def test_a_report_adds_up_if_every_prompt_has_an_outcome() -> None:
    reconciliation = reconcile(REPORT, PLAN, 1099)
    assert reconciliation.adds_up
    assert reconciliation.counts["predictions"] == 1199
    assert reconciliation.failures_by_reason == {"BLOCKED": 1, "INVALID_PROMPT": 2}
    assert reconciliation.noted == PLAN.first_problems
    assert str(reconciliation) == (
        "all prompts are accounted for: 1,202 prompts = 1,199 predictions (100 reused at no cost) "
        "+ 3 failures (1 BLOCKED, 2 INVALID_PROMPT); 1,099 images generated for at least 136.50 USD"
    )


def test_rows_that_a_function_has_made_more_prompts_of_are_noted_and_add_up() -> None:
    reconciliation = reconcile({**REPORT, "rows": 1202, "prompts": 1202}, PLAN, 1099)
    assert reconciliation.noted == PLAN.first_problems
    more = {**REPORT, "rows": 1202, "prompts": 1302, "predictions": 1299}
    reconciliation = reconcile(more, PLAN, 1099)
    assert reconciliation.adds_up
    assert reconciliation.noted == (
        *PLAN.first_problems,
        "1,202 rows became 1,302 prompts, by the job's preprocess function",
    )


def test_a_job_that_paid_for_more_than_the_budget_is_told_by_how_much() -> None:
    within, over = reconcile(REPORT, PLAN, 1099), reconcile(REPORT, PLAN, 1000)
    assert (within.over_budget, over.adds_up) == (None, True)
    assert str(over.over_budget).startswith(
        "the job paid for 1,099 images, 99 more than the run's budget of 1,000"
    )
    assert record(over)["noted"] == [over.over_budget, *PLAN.first_problems]


def test_prompts_that_the_budget_did_not_pay_for_are_noted() -> None:
    reasons = {"OVER_BUDGET": 2, "INVALID_PROMPT": 1}
    reconciliation = reconcile({**REPORT, "failures_by_reason": reasons}, PLAN, 1099)
    assert "2 prompts cost nothing, because the run's budget of 1,099" in reconciliation.noted[-1]
    money = reconcile({**REPORT, "failures_by_reason": reasons}, PLAN, 1099, 136.5)
    assert "budget of 1,099 images or 136.50 USD was used up" in money.noted[-1]


def test_the_record_holds_what_the_job_cost_beside_what_was_planned() -> None:
    kept = record(reconcile(REPORT, PLAN, 1099))
    assert (kept["plan"]["cost_usd"], kept["cost_usd"], kept["unpriced_calls"]) == (134.0, 136.5, 1)
    assert kept["tokens"] == REPORT["tokens"]


def test_a_cost_that_no_answer_told_is_unknown_and_never_0() -> None:
    unknown = reconcile({**REPORT, "cost_usd": None, "unpriced_calls": 1105}, PLAN, 1099)
    assert record(unknown)["cost_usd"] is None
    old = {name: value for name, value in REPORT.items() if name != "cost_usd"}
    assert record(reconcile(old, PLAN, 1099))["cost_usd"] is None
    assert record(reconcile(None, PLAN, 1099))["cost_usd"] is None
    assert record(Reconciliation.without_job())["cost_usd"] == 0


def test_what_earlier_tries_paid_is_noted_beside_the_cost_of_the_last() -> None:
    ledger = {"shares": {"a": {"leased": 9, "spent": 100_000_000}, "b": {"spent": 150_000_000}}}
    noted = reconcile(REPORT, PLAN, 1099, 500.0, ledger=ledger).noted[-1]
    assert noted.startswith("all tries of the run together have paid at least 250.00 USD")
    only = {"shares": {"a": {"leased": 9, "spent": 136_500_000}}}
    for quiet in (only, None, {}, {"shares": {"a": 1}}, {"shares": []}):
        assert reconcile(REPORT, PLAN, 1099, 500.0, ledger=quiet).noted == PLAN.first_problems


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"cost_usd": "136.5"}, "cost_usd: expected US dollars or null, got '136.5'"),
        ({"cost_usd": -1.0}, "cost_usd: expected US dollars"),
        ({"cost_usd": float("nan")}, "cost_usd: expected US dollars"),
        ({"tokens": None}, "tokens: expected an object of counts, got NoneType"),
        ({"unpriced_calls": None}, "unpriced_calls: expected a count"),
    ],
)
def test_a_report_with_a_malformed_cost_is_not_believed(change: Any, problem: str) -> None:
    assert problem in " ".join(reconcile({**REPORT, **change}, PLAN, 1099).unaccounted)


@pytest.mark.parametrize("predictions", [1198, 1200])
def test_prompts_with_too_few_or_too_many_outcomes_are_unaccounted_for(predictions: int) -> None:
    reconciliation = reconcile({**REPORT, "predictions": predictions}, PLAN, 1099)
    assert not reconciliation.adds_up
    assert reconciliation.unaccounted == (
        f"the job read 1,202 prompts but reports {predictions + 3:,} outcomes "
        f"({predictions:,} predictions, 3 failures)",
    )
    assert reconciliation.counts["prompts"] == 1202, "the counts are kept"


def test_a_missing_report_says_what_to_read() -> None:
    reconciliation = reconcile(None, PLAN, 1099)
    assert not reconciliation.adds_up
    assert "left no report: read the job's log" in reconciliation.unaccounted[0]
    assert reconciliation.counts == {}
    assert reconciliation.noted == PLAN.first_problems


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        ({}, "expected the schema imagen.report/1, got None"),
        ([], "expected a JSON object, got list"),
        ("report", "expected a JSON object, got str"),
        (7, "expected a JSON object, got int"),
        ({**REPORT, "schema": "imagen.report/2"}, "imagen.report/2"),
        ({**REPORT, "prompts": -1}, "expected a count, got -1"),
        ({**REPORT, "failures": True}, "expected a count, got True"),
        ({**REPORT, "images": 1.0}, "expected a count, got 1.0"),
        ({**REPORT, "reused": "100"}, "expected a count, got '100'"),
        ({**REPORT, "model_calls": None}, "expected a count, got None"),
        ({**REPORT, "failures_by_reason": {"BLOCKED": -1}}, "expected a count, got -1"),
        ({**REPORT, "failures_by_reason": {"BLOCKED": False}}, "expected a count, got False"),
        ({**REPORT, "failures_by_reason": ["BLOCKED"]}, "failures_by_reason: expected an object"),
        (
            {k: v for k, v in REPORT.items() if k != "predictions"},
            "predictions: expected a count, got None",
        ),
    ],
)
def test_an_invalid_report_accounts_for_nothing(report: Any, problem: str) -> None:
    reconciliation = reconcile(report, PLAN, 1099)
    (reason,) = reconciliation.unaccounted
    assert reason.startswith("the report is not a valid imagen.report/1: ")
    assert problem in reason
    assert reconciliation.counts == reconciliation.failures_by_reason == {}


@pytest.mark.parametrize("read", [0, 1201, 1203])
def test_rows_that_changed_since_the_plan_are_noted_without_an_error(read: int) -> None:
    report = {**REPORT, "prompts": read, "predictions": read, "failures": 0}
    reconciliation = reconcile(report, PLAN, 1099)
    assert reconciliation.adds_up
    assert f"1,202 rows were planned but {read:,} were read" in reconciliation.noted[-1]


def test_a_record_has_the_problems_of_files() -> None:
    content = record(reconcile(REPORT, PLAN, 1099))
    assert content["schema"] == "imagen.backfill/1"
    assert content["at"] == "2026-11-23T00:30:00+00:00"
    assert content["day"] == "2026-11-22"
    assert content["noted"] == ["gs://b/prompts/b.txt: is empty"]
    assert content["plan"] == PLAN.to_json()
    assert json.loads(json.dumps(content)) == content


def test_a_record_of_the_worst_night_is_within_the_maximum_size() -> None:
    paths = [f"gs://b/prompts/{number:0900}.txt" for number in range(SHOWN_FILES)]
    plan = dataclasses.replace(
        PLAN,
        first_files=tuple(PlannedFile(path, 1, 1, AT.isoformat(), 1) for path in paths),
        first_invalid=tuple(f"{path}:1: {'x' * 300}" for path in paths),
        problems=250,
        first_problems=tuple(f"{path}: {'x' * 300}" for path in paths[:SHOWN_PROBLEMS]),
    )
    content = record(reconcile(REPORT, plan, 1099), plan=plan)
    assert len(json.dumps(content)) < MAX_BYTES_PER_RECORD
    assert content["noted"][0] == plan.first_problems[0]
    assert content["noted"][-1] == "and 240 more problems: see the log of `plan`"
    assert content["plan"]["problems"] == 250


BATCH_LEDGER = {
    "shares": {
        "batch": {"leased": 20_000_000, "spent": 20_000_000},
        "a1": {"leased": 90_000_000, "spent": 70_000_000},
    }
}


def test_what_batch_jobs_have_made_counts_against_the_budget() -> None:
    images = REPORT["images"]
    within = reconcile(REPORT, PLAN, images + 10, batch=BatchShare(10, 0))
    assert within.over_budget is None
    over = reconcile(REPORT, PLAN, images + 9, batch=BatchShare(10, 0)).over_budget
    assert over
    assert over.startswith(f"the job and the batch jobs (10) paid for {images + 10:,} images, 1 ")


def test_a_record_says_what_each_engine_made_and_paid() -> None:
    part = Part(
        number=0,
        folder="gs://b/prefetch/1/a/part-00000/",
        model="m",
        location="global",
        rows=600,
        likely_micro_usd=21_000_000,
        asked_at=datetime(2026, 11, 22, tzinfo=UTC),
        job="projects/p/locations/global/batchPredictionJobs/7",
        state=BatchState.PARTIALLY_SUCCEEDED,
        counts=RowCounts(500, 100),
        ended=True,
        problem="batch job 7 is PARTIALLY_SUCCEEDED: some rows got no answer",
    )
    imported = ImportReport(
        schema="imagen.prefetch_import/1",
        rows={"stored": 500, "failed": 100},
        images=500,
        records=500,
        cost_usd=20.0,
        first_problems=["a row failed"],
    )
    prefetch = Prefetch(
        run_id="r", decision="why", parts=(part,), left_out={"size": 4}, imported=imported
    )
    kept = backfill_record(
        RUN,
        PLAN,
        at=datetime(2026, 11, 22, tzinfo=UTC),
        state="done",
        job_id="1",
        reconciliation=reconcile(REPORT, PLAN, 99_999, batch=share_of(prefetch)),
        prefetch=prefetch,
        ledger=BATCH_LEDGER,
    )
    assert kept["engines"] == {
        "batch": {"images": 500, "cost_usd": 20.0},
        "online": {"images": REPORT["images"], "cost_usd": 70.0},
    }
    told = kept["prefetch"]
    assert (told["decision"], told["ordered"], told["left_out"]) == ("why", 600, {"size": 4})
    assert told["problems"] == [part.problem, "a row failed"]
    (first,) = told["first_parts"]
    assert (first["state"], first["successful"], first["failed"]) == (part.state, 500, 100)
    json.dumps(kept)


def test_a_record_of_a_run_without_a_prefetch_says_so() -> None:
    kept = record(reconcile(REPORT, PLAN, 1099))
    assert (kept["prefetch"], kept["engines"]) == (None, None)
