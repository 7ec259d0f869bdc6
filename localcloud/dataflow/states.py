"""Enums of the Dataflow API: job states, job types, views and message importances."""

from enum import StrEnum


class JobState(StrEnum):
    """A job's state, in the order of the API's numbers, which clients may send instead."""

    UNKNOWN = "JOB_STATE_UNKNOWN"
    STOPPED = "JOB_STATE_STOPPED"
    RUNNING = "JOB_STATE_RUNNING"
    DONE = "JOB_STATE_DONE"
    FAILED = "JOB_STATE_FAILED"
    CANCELLED = "JOB_STATE_CANCELLED"
    UPDATED = "JOB_STATE_UPDATED"
    DRAINING = "JOB_STATE_DRAINING"
    DRAINED = "JOB_STATE_DRAINED"
    PENDING = "JOB_STATE_PENDING"
    CANCELLING = "JOB_STATE_CANCELLING"
    QUEUED = "JOB_STATE_QUEUED"

    @property
    def terminal(self) -> bool:
        """Whether a job in this state stays in it."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        JobState.DONE,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.UPDATED,
        JobState.DRAINED,
    }
)


class JobType(StrEnum):
    """Whether a job is a batch job or a streaming job."""

    UNKNOWN = "JOB_TYPE_UNKNOWN"
    BATCH = "JOB_TYPE_BATCH"
    STREAMING = "JOB_TYPE_STREAMING"


class View(StrEnum):
    """How much of a job the API returns."""

    UNKNOWN = "JOB_VIEW_UNKNOWN"
    SUMMARY = "JOB_VIEW_SUMMARY"
    ALL = "JOB_VIEW_ALL"
    DESCRIPTION = "JOB_VIEW_DESCRIPTION"


class Importance(StrEnum):
    """How important a message is, in the order of the API's numbers, not of importance."""

    UNKNOWN = "JOB_MESSAGE_IMPORTANCE_UNKNOWN"
    DEBUG = "JOB_MESSAGE_DEBUG"
    DETAILED = "JOB_MESSAGE_DETAILED"
    WARNING = "JOB_MESSAGE_WARNING"
    ERROR = "JOB_MESSAGE_ERROR"
    BASIC = "JOB_MESSAGE_BASIC"

    @property
    def rank(self) -> int:
        """The position in the order of importance; higher is more important."""
        return _RANKS.index(self)


_RANKS = (
    Importance.UNKNOWN,
    Importance.DEBUG,
    Importance.DETAILED,
    Importance.BASIC,
    Importance.WARNING,
    Importance.ERROR,
)
