"""Turns and tries of backfill jobs, against the local Dataflow. Jobs stay queued: none starts.

States that pass too quickly to be met are handed in.
"""

import dataclasses
import types
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.backfill.listing import Fingerprint
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import TRY_LABEL
from tests.conftest import Cloud
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.backfill.test_plan_text import PLAN

Run = Callable[..., Any]
DAY = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _queued(cloud: Cloud) -> Iterator[None]:
    cloud.dataflow(queued_s=600.0)
    yield
    cloud.dataflow(queued_s=0.5)


@pytest.fixture
def backfill(deployment: Deployment, run_task: Run) -> Run:
    """Look once with a task, as one of several runs of the backfill of `DAY`."""

    def look(
        task: Any, run: str = "one", *, try_number: int = 1, dry_run: bool = False, **others: Any
    ) -> Any:
        params = {
            "model": deployment.settings.model,
            "prompts": None,
            "dry_run": dry_run,
            "max_images": 2,
            "max_cost_usd": None,
        }
        return run_task(
            task,
            dag_id="imagen_backfill",
            # Jobs of tests before this one are still listed as ended.
            run_id=f"{deployment.lane.name}__{run}",
            day=DAY,
            params=params,
            try_number=try_number,
            **others,
        )

    return look


# Of a day without files.
EMPTY = dataclasses.replace(PLAN, fingerprint=str(Fingerprint())).to_json()


def launch(plan: Any = EMPTY) -> Any:
    from imagen_ops.backfill.sensors import LaunchBackfillSensor

    return LaunchBackfillSensor(task_id="launch", plan=plan)


def wait(job_id: str) -> Any:
    from imagen_ops.backfill.sensors import BackfillDoneSensor

    return BackfillDoneSensor(task_id="wait", job_id=job_id, plan=EMPTY)


def seeing(job: Job, **others: Any) -> Any:
    """Return a task that sees `job`, and what else the listings say."""
    task = wait(job.id)
    nothing = {"active": lambda _: None, "last_ended": lambda _: job, "errors": lambda _: []}
    dataflow = types.SimpleNamespace(**{"get": lambda _: job, **nothing, **others})
    task.__dict__["clients"] = types.SimpleNamespace(dataflow=dataflow)
    return task


def active(deployment: Deployment) -> list[str]:
    return [job.id for job in deployment.clients.dataflow.active_like("imagen-backfill-")]


def end(deployment: Deployment, job_id: str, eventually: Run) -> None:
    dataflow = deployment.clients.dataflow
    dataflow.cancel(job_id)
    eventually(lambda: dataflow.get(job_id).state.terminal, what="the end of the job")


def test_a_launch_that_is_tried_again_finds_its_own_job(
    deployment: Deployment, backfill: Run
) -> None:
    task = launch()
    first = backfill(task).xcom_value
    assert task.linked_job.job_id == first
    assert backfill(launch(), try_number=2).xcom_value == first
    assert active(deployment) == [first]
    assert deployment.clients.dataflow.get(first).labels[TRY_LABEL] == "1"


def test_runs_take_turns(
    deployment: Deployment, backfill: Run, monkeypatch: pytest.MonkeyPatch, eventually: Run
) -> None:
    monkeypatch.setenv("IMAGEN_BACKFILLS_AT_ONCE", "2")
    first, second = (backfill(launch(), run).xcom_value for run in ("one", "two"))
    assert first != second
    assert not backfill(launch(), "three")
    with monkeypatch.context() as lowered:
        lowered.setenv("IMAGEN_BACKFILLS_AT_ONCE", "1")
        assert backfill(launch(), "two").xcom_value == second, "whose turn it is, keeps it"
    assert sorted(active(deployment)) == sorted([first, second])
    end(deployment, first, eventually)
    third = backfill(launch(), "three")
    assert third
    assert sorted(active(deployment)) == sorted([second, third.xcom_value])


def test_a_dry_run_ends_before_the_launch(deployment: Deployment, backfill: Run) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match="the plan is the result of `check`"):
        backfill(launch(), dry_run=True)
    assert active(deployment) == []


def test_a_launch_of_a_moment_ago_that_was_not_visible_is_adopted(
    deployment: Deployment, backfill: Run
) -> None:
    first = backfill(launch()).xcom_value
    task = launch()
    dataflow, looks = task.clients.dataflow, []
    real = dataflow.active

    def late(name: str) -> Job | None:
        looks.append(name)
        return None if len(looks) <= 1 else real(name)

    dataflow.active = late
    assert backfill(task).xcom_value == first
    assert len(looks) == 2


@pytest.mark.parametrize(
    "state", [JobState.QUEUED, JobState.PENDING, JobState.RUNNING, JobState.CANCELLING]
)
def test_a_job_that_is_under_way_is_waited_for(backfill: Run, state: JobState) -> None:
    assert not backfill(seeing(Job("1", "b", state)))


def test_a_job_that_is_done_ends_the_waiting(backfill: Run) -> None:
    result = backfill(seeing(Job("1", "b", JobState.DONE)))
    assert (bool(result), result.xcom_value) == (True, "1")


