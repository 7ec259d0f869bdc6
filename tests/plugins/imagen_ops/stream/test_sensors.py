"""How waiting tasks treat a job's states. The tests set states that pass too quickly to meet."""

import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.jobs.job import Job, JobState
from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


def with_job(task: Any, state: JobState, *, since_minutes: float = 0.0) -> Any:
    """Give the task a Dataflow whose job has been in `state` for `since_minutes`."""
    since = datetime.now(UTC) - timedelta(minutes=since_minutes)
    job = Job("2026-11-22_10_00_00-1", "imagen-stream", state, state_since=since)
    dataflow = types.SimpleNamespace(get=lambda _: job, errors=lambda _: [])
    task.__dict__["clients"] = types.SimpleNamespace(dataflow=dataflow)
    return task


def running(state: JobState) -> Any:
    from imagen_ops.stream.sensors import JobRunningSensor

    return with_job(JobRunningSensor(task_id="wait", job_id="1"), state)


def ended(state: JobState, minutes: float, since_minutes: float) -> Any:
    from imagen_ops.stream.sensors import JobEndedSensor

    task = JobEndedSensor(task_id="wait", job_id="1", give_up_minutes=minutes)
    return with_job(task, state, since_minutes=since_minutes)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.PENDING, JobState.STOPPED])
def test_a_start_waits_while_the_job_is_starting(
    deployment: Deployment, run_task: Run, state: JobState
) -> None:
    assert not run_task(running(state))


def test_a_start_stops_waiting_once_the_job_is_running(
    deployment: Deployment, run_task: Run
) -> None:
    assert run_task(running(JobState.RUNNING))


@pytest.mark.parametrize("state", [JobState.DRAINING, JobState.CANCELLING])
def test_a_start_fails_if_somebody_stops_its_job(
    deployment: Deployment, run_task: Run, state: JobState
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="somebody is stopping it"):
        run_task(running(state))


@pytest.mark.parametrize("state", [state for state in JobState if state.terminal])
def test_a_start_fails_if_its_job_has_ended(
    deployment: Deployment, run_task: Run, state: JobState
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=f"is {state}"):
        run_task(running(state))


@pytest.mark.parametrize(
    ("state", "limit", "since", "over"),
    [
        (JobState.DRAINING, 0, 600, False),
        (JobState.DRAINING, 30, 29, False),
        (JobState.DRAINING, 30, 31, True),
        (JobState.RUNNING, 30, 31, False),
        (JobState.DRAINED, 0, 0, True),
        (JobState.FAILED, 30, 1, True),
    ],
)
def test_a_drain_is_given_up_after_the_minutes_in_the_form(
    deployment: Deployment,
    run_task: Run,
    state: JobState,
    limit: float,
    since: float,
    over: bool,
) -> None:
    result = run_task(ended(state, limit, since))
    assert bool(result) is over
    assert result.xcom_value == state.value
