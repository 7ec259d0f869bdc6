"""Asking a person before a run pays: the task, without an Airflow that resumes it."""

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from imagen_ops.backfill.plan import ModelCost
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.backfill.conftest import RUN_ID
from tests.plugins.imagen_ops.backfill.test_approval import event
from tests.plugins.imagen_ops.backfill.test_plan import PLAN

Run = Callable[..., Any]
TIMEOUT = {"error": "The response timeout has passed", "error_type": "timeout"}


def approve_task(**changes: Any) -> Any:
    from imagen_ops.backfill.approve import ApproveBackfill

    return ApproveBackfill(
        task_id="approve", plan=dataclasses.replace(PLAN, **changes).to_json(), retries=3
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Airflow's database was given to ask."""
    questions: list[dict[str, Any]] = []

    def upsert(**question: Any) -> None:
        questions.append(question)

    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", upsert)
    return questions


def records(deployment: Deployment) -> list[dict[str, Any]]:
    return list(
        deployment.clients.history("records/backfills").since(datetime(2026, 1, 1, tzinfo=UTC))
    )


def ask(backfill: Run, state: dict[str, Any], **changes: Any) -> None:
    from airflow.sdk.exceptions import TaskAwaitingInput

    form = {"max_images": 10, **changes}
    with pytest.raises(TaskAwaitingInput):
        backfill(approve_task(), state=state, **form)


def test_a_plan_within_the_budget_goes_on_at_once(
    deployment: Deployment, backfill: Run, asked: list[Any]
) -> None:
    assert backfill(approve_task()) is None
    assert backfill(approve_task(), max_images=1, dry_run=True) is None
    assert asked == []
    assert records(deployment) == []


def test_a_plan_over_the_budget_waits_for_a_person_who_is_told(
    deployment: Deployment,
    backfill: Run,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from airflow.sdk.exceptions import TaskAwaitingInput

    monkeypatch.setenv("IMAGEN_APPROVAL_TIMEOUT_HOURS", "1.5")
    with pytest.raises(TaskAwaitingInput) as parked:
        backfill(approve_task(), state={}, max_images=10)
    assert parked.value.timeout.total_seconds() == 5400
    (question,) = asked
    assert question["options"] == ["Approve", "Reject"]
    assert question["defaults"] is None, "no answer is no approval"
    assert "990 more than the maximum of 10" in question["body"]
    fields = {name: param["value"] for name, param in question["params"].items()}
    assert fields == {"max_images": 1000, "max_cost_usd": 500.0}
    (record,) = records(deployment)
    assert (record["run_id"], record["state"], record["cost_usd"]) == (RUN_ID, "asked", 0.0)
    assert record["approval"]["decision"] == "asked"
    assert record["approval"]["until"] > record["at"]
    (line,) = [line for line in caplog.messages if "backfill_approval" in line]
    alert = json.loads(line)
    assert alert["text"].startswith("Backfill of 2026-11-22: 1,000 images for about 134.00 USD?")
    assert (alert["event"], alert["run_id"]) == ("backfill_approval", RUN_ID)


def test_what_a_person_approves_is_the_tasks_value_and_in_the_record(
    deployment: Deployment, backfill: Run, asked: list[Any]
) -> None:
    state: dict[str, Any] = {}
    ask(backfill, state)
    answer = event("Approve", max_images=500, max_cost_usd=20.5)
    approved = backfill(approve_task(), state=state, event=answer, max_images=10)
    assert (approved["max_images"], approved["max_cost_usd"]) == (500, 20.5)
    (record,) = records(deployment)
    assert record["state"] == "approved"
    assert record["approval"] == {"decision": "approved", **approved}
    assert record["approval"]["by"] == "ada"
    assert record["approval"]["at"] == "2026-11-23T07:30:00+00:00"
    assert len(asked) == 1


def test_a_rejection_skips_the_rest_of_the_run_and_says_who_it_was(
    deployment: Deployment, backfill: Run, asked: list[Any]
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    state: dict[str, Any] = {}
    ask(backfill, state)
    with pytest.raises(AirflowSkipException, match="ada rejected it at 2026-11-23T07:30"):
        backfill(approve_task(), state=state, event=event("Reject"), max_images=10)
    (record,) = records(deployment)
    assert record["state"] == "rejected"
    assert record["approval"]["by"] == "ada"
    assert len(asked) == 1


def test_without_an_answer_in_time_the_run_fails_at_once(
    deployment: Deployment, backfill: Run, asked: list[Any]
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    state: dict[str, Any] = {}
    ask(backfill, state)
    with pytest.raises(AirflowFailException, match=r"within 12 h \(IMAGEN_APPROVAL_TIMEOUT_HOURS"):
        backfill(approve_task(), state=state, event=TIMEOUT, max_images=10)
    assert [record["state"] for record in records(deployment)] == ["unanswered"]
    # Whoever clears it is asked the same again.
    ask(backfill, state, max_tries=4)
    assert len(asked) == 2


@pytest.mark.parametrize("chosen", ["Approve", "Reject"])
def test_a_try_that_fails_after_the_answer_does_not_ask_again(
    deployment: Deployment,
    backfill: Run,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from imagen_ops.backfill import approve

    state: dict[str, Any] = {}
    ask(backfill, state)

    def broken(*_: Any, **__: Any) -> None:
        raise ConnectionError("storage is away")

    with monkeypatch.context() as away:
        away.setattr(approve.ApproveBackfill, "_record", broken)
        with pytest.raises(ConnectionError):
            backfill(approve_task(), state=state, event=event(chosen), max_images=10)
    if chosen == "Approve":
        assert backfill(approve_task(), state=state, max_images=10)["max_images"] == 1000
    else:
        with pytest.raises(AirflowSkipException, match="ada rejected"):
            backfill(approve_task(), state=state, max_images=10)
        assert [record["state"] for record in records(deployment)] == ["rejected"]
    assert len(asked) == 1


def test_a_try_that_finds_no_answer_waits_for_it_again_and_erases_none(
    deployment: Deployment, backfill: Run, asked: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Asking again would erase an answer whose task Airflow has lost before it was kept."""
    from airflow.sdk.exceptions import TaskAwaitingInput

    state: dict[str, Any] = {}
    ask(backfill, state)
    caplog.clear()
    with pytest.raises(TaskAwaitingInput) as parked:
        backfill(approve_task(), state=state, max_images=10, try_number=2)
    assert parked.value.method_name == "execute_complete"
    assert 11.9 < parked.value.timeout.total_seconds() / 3600 < 12, "not longer than at first"
    assert len(asked) == 1
    assert "backfill_approval" not in caplog.text, "people have been told"
    approved = backfill(approve_task(), state=state, event=event("Approve"), max_images=10)
    assert approved["max_images"] == 1000
    assert [record["state"] for record in records(deployment)] == ["approved"]


def test_a_try_asks_again_if_the_first_one_was_lost_before_its_question_was_there(
    deployment: Deployment, backfill: Run, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    del deployment
    state: dict[str, Any] = {}

    def broken(**_: Any) -> None:
        raise ConnectionError("Airflow is away")

    with monkeypatch.context() as away:
        away.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", broken)
        with pytest.raises(ConnectionError):
            backfill(approve_task(), state=state, max_images=10)
    ask(backfill, state)
    assert len(asked) == 1


def test_an_approval_holds_when_the_task_is_cleared_and_a_rejection_does_not(
    deployment: Deployment, backfill: Run, asked: list[Any]
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    del deployment
    # Airflow adds a task's retries to the tries that it has had.
    cleared = {"max_tries": 4}
    rejected: dict[str, Any] = {}
    ask(backfill, rejected)
    with pytest.raises(AirflowSkipException):
        backfill(approve_task(), state=rejected, event=event("Reject"), max_images=10)
    ask(backfill, rejected, **cleared)
    approved: dict[str, Any] = {}
    ask(backfill, approved)
    backfill(approve_task(), state=approved, event=event("Approve"), max_images=10)
    asked.clear()
    assert backfill(approve_task(), state=approved, max_images=10, **cleared)["by"] == "ada"
    # Fewer images are left after a first job: nothing new to ask.
    fewer = (ModelCost("gemini-3-pro-image", images=1100, to_pay=400, usd=53.6),)
    assert backfill(approve_task(models=fewer), state=approved, max_images=10)["max_images"] == 1000
    assert asked == []


def test_about_another_plan_the_run_does_not_ask_because_the_old_question_would_be_shown(
    deployment: Deployment, backfill: Run, asked: list[Any]
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    del deployment
    more = (ModelCost("gemini-3-pro-image", images=1100, to_pay=1100, usd=147.4),)
    for answer in (None, event("Approve")):
        state: dict[str, Any] = {}
        ask(backfill, state)
        if answer:
            backfill(approve_task(), state=state, event=answer, max_images=10)
        with pytest.raises(AirflowFailException, match="a new run asks about the plan as it is"):
            backfill(approve_task(models=more), state=state, max_images=10)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (event("Approve", max_cost_usd=-1), "max_cost_usd: expected a number above 0, got -1"),
        (event("Approve", "Reject"), "expected Approve or Reject"),
    ],
)
def test_an_answer_that_makes_no_sense_pays_for_nothing(
    deployment: Deployment, backfill: Run, asked: list[Any], answer: Any, expected: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    state: dict[str, Any] = {}
    ask(backfill, state)
    with pytest.raises(AirflowFailException, match=f"{expected}.*Clear this task"):
        backfill(approve_task(), state=state, event=answer, max_images=10)
    assert [record["state"] for record in records(deployment)] == ["asked"]
    assert len(asked) == 1


def test_a_run_that_always_asks_does_so_within_its_budget(
    deployment: Deployment, backfill: Run, asked: list[Any]
) -> None:
    del deployment
    ask(backfill, {}, approval="always", max_images=None)
    fields = {name: param["value"] for name, param in asked[0]["params"].items()}
    assert fields == {"max_images": 10_000, "max_cost_usd": 500.0}