def test_a_job_that_somebody_cancelled_is_not_launched_again_by_itself(backfill: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"CANCELLED.*clear this task"):
        backfill(seeing(Job("1", "b", JobState.CANCELLED)))


def test_a_job_that_somebody_cancels_in_a_later_try_is_not_launched_again_either(
    deployment: Deployment, backfill: Run
) -> None:
    """The try is a later one because a worker was lost, not because a job had failed."""
    from airflow.sdk.exceptions import AirflowFailException

    waiting = datetime.now(UTC) - timedelta(minutes=10)
    cancelled = Job("1", "b", JobState.CANCELLED, state_since=datetime.now(UTC))
    with pytest.raises(AirflowFailException, match=r"CANCELLED.*clear this task"):
        backfill(seeing(cancelled), try_number=2, first_look=waiting)
    assert active(deployment) == []


def test_files_that_have_changed_since_the_plan_are_held_to_the_budget_when_it_is_their_turn(
    deployment: Deployment, backfill: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    bucket.blob("prompts/ds=2026-11-22/late.txt").upload_from_string("a\nb\nc\n")
    with pytest.raises(AirflowFailException, match=r"have changed .* over budget: 3 images to pay"):
        backfill(launch())
    assert active(deployment) == []
    bucket.blob("prompts/ds=2026-11-22/late.txt").upload_from_string("a\nb\n")
    assert backfill(launch()), "within it"


def test_files_that_are_as_they_were_planned_are_not_planned_again(
    deployment: Deployment, backfill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.backfill import planning

    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    bucket.blob("prompts/ds=2026-11-22/a.txt").upload_from_string("a\nb\nc\n")
    plan = planning.plan(
        deployment.lane.storage,
        f"gs://{deployment.settings.bucket}/prompts/ds=2026-11-22/*",
        model=deployment.settings.model,
        images_location=deployment.settings.images_location,
    )
    monkeypatch.setattr(planning, "plan", None)
    assert backfill(launch(plan.to_json())), "its budget was held against it before"


def test_a_job_that_failed_is_told_in_its_own_words_and_left_to_a_retry(backfill: Run) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    said = [types.SimpleNamespace(text=f"word {number}") for number in range(5)]
    task = seeing(Job("1", "b", JobState.FAILED), errors=lambda _: said)
    with pytest.raises(AirflowException, match="1 is FAILED: word 2 word 3 word 4\n") as failed:
        backfill(task)
    assert not isinstance(failed.value, AirflowFailException)
    with pytest.raises(AirflowException, match="it has said nothing"):
        backfill(seeing(Job("1", "b", JobState.FAILED)))


def test_a_job_that_no_listing_shows_yet_is_not_taken_for_the_one_before_it(backfill: Run) -> None:
    jobs = {"0": Job("0", "b", JobState.DONE), "1": Job("1", "b", JobState.RUNNING)}
    task = seeing(jobs["1"], get=jobs.__getitem__, last_ended=lambda _: jobs["0"])
    assert not backfill(task), "of a run that was cleared and has launched again"


def test_each_try_launches_a_job_that_failed_once_more(
    deployment: Deployment, backfill: Run, eventually: Run
) -> None:
    from airflow.sdk.exceptions import AirflowException

    first = backfill(launch()).xcom_value
    assert not backfill(wait(first))
    end(deployment, first, eventually)
    for _ in range(2):
        with pytest.raises(AirflowException, match=f"{first} is CANCELLED"):
            backfill(wait(first))
    assert active(deployment) == [], "the try that saw it fail launches nothing"

    job_id = first
    for number in (2, 3):
        for _ in range(2):
            assert not backfill(wait(first), try_number=number)
        (again,) = active(deployment)
        assert again != job_id
        job = deployment.clients.dataflow.get(again)
        assert job.labels[TRY_LABEL] == str(number)
        assert job.name == deployment.clients.dataflow.get(first).name
        end(deployment, again, eventually)
        with pytest.raises(AirflowException, match=f"{again} is CANCELLED"):
            backfill(wait(first), try_number=number)
        assert active(deployment) == []
        job_id = again


def test_a_later_try_takes_the_job_that_succeeded(backfill: Run) -> None:
    jobs = {"1": Job("1", "b", JobState.FAILED), "2": Job("2", "b", JobState.DONE)}
    task = seeing(jobs["1"], get=jobs.__getitem__, last_ended=lambda _: jobs["2"])
    assert backfill(task, try_number=2).xcom_value == "2"


def test_what_is_launched_again_waits_for_its_turn_too(
    deployment: Deployment, backfill: Run, monkeypatch: pytest.MonkeyPatch, eventually: Run
) -> None:
    monkeypatch.setenv("IMAGEN_BACKFILLS_AT_ONCE", "1")
    first = backfill(launch(), "one").xcom_value
    end(deployment, first, eventually)
    second = backfill(launch(), "two").xcom_value
    assert not backfill(wait(first), "one", try_number=2)
    assert active(deployment) == [second]
    end(deployment, second, eventually)
    assert not backfill(wait(first), "one", try_number=2)
    (again,) = active(deployment)
    assert again not in (first, second)
