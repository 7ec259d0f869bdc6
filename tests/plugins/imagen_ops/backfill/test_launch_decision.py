"""Whether a backfill launches its job now."""

import pytest

from imagen_ops.backfill.launch_decision import LaunchStep, next_launch_step
from imagen_ops.jobs.job import Job

JOB = Job.from_api({"id": "1", "name": "imagen-backfill-x", "currentState": "JOB_STATE_RUNNING"})


@pytest.mark.parametrize("others", [0, 1, 5])
def test_the_runs_own_active_job_is_adopted_however_many_others_there_are(others: int) -> None:
    assert next_launch_step(JOB, others, max_at_once=2) is LaunchStep.ADOPT


@pytest.mark.parametrize(
    ("others", "step"),
    [(0, LaunchStep.LAUNCH), (1, LaunchStep.LAUNCH), (2, LaunchStep.WAIT), (3, LaunchStep.WAIT)],
)
def test_a_run_waits_while_as_many_others_are_active_as_may_be(
    others: int, step: LaunchStep
) -> None:
    assert next_launch_step(None, others, max_at_once=2) is step
