from datetime import UTC, datetime, timedelta

import pytest

from imagen_ops.jobs.batch_job import BatchJob, BatchState
from imagen_ops.prefetch.submission import SURE_AFTER, Asked, SubmitStep, next_submit_step

NOW = datetime(2026, 11, 22, tzinfo=UTC)
JOB = BatchJob("projects/p/locations/global/batchPredictionJobs/7", "d", BatchState.QUEUED)
JUST_NOW, LONG_AGO = NOW - timedelta(seconds=1), NOW - SURE_AFTER


@pytest.mark.parametrize(
    ("asked_at", "found", "step"),
    [
        (None, None, "create"),
        (JUST_NOW, None, "look"),
        (LONG_AGO, None, "look"),
        (JUST_NOW, [JOB], "adopt"),
        (LONG_AGO, [JOB], "adopt"),
        (JUST_NOW, [], "wait"),
        (LONG_AGO, [], "create"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_job_is_created_only_if_it_is_sure_that_there_is_none(
    asked_at: datetime | None, found: list[BatchJob] | None, step: str, late: bool
) -> None:
    until = NOW - timedelta(minutes=1) if late else NOW + timedelta(minutes=1)
    expected = "give up" if late and step == "create" else step
    asked = Asked(answered=False, asked_at=asked_at)
    assert next_submit_step(asked, found, now=NOW, until=until) == SubmitStep(expected)


@pytest.mark.parametrize("asked_at", [None, JUST_NOW, LONG_AGO])
@pytest.mark.parametrize("found", [None, [], [JOB]])
def test_a_part_that_was_answered_is_left_alone(
    asked_at: datetime | None, found: list[BatchJob] | None
) -> None:
    asked = Asked(answered=True, asked_at=asked_at)
    until = NOW + timedelta(minutes=1)
    assert next_submit_step(asked, found, now=NOW, until=until) is SubmitStep.NOTHING
