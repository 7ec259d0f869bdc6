"""What is done in each state of a batch job: the whole table."""

from datetime import UTC, datetime, timedelta

import pytest

from imagen_ops.jobs.batch_job import BatchJob, BatchState
from imagen_ops.prefetch.decision import (
    CANCEL_PATIENCE,
    MEANINGS,
    Step,
    Watch,
    next_step,
    what_happened,
)

DEADLINE = datetime(2026, 11, 22, 12, tzinfo=UTC)
BEFORE, AFTER = DEADLINE - timedelta(seconds=1), DEADLINE + timedelta(minutes=5)
MUCH_LATER = DEADLINE + 2 * CANCEL_PATIENCE

# Before the deadline, after it, after it and cancelled by this run, and long after it.
STEPS = {
    BatchState.UNSPECIFIED: "wait cancel wait abandon",
    BatchState.QUEUED: "wait cancel wait abandon",
    BatchState.PENDING: "wait cancel wait abandon",
    BatchState.RUNNING: "wait cancel wait abandon",
    BatchState.UPDATING: "wait cancel wait abandon",
    BatchState.PAUSED: "wait cancel wait abandon",
    # Somebody else has asked for it already.
    BatchState.CANCELLING: "wait wait wait abandon",
    BatchState.SUCCEEDED: "end end end end",
    BatchState.PARTIALLY_SUCCEEDED: "end end end end",
    BatchState.FAILED: "end end end end",
    BatchState.CANCELLED: "end end end end",
    BatchState.EXPIRED: "end end end end",
    # The service does not answer.
    None: "wait cancel wait abandon",
}


def job(state: BatchState, error: str = "") -> BatchJob:
    return BatchJob("projects/p/locations/global/batchPredictionJobs/7", "d", state, error)


def test_every_state_has_a_meaning_and_a_row_here() -> None:
    assert set(MEANINGS) == set(BatchState) == set(STEPS) - {None}


@pytest.mark.parametrize(
    ("state", "steps"), STEPS.items(), ids=[str(state or "no answer") for state in STEPS]
)
def test_each_state_leads_to_its_step(state: BatchState | None, steps: str) -> None:
    seen = job(state) if state else None
    cancelled = Watch(DEADLINE, cancelled_at=DEADLINE)
    found = [
        next_step(seen, Watch(DEADLINE), BEFORE),
        next_step(seen, Watch(DEADLINE), AFTER),
        next_step(seen, cancelled, AFTER),
        next_step(seen, cancelled, MUCH_LATER),
    ]
    assert found == [Step(step) for step in steps.split()]


def test_a_job_that_can_never_be_cancelled_is_not_waited_for_for_ever() -> None:
    running = job(BatchState.RUNNING)
    assert next_step(running, Watch(DEADLINE), MUCH_LATER) is Step.ABANDON
    late = Watch(DEADLINE, cancelled_at=DEADLINE + CANCEL_PATIENCE)
    assert next_step(running, late, DEADLINE + 1.5 * CANCEL_PATIENCE) is Step.WAIT


@pytest.mark.parametrize("state", [s for s, meaning in MEANINGS.items() if meaning.ended])
def test_what_is_not_complete_is_said(state: BatchState) -> None:
    said = what_happened(job(state, "no rights"), cancelled_at=None)
    if state is BatchState.SUCCEEDED:
        assert said == ""
    else:
        assert said.startswith(f"batch job 7 is {state}: ")
        assert said.endswith(": no rights")


def test_who_cancelled_a_job_is_said() -> None:
    cancelled = job(BatchState.CANCELLED)
    assert "somebody cancelled it" in what_happened(cancelled, cancelled_at=None)
    assert "this run cancelled it" in what_happened(cancelled, cancelled_at=DEADLINE)
