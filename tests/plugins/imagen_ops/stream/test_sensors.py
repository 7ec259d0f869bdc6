"""What waiting makes of a job's state. States that pass too quickly to be met are handed in."""

import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.jobs.job import Job, JobState
from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


def seeing(task: Any, state: JobState, *, since_minutes: float = 0.0) -> Any:
    """Let a task see a job in that state."""
    since = datetime.now(UTC) - timedelta(minutes=since_minutes)
    job = Job("2026-11-22_10_00_00-1", "imagen-stream", state, state_since=since)
    dataflow = types.SimpleNamespace(get=lambda _: job, errors=lambda _: [])
    task.__dict__["clients"] = types.SimpleNamespace(dataflow=dataflow)
    return task


def running(state: JobState) -> Any:
    from imagen_ops.stream.sensors import JobRunningSensor

    return seeing(JobRunningSensor(task_id="wait", job_id="1"), state)


def ended(state: JobState, minutes: float, since_minutes: float) -> Any:
    from imagen_ops.stream.sensors import JobEndedSensor

    task = JobEndedSensor(task_id="wait", job_id="1", give_up_minutes=minutes)
    return seeing(task, state, since_minutes=since_minutes)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.PENDING, JobState.STOPPED])
def test_a_job_that_starts_is_waited_for(
    deployment: Deployment, run_task: Run, state: JobState
) -> None:
    assert not run_task(running(state))


def test_a_job_that_runs_ends_the_waiting(deployment: Deployment, run_task: Run) -> None:
    assert run_task(running(JobState.RUNNING))


@pytest.mark.parametrize("state", [JobState.DRAINING, JobState.CANCELLING])
def test_a_start_says_that_somebody_stops_what_it_starts(
    deployment: Deployment, run_task: Run, state: JobState
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="somebody is stopping it"):
        run_task(running(state))


@pytest.mark.parametrize("state", [state for state in JobState if state.terminal])
def test_a_start_does_not_wait_for_a_job_that_has_ended(
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
def test_patience_with_a_drain_ends_when_the_form_says_so(
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
