"""Whether a part's batch job is created now: a decision, without calls.

The service takes the same request twice, and has no name that could be in use. So what is about to
be asked for is written down before, and the answer after it. A try that finds the first without the
second does not know whether there is a job. It looks for one by its labels, for a while.
"""

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from imagen_ops.jobs.batch_job import BatchJob

# How long after a request nobody can be sure that there is no job. No document says how late a
# listing may be. A call ends within a minute, and Dataflow's listing is late by seconds.
SURE_AFTER = timedelta(minutes=5)


class SubmitStep(StrEnum):
    """What is done about a part next."""

    NOTHING = "nothing"  # it has its job, or was refused
    CREATE = "create"
    LOOK = "look"  # a job was asked for, and nobody knows the answer: list the jobs
    ADOPT = "adopt"  # that job is found
    WAIT = "wait"  # it is not found, and may appear all the same
    GIVE_UP = "give up"  # its time is up, and it has no job


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is written down of a part.

    Attributes:
        answered: whether its batch job is known, or was refused.
        asked_at: when a job was asked for last, in UTC; None: never.
    """

    answered: bool
    asked_at: datetime | None


def next_submit_step(
    asked: Asked, found: Sequence[BatchJob] | None, *, now: datetime, until: datetime
) -> SubmitStep:
    """Decide what to do about a part.

    Args:
        asked: what is written down of it.
        found: the jobs with its labels; None: nobody has looked yet.
        now: the time, in UTC.
        until: from then on, no job is created.
    """
    if asked.answered:
        return SubmitStep.NOTHING
    create = SubmitStep.CREATE if now < until else SubmitStep.GIVE_UP
    if asked.asked_at is None:
        return create
    if found is None:
        return SubmitStep.LOOK
    if found:
        return SubmitStep.ADOPT
    return SubmitStep.WAIT if now - asked.asked_at < SURE_AFTER else create
