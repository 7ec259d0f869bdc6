"""What a start does about a job that is there already: a decision, as a pure function."""

from enum import StrEnum

from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import RUN_LABEL


class OnActive(StrEnum):
    """What the operator wants if a stream is active when a start begins."""

    KEEP = "keep"
    UPDATE = "update"
    REPLACE = "replace"


class Step(StrEnum):
    """What comes next."""

    LAUNCH = "launch"  # nobody holds the name
    ADOPT = "adopt"  # the job that is there will do
    UPDATE = "update"  # launch in the place of the job that is there
    DRAIN = "drain"  # the job has to go
    CANCEL = "cancel"  # it has to go, and has not taken any input yet
    WAIT = "wait"  # its state changes by itself, to one in which something can be done


def next_step(active: Job | None, on_active: OnActive, run_label: str) -> Step:
    """Decide what to do about `active`, the job that holds the name.

    Args:
        active: None if nobody does.
        on_active: what the operator chose.
        run_label: of this DAG run. A job that carries it was launched by this very run, in an
            earlier try: it is adopted, never updated or replaced a second time.
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
