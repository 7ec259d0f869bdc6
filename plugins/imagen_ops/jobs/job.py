"""A Dataflow job as the rest of `imagen_ops` sees it.

The only module that knows how Dataflow's REST API (v1b3) represents a job. It makes no calls.
"""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

_PREFIX = "JOB_STATE_"
# What Dataflow sends for "not set", for instance in its response to a launch.
_EPOCH = datetime.fromtimestamp(0, UTC)


class JobState(StrEnum):
    """Dataflow's job states, without the prefix `JOB_STATE_`."""

    QUEUED = "QUEUED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    UPDATED = "UPDATED"  # ended: an update replaced this job with another one
    DONE = "DONE"
    STOPPED = "STOPPED"  # not started *yet*, despite its name
    RESOURCE_CLEANING_UP = "RESOURCE_CLEANING_UP"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def parse(cls, name: str | None) -> "JobState":
        """Return the state called `name`, with or without the prefix, or UNKNOWN."""
        try:
            return cls((name or "").strip().upper().removeprefix(_PREFIX))
        except ValueError:
            return cls.UNKNOWN

    @property
    def terminal(self) -> bool:
        """Whether the job has ended: its state no longer changes."""
        return self in _TERMINAL

    @property
    def active(self) -> bool:
        """Whether the job still holds its name, so that no other job of that name can start.

        UNKNOWN counts as active: a second stream is worse than a late start.
        """
        return self not in _TERMINAL

    @property
    def starting(self) -> bool:
        """Whether Dataflow has accepted the job but it has no workers yet."""
        return self in _STARTING

    @property
    def stopping(self) -> bool:
        """Whether the job was asked to end and has not ended yet."""
        return self in _STOPPING


_TERMINAL = frozenset(
    {JobState.DRAINED, JobState.CANCELLED, JobState.FAILED, JobState.UPDATED, JobState.DONE}
)
_STARTING = frozenset({JobState.STOPPED, JobState.QUEUED, JobState.PENDING})
_STOPPING = frozenset({JobState.DRAINING, JobState.CANCELLING})


@dataclasses.dataclass(frozen=True)
class Job:
    """One Dataflow job.

    Args:
        id: unique for all time, unlike the name.
        name: only one active job can hold it.
        state: the current state.
        state_since: when it entered that state, in UTC; None if Dataflow does not say.
        created: when it was created, in UTC; None if Dataflow does not say.
        labels: the user labels. Listings leave them out.
    """

    id: str
    name: str
    state: JobState
    state_since: datetime | None = None
    created: datetime | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.id}, {self.state})"

    @property
    def standing(self) -> str:
        """The job's id and state as a sentence, for logs."""
        if self.state is JobState.UNKNOWN:
            return f"job {self.id} was launched; its state is not known yet"
        return f"job {self.id} is {self.state}"

    @classmethod
    def from_api(cls, resource: Mapping[str, Any]) -> "Job":
        """Return the job that a v1b3 `Job` resource describes, in any of the API's views.

        Raises:
            ValueError: the resource has no id or no name.
        """
        if not resource.get("id") or not resource.get("name"):
            raise ValueError(
                "expected a Dataflow job with an id and a name, got only the fields "
                f"{', '.join(sorted(resource))}; remove any field mask that leaves them out"
            )
        return cls(
            id=str(resource["id"]),
            name=str(resource["name"]),
            state=JobState.parse(resource.get("currentState")),
            state_since=parse_api_time(resource.get("currentStateTime")),
            created=parse_api_time(resource.get("createTime")),
            labels={str(key): str(value) for key, value in (resource.get("labels") or {}).items()},
        )


def parse_api_time(text: str | None) -> datetime | None:
    """Return an RFC 3339 time of any precision in UTC, truncated to microseconds.

    Returns:
        The time, or None if the text is missing, is not a time, or is the epoch, which Dataflow
        sends for "not set". An unreadable time must not hide the job.
    """
    try:
        time = datetime.fromisoformat((text or "").strip())
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return None if time == _EPOCH else time
