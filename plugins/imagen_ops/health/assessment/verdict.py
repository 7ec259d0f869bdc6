"""The result of a health check: a status and its reasons, as text and as JSON."""

import dataclasses
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How healthy the stream is."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    DOWN = "DOWN"

    @property
    def severity(self) -> int:
        """From 0 for HEALTHY to 2 for DOWN."""
        return _SEVERITY[self]


_SEVERITY = {Status.HEALTHY: 0, Status.DEGRADED: 1, Status.DOWN: 2}


class ReasonCode(StrEnum):
    """What a reason is about. Each has a section of the same name in the runbook."""

    RUNNING = "RUNNING"  # healthy
    DRAINED = "DRAINED"  # healthy: stopped on purpose
    STOPPING = "STOPPING"  # draining or cancelling
    STARTING = "STARTING"
    PAUSED = "PAUSED"
    NO_JOB = "NO_JOB"
    START_STUCK = "START_STUCK"  # a start run is unfinished and doesn't get on
    UNWANTED_JOB = "UNWANTED_JOB"
    UNKNOWN_STATE = "UNKNOWN_STATE"
    UNREACHABLE = "UNREACHABLE"
    BACKLOG_AGE = "BACKLOG_AGE"
    BACKLOG_SIZE = "BACKLOG_SIZE"
    CANARY_LOST = "CANARY_LOST"
    CANARY_LATE = "CANARY_LATE"
    FAILURE_RATIO = "FAILURE_RATIO"
    BUDGET_USED_UP = "BUDGET_USED_UP"  # healthy: no more images are to be paid for
    MODEL_REFUSES = "MODEL_REFUSES"  # every prompt, until somebody mends it
    MODEL_ENDS = "MODEL_ENDS"  # healthy until shortly before
    SYSTEM_LAG = "SYSTEM_LAG"
    WATERMARK_AGE = "WATERMARK_AGE"
    ERRORS = "ERRORS"
    METRIC_MISSING = "METRIC_MISSING"
    METRIC_STALE = "METRIC_STALE"
    METRIC_REFUSED = "METRIC_REFUSED"  # from the future, or not a valid number
    OTHER = "OTHER"  # in a record written by another version of this code


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """One finding. `text` gives the value, the limit, what to check and what to do."""

    code: ReasonCode
    status: Status
    text: str

    @property
    def anchor(self) -> str:
        """The anchor of this reason's section in the runbook."""
        return self.code.value.lower()

    @classmethod
    def healthy(cls, code: ReasonCode, text: str) -> "Reason":
        """Return a reason that needs no action."""
        return cls(code, Status.HEALTHY, text)

    @classmethod
    def degraded(cls, code: ReasonCode, text: str) -> "Reason":
        """Return a reason that can wait for working hours."""
        return cls(code, Status.DEGRADED, text)

    @classmethod
    def down(cls, code: ReasonCode, text: str) -> "Reason":
        """Return a reason that needs attention now."""
        return cls(code, Status.DOWN, text)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How healthy the stream is, and why.

    Attributes:
        status: the worst status of the reasons.
        reasons: every reason, worst first.
        restart: the stream should run, does not, and may be launched again.
        canary_lost: a canary has not come back in time. The next health check needs to know this.
    """

    status: Status
    reasons: tuple[Reason, ...]
    restart: bool = False
    canary_lost: bool = False

    @classmethod
    def of(
        cls, reasons: Iterable[Reason], *, restart: bool = False, canary_lost: bool = False
    ) -> "Verdict":
        """Return the verdict for `reasons`: the worst decides. Ties keep their order."""
        ordered = tuple(sorted(reasons, key=lambda reason: -reason.status.severity))
        status = ordered[0].status if ordered else Status.HEALTHY
        return cls(status, ordered, restart, canary_lost)

    @property
    def headline(self) -> str:
        """One line: the status, the worst reason, and the codes of the others."""
        line = self.status.value
        if self.reasons:
            line += f": {self.reasons[0].text}"
        if other_reasons := self.reasons[1:]:
            line += f" Also: {', '.join(reason.code for reason in other_reasons)}."
        return " ".join(line.split())

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return {
            "status": self.status.value,
            "reasons": [
                {"code": reason.code.value, "status": reason.status.value, "text": reason.text}
                for reason in self.reasons
            ],
            "restart": self.restart,
            "canary_lost": self.canary_lost,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Verdict":
        """Read a verdict that `to_json` wrote. A code from another version becomes OTHER.

        Raises:
            ValueError: `record` is not a verdict.
        """
        try:
            return cls(
                status=Status(record["status"]),
                reasons=tuple(
                    Reason(_code(item["code"]), Status(item["status"]), str(item["text"]))
                    for item in record["reasons"]
                ),
                restart=bool(record["restart"]),
                canary_lost=bool(record["canary_lost"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"expected a verdict as Verdict.to_json writes it, got {str(record)[:200]} "
                f"({type(error).__name__}: {error})"
            ) from error


def _code(name: str) -> ReasonCode:
    try:
        return ReasonCode(name)
    except ValueError:
        return ReasonCode.OTHER
