"""Whether a backfill launches its job now: a decision, without calls."""

from enum import StrEnum

from imagen_ops.jobs.job import Job


class LaunchStep(StrEnum):
    """What the task that launches does next."""

    ADOPT = "adopt"  # the run's job is active already
    WAIT = "wait"  # as many jobs of other runs are active as may be
    LAUNCH = "launch"


def next_launch_step(active: Job | None, active_others: int, max_at_once: int) -> LaunchStep:
    """Decide what to do about the job of a run.

    Args:
        active: the run's own job, if it is active.
        active_others: how many backfill jobs of other runs are active.
        max_at_once: IMAGEN_BACKFILLS_AT_ONCE.
    """
    if active is not None:
        return LaunchStep.ADOPT
    return LaunchStep.LAUNCH if active_others < max_at_once else LaunchStep.WAIT
