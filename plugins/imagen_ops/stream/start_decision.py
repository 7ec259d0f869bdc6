"""What a start does about a job that is already active: a decision, as a pure function."""

from enum import StrEnum

from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import RUN_LABEL


class OnActive(StrEnum):
    """What the operator wants if a stream is already active when a start begins."""

    KEEP = "keep"
    UPDATE = "update"
    REPLACE = "replace"


class Step(StrEnum):
    """The next step of a start."""

    LAUNCH = "launch"  # no job holds the name
    ADOPT = "adopt"  # use the active job as it is
    UPDATE = "update"  # launch a job that takes over from the active one
    DRAIN = "drain"  # the active job has to end first
    CANCEL = "cancel"  # the active job has to end first, and has not taken any prompt yet
    WAIT = "wait"  # the active job is changing its state: no other step is possible yet


def next_step(active: Job | None, on_active: OnActive, run_label: str) -> Step:
    """Decide what to do about the job that holds the stream's name.

    Args:
        active: the job that holds the name, or None.
        on_active: what the operator chose.
        run_label: the label of this DAG run. A job that carries it was launched by an earlier try
            of this very run: it is adopted, never updated or replaced a second time.
    """
    if active is None:
        return Step.LAUNCH
    if active.labels.get(RUN_LABEL) == run_label:
        return Step.ADOPT
    if active.state.stopping:
        return Step.WAIT
    if on_active is OnActive.KEEP:
        return Step.ADOPT
    if on_active is OnActive.REPLACE:
        return Step.CANCEL if active.state.starting else Step.DRAIN
    return Step.UPDATE if active.state is JobState.RUNNING else Step.WAIT
