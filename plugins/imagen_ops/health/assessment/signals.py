"""What is known about the stream at one moment: all that `assess` may use.

Nothing here is trusted: a reading may be old, from the future, or not a number. `None` means
unknown, never zero.
"""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from beam_jobs.outcomes import Reason as FailureReason
from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.verdict import ReasonCode, Status, Verdict
from imagen_ops.jobs.job import Job

_OVER_BUDGET = FailureReason.OVER_BUDGET.value


class Source(StrEnum):
    """A service that signals come from."""

    DATAFLOW = "dataflow"  # the job, its counts and its error messages
    MONITORING = "monitoring"  # the four readings
    PUBSUB = "pubsub"  # the canary
    STORAGE = "storage"  # models that refuse every prompt


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """What the job did since the last health check.

    Attributes:
        prompts: prompts that ended, with or without images.
        failures: those of them that failed.
        by_reason: failures by the reason in their dead letters (`UNAVAILABLE`, …).
    """

    prompts: int
    failures: int
    by_reason: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def over_budget(self) -> int:
        """The failures that cost nothing because a budget was used up, as it is meant to be."""
        return self.by_reason.get(_OVER_BUDGET, 0)

    @property
    def within_budget(self) -> "Counts":
        """These counts without the prompts that were over a budget."""
        over = self.over_budget
        reasons = {name: number for name, number in self.by_reason.items() if name != _OVER_BUDGET}
        if over <= 0:
            return self
        # A failure can be counted just before its prompt.
        return Counts(max(0, self.prompts - over), max(0, self.failures - over), reasons)

    @property
    def possible(self) -> bool:
        """Whether nothing went backwards."""
        return self.prompts >= 0 and self.failures >= 0

    def __add__(self, other: "Counts") -> "Counts":
        """Return what is counted in both."""
        reasons = {
            reason: self.by_reason.get(reason, 0) + other.by_reason.get(reason, 0)
            for reason in (*self.by_reason, *other.by_reason)
        }
        return Counts(self.prompts + other.prompts, self.failures + other.failures, reasons)


@dataclasses.dataclass(frozen=True, slots=True)
class Period:
    """What the jobs did up to a health check, since the one before it."""

    at: datetime
    counts: Counts


@dataclasses.dataclass(frozen=True, slots=True)
class Starts:
    """The start DAG, as far as it may stand in the way of a restart.

    Attributes:
        unfinished: how many of its runs are queued or running.
        paused: whether it is paused, so that they don't get on.
    """

    unfinished: int
    paused: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ModelHold:
    """A model that refuses every prompt, whose prompts wait.

    Attributes:
        model: its name.
        since: since when.
        detail: what it answers.
    """

    model: str
    since: datetime
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Canary:
    """A probe that travels the whole way. `returned_at` is None until it has come back."""

    sent_at: datetime
    returned_at: datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorMessage:
    """One message of level ERROR from the job's log."""

    at: datetime
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Previous:
    """What this health check needs to know about the last one."""

    status: Status
    canary_lost: bool
    codes: frozenset[ReasonCode] = frozenset()

    @classmethod
    def of(cls, verdict: Verdict) -> "Previous":
        """Return what the next health check needs to know about `verdict`."""
        codes = frozenset(reason.code for reason in verdict.reasons)
        return cls(status=verdict.status, canary_lost=verdict.canary_lost, codes=codes)


@dataclasses.dataclass(frozen=True)
class Signals:
    """The signals of one health check. Times without a zone are UTC.

    Attributes:
        at: when they were collected.
        wanted: whether the stream should run.
        wanted_by: who decided that, if known.
        wanted_since: when that was decided, if known.
        job: the active job.
        last_job: the newest job that has ended.
        system_lag: seconds.
        watermark_age: seconds.
        backlog_age: seconds.
        backlog_size: messages.
        counts: what the job did since the last health check.
        earlier: what it did before that, in the periods that may still count, in any order.
        errors: the error messages since the last health check.
        canary: None if none was sent.
        unreachable: the sources (see `Source`) whose calls failed, each with its error's text.
        previous: None at the first health check.
        starts: the start DAG's unfinished runs; None if unknown.
        model: the stream's default model; empty if unknown.
        holds: models that refuse every prompt.
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
    earlier: tuple[Period, ...] = ()
    errors: tuple[ErrorMessage, ...] = ()
    canary: Canary | None = None
    unreachable: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    previous: Previous | None = None
    starts: Starts | None = None
    model: str = ""
    holds: tuple[ModelHold, ...] = ()


def elapsed_s(start: datetime, end: datetime) -> float:
    """Return the seconds from `start` to `end`. A time without a zone is UTC."""
    return (_aware(end) - _aware(start)).total_seconds()


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
