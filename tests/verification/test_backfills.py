"""Backfills: a run that fails, and outcomes that don't add up, are found."""

from collections.abc import Callable
from typing import Any

import pytest

from beam_jobs.outcomes import Failure, Prediction, Reason, Work, encode
from tests.conftest import BUCKET, Lane
from tests.verification.answers import Answers
from tests.verification.conftest import Verifying, differs, holds
from verification.check import Ending

RUN = "manual__1"
RUNS = "/api/v2/dags/imagen_backfill/dagRuns"
SOURCE = f"backfill:{RUN}"


@pytest.fixture
def run(answers: Answers) -> Callable[[str], None]:
    """Return a function that says how the run ended."""

    def ended(state: str, **tasks: str) -> None:
        found = [{"task_id": name, "state": what} for name, what in tasks.items()]
        answers.at[RUNS] = (200, {"dag_run_id": RUN})
        answers.at[f"{RUNS}/{RUN}"] = (200, {"state": state})
        answers.at[f"{RUNS}/{RUN}/taskInstances"] = (200, {"task_instances": found})

    return ended


def prediction(number: int, tier: str) -> Prediction:
    return Prediction(
        prompt_id=f"~{number}",
        deduplication_key=f"{number:064d}",
        digest="0" * 32,
        prompt="a harbour",
        images=(f"gs://{BUCKET}/images/{number}.png",),
        model="gemini-nano-banana-2.1",
        source=SOURCE,
        reused=False,
        created_at="2026-11-30T00:00:00+00:00",
        latency_ms=1000,
        work=Work(images=1, calls=1, cost_usd=0.02, tier=tier),
    )


@pytest.fixture
def outcomes(
    verifying: Verifying, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Return a function with whose outcomes the run answers once it is triggered."""

    def answer(*some: Prediction | Failure) -> None:
        airflow = verifying.visit.airflow
        trigger = airflow.trigger

        def triggered(dag_id: str, form: Any) -> str:
            for one in some:
                data, attributes = encode(one)
                topic = "dead-letters" if isinstance(one, Failure) else "predictions"
                lane.publisher.publish(lane.topic(topic), data, **attributes).result(timeout=60)
            return trigger(dag_id, form)

        monkeypatch.setattr(airflow, "trigger", triggered)

    return answer


def invalid() -> Failure:
    return Failure(
        prompt_id="~bad",
        deduplication_key="f" * 64,
        reason=Reason.INVALID_PROMPT,
        detail="unknown field",
        retryable=False,
        source=SOURCE,
        body=b"{}",
        attributes={},
        attempts=0,
    )


def test_a_backfill_that_adds_up_holds(
    verifying: Verifying, run: Callable[..., None], outcomes: Callable[..., None]
) -> None:
    run("success")
    outcomes(*(prediction(number, "standard") for number in range(3)), invalid())
    result = holds(verifying.ask("backfill"))
    assert result.usd == pytest.approx(0.06)


def test_a_prediction_that_is_missing_is_found(
    verifying: Verifying, run: Callable[..., None], outcomes: Callable[..., None]
) -> None:
    run("success")
    outcomes(*(prediction(number, "standard") for number in range(2)), invalid())
    differs(verifying.ask("backfill", within_s=1), "2 predictions and 1 dead letters, expected 3")


def test_a_run_that_fails_is_found_with_its_task(
    verifying: Verifying, run: Callable[..., None]
) -> None:
    run("failed", plan="success", launch="failed", wait="upstream_failed")
    differs(verifying.ask("backfill"), "failed in launch")


def test_a_run_that_does_not_end_is_found_with_what_its_tasks_do(
    verifying: Verifying, run: Callable[..., None]
) -> None:
    run("running", plan="success", launch="up_for_reschedule")
    differs(verifying.ask("backfill", within_s=1), "is still running", "launch up_for_reschedule")


def test_images_that_the_job_made_instead_of_batch_inference_are_found(
    verifying: Verifying, run: Callable[..., None], outcomes: Callable[..., None]
) -> None:
    run("success")
    made = [prediction(number, "batch") for number in range(5)]
    outcomes(*made[:4], prediction(4, "standard"))
    differs(verifying.ask("prefetch"), "made in the tiers batch, standard")


def test_a_dag_that_cannot_be_triggered_costs_this_check_alone(verifying: Verifying) -> None:
    differs(verifying.ask("backfill"), "AirflowError", "404")


def test_a_prefetch_that_is_off_is_not_asked(
    verifying: Verifying, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(verifying.visit.access), "on_stand_ins", False)
    path = "/v1/projects/demo-project/locations/us-central1/environments/imagen"
    answers.at[path] = (200, {"config": {"softwareConfig": {"envVariables": {}}}})
    result = verifying.ask("prefetch")
    assert (result.ending, result.seen) == (
        Ending.NOT_ASKED,
        "the variable batch_inference is false",
    )
