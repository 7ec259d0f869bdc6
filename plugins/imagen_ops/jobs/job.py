"""A Dataflow job as the rest of `imagen_ops` sees it.

The only module that knows how Dataflow's REST API (v1b3) writes a job; it makes no calls itself.
"""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

_PREFIX = "JOB_STATE_"
# What Dataflow writes for "not set", in a launch's answer for instance.
_EPOCH = datetime.fromtimestamp(0, UTC)


class JobState(StrEnum):
    """Dataflow's job states, without `JOB_STATE_`."""

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
    UPDATED = "UPDATED"  # ended: another job has taken over from this one
    DONE = "DONE"
    STOPPED = "STOPPED"  # not started *yet*, whatever the word says
    RESOURCE_CLEANING_UP = "RESOURCE_CLEANING_UP"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def of(cls, name: str | None) -> "JobState":
        """Return the state called `name`, with or without its prefix; UNKNOWN for any other."""
        try:
            return cls((name or "").strip().upper().removeprefix(_PREFIX))
        except ValueError:
            return cls.UNKNOWN

    @property
    def terminal(self) -> bool:
        """Whether the job has ended and stays as it is."""
        return self in _TERMINAL

    @property
    def active(self) -> bool:
        """Whether the job still holds its name, so that no other of that name can start.

        UNKNOWN counts as active: a second stream beside a living one is worse than a late start.
        """
        return self not in _TERMINAL

    @property
    def starting(self) -> bool:
        """Whether the job has been accepted but has no workers yet."""
        return self in _STARTING

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked the job to end, and it has not yet."""
        return self in _STOPPING


_TERMINAL = frozenset(
    {JobState.DRAINED, JobState.CANCELLED, JobState.FAILED, JobState.UPDATED, JobState.DONE}
)
_STARTING = frozenset({JobState.STOPPED, JobState.QUEUED, JobState.PENDING})
_STOPPING = frozenset({JobState.DRAINING, JobState.CANCELLING})


@dataclasses.dataclass(frozen=True)
class Job:
    """One Dataflow job. `state_since` and `created` are aware, in UTC; None: Dataflow gave none."""

    id: str
    name: str
    state: JobState
    state_since: datetime | None = None
    created: datetime | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    @classmethod
    def from_api(cls, resource: Mapping[str, Any]) -> "Job":
        """Return the job that a v1b3 `Job` resource describes, whichever view it was read with.

        Raises:
            ValueError: it has no id or no name, so it is not a job.
        """
        if not resource.get("id") or not resource.get("name"):
            raise ValueError(
                "expected a Dataflow job with an id and a name, got one with the fields "
                f"{sorted(resource)}; was it read with a field mask that leaves them out?"
            )
        return cls(
            id=str(resource["id"]),
            name=str(resource["name"]),
            state=JobState.of(resource.get("currentState")),
            state_since=api_time(resource.get("currentStateTime")),
            created=api_time(resource.get("createTime")),
            labels={str(key): str(value) for key, value in (resource.get("labels") or {}).items()},
        )


def api_time(text: str | None) -> datetime | None:
    """Return an RFC 3339 time of any precision, in UTC, cut to microseconds; None for none.

    What is no time, and the epoch, which Dataflow writes for "not set", are None too: a time that
    cannot be read should not keep anybody from seeing the job.
    """
    try:
        moment = datetime.fromisoformat((text or "").strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return None if moment == _EPOCH else moment
