"""Waiting for backfill jobs, and their retries, against the local Dataflow. Jobs stay queued.

States that pass too quickly are handed to the task instead.
"""

import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import TRY_LABEL
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.backfill.conftest import (
    EMPTY_PLAN,
    active_jobs,
    cancel,
    launch_task,
)

Run = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("_queued_jobs")


def wait_task(job_id: str) -> Any:
    from imagen_ops.backfill.sensors import BackfillJobSensor

    return BackfillJobSensor(task_id="wait", job_id=job_id, plan=EMPTY_PLAN)


def task_that_sees(job: Job, **changes: Any) -> Any:
    """Return a task that sees `job`, and what else the listings say."""
    task = wait_task(job.id)
    seen = {"get": lambda _: job, "newest": lambda _: job, "errors": lambda _: []}
    dataflow = types.SimpleNamespace(**{**seen, **changes})
    task.__dict__["clients"] = types.SimpleNamespace(dataflow=dataflow)
    return task


def test_a_dry_run_ends_before_the_launch(deployment: Deployment, poke: Run) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match="the plan is the result of `check`"):
        poke(launch_task(), dry_run=True)
    assert active_jobs(deployment) == []


@pytest.mark.parametrize(
    "state", [JobState.QUEUED, JobState.PENDING, JobState.RUNNING, JobState.CANCELLING]
)
def test_an_active_job_is_waited_for(poke: Run, state: JobState) -> None:
    assert not poke(task_that_sees(Job("1", "b", state)))


def test_a_job_that_is_done_ends_the_wait(poke: Run) -> None:
    result = poke(task_that_sees(Job("1", "b", JobState.DONE)))
    assert (bool(result), result.xcom_value) == (True, "1")


def test_a_cancelled_job_is_not_launched_again(poke: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"CANCELLED.*clear this task"):
        poke(task_that_sees(Job("1", "b", JobState.CANCELLED)))


@pytest.mark.parametrize("try_number", [1, 2, 4])
def test_a_job_cancelled_since_the_run_began_stays_cancelled_in_every_try(
    deployment: Deployment, poke: Run, try_number: int
) -> None:
    """Also between two tries, which a lost worker is enough for."""
    from airflow.sdk.exceptions import AirflowFailException

    began = datetime.now(UTC) - timedelta(minutes=10)
    cancelled = Job("1", "b", JobState.CANCELLED, state_since=began + timedelta(minutes=5))
    with pytest.raises(AirflowFailException, match=r"CANCELLED.*clear this task"):
        poke(task_that_sees(cancelled), try_number=try_number, run_start=began)
    assert active_jobs(deployment) == []


def test_a_cancelled_job_is_launched_again_once_its_failed_run_is_cleared(
    deployment: Deployment, poke: Run, eventually: Run
) -> None:
    first = poke(launch_task()).xcom_value
    cancel(deployment, first, eventually)
    cleared = datetime.now(UTC)
    assert not poke(wait_task(first), try_number=2, run_start=cleared)
    (again,) = active_jobs(deployment)
    assert again != first


def test_no_job_is_launched_again_after_the_limit_of_the_wait(
    deployment: Deployment, poke: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSensorTimeout

    task = task_that_sees(Job("1", "b", JobState.FAILED))
    task.timeout = 3600
    state = {"waiting_since_try_1": (datetime.now(UTC) - timedelta(hours=2)).isoformat()}
    with pytest.raises(AirflowSensorTimeout, match="1 is FAILED, and is not launched again"):
        poke(task, try_number=2, state=state)
    assert active_jobs(deployment) == []


def test_a_failed_job_fails_the_try_with_the_jobs_own_errors(poke: Run) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    errors = [types.SimpleNamespace(text=f"word {number}") for number in range(5)]
    task = task_that_sees(Job("1", "b", JobState.FAILED), errors=lambda _: errors)
    with pytest.raises(AirflowException, match="1 is FAILED: word 2 word 3 word 4\n") as failed:
        poke(task)
    assert not isinstance(failed.value, AirflowFailException)
    with pytest.raises(AirflowException, match="it logged no errors"):
        poke(task_that_sees(Job("1", "b", JobState.FAILED)))


def test_a_job_that_no_listing_shows_yet_is_not_confused_with_an_older_one(poke: Run) -> None:
    jobs = {"0": Job("0", "b", JobState.DONE), "1": Job("1", "b", JobState.RUNNING)}
    task = task_that_sees(jobs["1"], get=jobs.__getitem__, newest=lambda _: jobs["0"])
    assert not poke(task), "of a run that was cleared and has launched again"


def test_each_try_launches_a_failed_job_once(
    deployment: Deployment, poke: Run, eventually: Run
) -> None:
    from airflow.sdk.exceptions import AirflowException

    first = poke(launch_task()).xcom_value
    assert not poke(wait_task(first))
    cancel(deployment, first, eventually)
    for _ in range(2):
        with pytest.raises(AirflowException, match=f"{first} is CANCELLED"):
            poke(wait_task(first))
    assert active_jobs(deployment) == [], "the try that saw it fail launches nothing"

    job_id = first
    for number in (2, 3):
        for _ in range(2):
            assert not poke(wait_task(first), try_number=number)
        (again,) = active_jobs(deployment)
        assert again != job_id
        job = deployment.clients.dataflow.get(again)
        assert job.labels[TRY_LABEL] == str(number)
        assert job.name == deployment.clients.dataflow.get(first).name
        cancel(deployment, again, eventually)
        with pytest.raises(AirflowException, match=f"{again} is CANCELLED"):
            poke(wait_task(first), try_number=number)
        assert active_jobs(deployment) == []
        job_id = again


def test_a_later_try_accepts_the_job_that_succeeded(poke: Run) -> None:
    now = datetime.now(UTC)
    jobs = {
        "1": Job("1", "b", JobState.FAILED, created=now - timedelta(minutes=5)),
        "2": Job("2", "b", JobState.DONE, created=now),
    }
    task = task_that_sees(jobs["1"], get=jobs.__getitem__, newest=lambda _: jobs["2"])
    assert poke(task, try_number=2).xcom_value == "2"


def test_a_relaunch_waits_for_a_free_place_too(
    deployment: Deployment, poke: Run, monkeypatch: pytest.MonkeyPatch, eventually: Run
) -> None:
    monkeypatch.setenv("IMAGEN_BACKFILLS_AT_ONCE", "1")
    first = poke(launch_task(), "one").xcom_value
    cancel(deployment, first, eventually)
    second = poke(launch_task(), "two").xcom_value
    assert not poke(wait_task(first), "one", try_number=2)
    assert active_jobs(deployment) == [second]
    cancel(deployment, second, eventually)
    assert not poke(wait_task(first), "one", try_number=2)
    (again,) = active_jobs(deployment)
    assert again not in (first, second)
