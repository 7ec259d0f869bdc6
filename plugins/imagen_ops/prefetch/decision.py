"""What each state of a batch job means, and what the task that waits for it does next. Pure."""

import dataclasses
from datetime import datetime, timedelta
from enum import StrEnum

from imagen_ops.jobs.batch_job import BatchJob, BatchState

# A cancelled job ends within minutes. After this long, nobody waits any more; after twice as long,
# nobody tries to cancel it any more.
CANCEL_PATIENCE = timedelta(hours=1)


class Step(StrEnum):
    """What is done about a part next."""

    WAIT = "wait"
    CANCEL = "cancel"  # ask the service to end it; what it has finished is paid for, and kept
    END = "end"  # it has ended: take what it has written
    ABANDON = "abandon"  # it does not end: take what it has written, and say that it may go on


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a state means.

    Attributes:
        ended: whether the state is final.
        complete: whether nothing is wrong: every row has been worked on.
        text: what happened, for records and people; empty while there is nothing to say.
    """

    ended: bool
    complete: bool = False
    text: str = ""


# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/JobState
MEANINGS: dict[BatchState, Meaning] = {
    # Not known: it may be about to run.
    BatchState.UNSPECIFIED: Meaning(ended=False),
    BatchState.QUEUED: Meaning(ended=False),
    BatchState.PENDING: Meaning(ended=False),
    BatchState.RUNNING: Meaning(ended=False),
    BatchState.UPDATING: Meaning(ended=False),
    # Somebody can resume it until the deadline.
    BatchState.PAUSED: Meaning(ended=False),
    BatchState.CANCELLING: Meaning(ended=False),
    BatchState.SUCCEEDED: Meaning(ended=True, complete=True),
    BatchState.PARTIALLY_SUCCEEDED: Meaning(ended=True, text="some rows got no answer"),
    BatchState.FAILED: Meaning(ended=True, text="it failed"),
    BatchState.CANCELLED: Meaning(ended=True, text="it was cancelled"),
    # It waited longer than the service lets a job wait, or ran longer than it lets a job run.
    BatchState.EXPIRED: Meaning(ended=True, text="it was not finished within the service's time"),
}


@dataclasses.dataclass(frozen=True)
class Watch:
    """What the task knows of the part whose batch job it waits for.

    Attributes:
        deadline: when it is cancelled at the latest.
        cancelled_at: when this run has asked for that; None: it has not.
    """

    deadline: datetime
    cancelled_at: datetime | None = None


def next_step(job: BatchJob | None, watch: Watch, now: datetime) -> Step:
    """Decide what to do about a part.

    Args:
        job: its batch job as the service describes it; None: the service does not answer.
        watch: what the task knows of it.
        now: the time, in UTC.
    """
    if job is not None and MEANINGS[job.state].ended:
        return Step.END
    if now < watch.deadline:
        return Step.WAIT
    if watch.cancelled_at is not None:
        return Step.ABANDON if now >= watch.cancelled_at + CANCEL_PATIENCE else Step.WAIT
    if now >= watch.deadline + 2 * CANCEL_PATIENCE:
        return Step.ABANDON
    return Step.WAIT if job and job.state is BatchState.CANCELLING else Step.CANCEL


def what_happened(job: BatchJob, *, cancelled_at: datetime | None) -> str:
    """Return in words why the batch job of a part has not made everything; empty if it has.

    Args:
        job: the job, which has ended.
        cancelled_at: when this run has asked for its end; None: it has not.
    """
    text = MEANINGS[job.state].text
    if job.state is BatchState.CANCELLED:
        text = (
            "its deadline passed, and this run cancelled it"
            if cancelled_at
            else "somebody cancelled it"
        )
    if not text:
        return ""
    return f"batch job {job.id} is {job.state}: {text}" + (f": {job.error}" if job.error else "")
