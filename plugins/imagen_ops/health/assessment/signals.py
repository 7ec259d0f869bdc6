"""What is known about the stream at one moment: all that `assess` may look at.

Nothing here is trusted: a reading may be old, of the future, or no number at all, and `None` means
that nobody knows, never zero.
"""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.verdict import Status, Verdict
from imagen_ops.jobs.job import Job


class Source(StrEnum):
    """Who was asked for signals."""

    DATAFLOW = "dataflow"  # the job, its counts and its error messages
    MONITORING = "monitoring"  # the four readings
    PUBSUB = "pubsub"  # the canary


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """What the job did since the last look: prompts that ended, and those of them that failed.

    `by_reason` splits the failures by the reason in their dead letters (`UNAVAILABLE`, …).
    """

    prompts: int
    failures: int
    by_reason: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Canary:
    """A probe that travels the whole way; `returned_at` is None as long as it has not come back."""

    sent_at: datetime
    returned_at: datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorMessage:
    """One message of the level ERROR from the job's log."""

    at: datetime
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Previous:
    """What the last look found, as far as this one needs it."""

    status: Status
    canary_lost: bool

    @classmethod
    def of(cls, verdict: Verdict) -> "Previous":
        """Return what the next look needs to know of `verdict`."""
        return cls(status=verdict.status, canary_lost=verdict.canary_lost)


@dataclasses.dataclass(frozen=True)
class Signals:
    """One look at the stream. Times without a zone are taken for UTC.

    `at`: when it was taken. `wanted`: whether the stream should run; `wanted_by` and
    `wanted_since`: who decided that, and when, as far as it is known.
    `job`: the active job; `last_job`: the newest one that has ended.
    `system_lag`, `watermark_age`, `backlog_age`: seconds; `backlog_size`: messages.
    `errors`: those since the last look. `canary`: None when none was sent.
    `unreachable`: the sources that could not be asked (see `Source`), each with its error's text.
    `previous`: None at the first look.
    """

    at: datetime
    wanted: bool
    wanted_by: str = ""
    wanted_since: datetime | None = None
    job: Job | None = None
    last_job: Job | None = None
    system_lag: Reading | None = None
    watermark_age: Reading | None = None
    backlog_age: Reading | None = None
    backlog_size: Reading | None = None
    counts: Counts | None = None
    errors: tuple[ErrorMessage, ...] = ()
    canary: Canary | None = None
    unreachable: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    previous: Previous | None = None


def elapsed_s(start: datetime, end: datetime) -> float:
    """Return the seconds from `start` to `end`; either may lack its zone, and is UTC then."""
    return (_aware(end) - _aware(start)).total_seconds()


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
