import itertools

import pytest

from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import RUN_LABEL
from imagen_ops.stream.start_decision import OnActive, Step, next_step

ACTIVE = [state for state in JobState if state.active]


def job(state: JobState, run: str = "other") -> Job:
    return Job("1", "imagen-stream", state, labels={RUN_LABEL: run})


@pytest.mark.parametrize("on_active", OnActive)
def test_a_free_name_is_launched(on_active: OnActive) -> None:
    assert next_step(None, on_active, "mine") is Step.LAUNCH


@pytest.mark.parametrize(("on_active", "state"), list(itertools.product(OnActive, ACTIVE)))
def test_a_run_adopts_the_job_that_it_launched_itself(on_active: OnActive, state: JobState) -> None:
    assert next_step(job(state, "mine"), on_active, "mine") is Step.ADOPT


@pytest.mark.parametrize("on_active", OnActive)
@pytest.mark.parametrize("state", [JobState.DRAINING, JobState.CANCELLING])
def test_a_job_that_is_ending_is_not_adopted(on_active: OnActive, state: JobState) -> None:
    assert next_step(job(state), on_active, "mine") is Step.WAIT


@pytest.mark.parametrize(
    ("on_active", "state", "step"),
    [
        (OnActive.KEEP, JobState.QUEUED, Step.ADOPT),
        (OnActive.KEEP, JobState.RUNNING, Step.ADOPT),
        (OnActive.UPDATE, JobState.RUNNING, Step.UPDATE),
        (OnActive.UPDATE, JobState.PENDING, Step.WAIT),
        (OnActive.REPLACE, JobState.RUNNING, Step.DRAIN),
        (OnActive.REPLACE, JobState.PENDING, Step.CANCEL),
        (OnActive.REPLACE, JobState.QUEUED, Step.CANCEL),
        (OnActive.REPLACE, JobState.UNKNOWN, Step.DRAIN),
    ],
)
def test_a_job_of_another_run_is_kept_updated_or_ended(
    on_active: OnActive, state: JobState, step: Step
) -> None:
    assert next_step(job(state), on_active, "mine") is step


def test_a_job_without_a_label_belongs_to_another_run() -> None:
    unlabelled = Job("1", "imagen-stream", JobState.RUNNING)
    assert next_step(unlabelled, OnActive.REPLACE, "mine") is Step.DRAIN
