"""The checks of a stream that is running, or whose job cannot be read: limit by limit."""

import dataclasses
from enum import Enum

from imagen_ops.health.assessment.failures import failure_reasons
from imagen_ops.health.assessment.formatting import count, duration, quote
from imagen_ops.health.assessment.models import refusing_models, stops_the_stream
from imagen_ops.health.assessment.readings import Readings
from imagen_ops.health.assessment.signals import ErrorMessage, Signals, elapsed_s
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Reason, ReasonCode, Status


class CanaryOutcome(Enum):
    """What happened to the canary."""

    NOT_SENT = "not sent"
    ON_ITS_WAY = "on its way"
    BACK = "back in time"
    LATE = "back, but late"
    LOST = "not back in time"


@dataclasses.dataclass(frozen=True)
class CanaryCheck:
    """The canary's outcome, and the seconds of its round trip, or since it was sent."""

    outcome: CanaryOutcome
    seconds: float = 0.0

    @classmethod
    def of(cls, signals: Signals, thresholds: Thresholds) -> "CanaryCheck":
        """Return what happened to the canary of `signals`."""
        canary = signals.canary
        if canary is None:
            return cls(CanaryOutcome.NOT_SENT)
        back = canary.returned_at is not None
        seconds = max(elapsed_s(canary.sent_at, canary.returned_at or signals.at), 0.0)
        if seconds <= thresholds.canary_s:
            return cls(CanaryOutcome.BACK if back else CanaryOutcome.ON_ITS_WAY, seconds)
        return cls(CanaryOutcome.LATE if back else CanaryOutcome.LOST, seconds)

    @property
    def problem(self) -> str:
        """What is wrong with the canary, to follow "the canary …". Empty if nothing is wrong."""
        if self.outcome is CanaryOutcome.LATE:
            return f"took {duration(self.seconds)} to come back"
        if self.outcome is CanaryOutcome.LOST:
            return f"has not come back after {duration(self.seconds)}"
        return ""


def examine(
    signals: Signals, thresholds: Thresholds, readings: Readings, *, young: bool
) -> tuple[list[Reason], bool]:
    """Check every signal against its limit.

    Args:
        signals: the signals of this health check.
        thresholds: the limits.
        readings: the usable readings of `signals`.
        young: whether the job has just started. Its canary may then be late, but is never lost.

    Returns:
        Every reason that is not HEALTHY, and whether the canary counts as lost.
    """
    refusing = refusing_models(signals, readings)
    if stops_the_stream(signals):
        # Its prompts wait, and canaries with them: one cause, one reason.
        return [*refusing, *failure_reasons(signals, thresholds), *_errors(signals)], False
    canary = CanaryCheck.of(signals, thresholds)
    lost = canary.outcome is CanaryOutcome.LOST and not young
    was_lost = signals.previous is not None and signals.previous.canary_lost
    unknown = canary.outcome in (CanaryOutcome.NOT_SENT, CanaryOutcome.ON_ITS_WAY)
    reasons = _backlog(thresholds, readings, lost=lost)
    if canary.problem:
        reason = _canary(signals, thresholds, canary, young=young)
        # A canary that waits behind a backlog is not a second incident.
        reasons = [_merged(reasons[0], reason, canary), *reasons[1:]] if reasons else [reason]
    elif was_lost and unknown and not young:
        lost = True
        reasons.append(
            Reason.degraded(
                ReasonCode.CANARY_LOST,
                "The canary of an earlier health check was lost, and none has come back since. "
                "Wait for the next health check, and check the job's log.",
            )
        )
    reasons += failure_reasons(signals, thresholds)
    reasons += _lags(thresholds, readings)
    reasons += _errors(signals)
    # Metrics are read by job: if the job is unknown, nobody could read them.
    reasons += readings.reasons(signals, thresholds, young=young or signals.job is None)
    return [*refusing, *reasons], lost


def summary(signals: Signals, thresholds: Thresholds, readings: Readings) -> str:
    """Return the known values of a healthy stream as one line."""
    parts = []
    if readings.system_lag is not None:
        parts.append(f"system lag {duration(readings.system_lag)}")
    if readings.watermark_age is not None:
        parts.append(f"watermark age {duration(readings.watermark_age)}")
    if readings.backlog:
        parts.append(f"backlog {readings.backlog}")
    if signals.counts is not None:
        prompts = count(signals.counts.prompts, "prompt")
        parts.append(f"{prompts} since the last health check, {signals.counts.failures:,} failed")
    canary = CanaryCheck.of(signals, thresholds)
    if canary.outcome is CanaryOutcome.BACK:
        parts.append(f"canary back after {duration(canary.seconds)}")
    return "; ".join(parts)


def _backlog(thresholds: Thresholds, readings: Readings, *, lost: bool) -> list[Reason]:
    reasons = []
    age, size, max_size = readings.backlog_age, readings.backlog_size, thresholds.backlog_size
    if age is not None and age > thresholds.backlog_age_degraded_s:
        down = lost and age > thresholds.backlog_age_down_s
        limit = thresholds.backlog_age_down_s if down else thresholds.backlog_age_degraded_s
        total = f" ({count(size, 'message')})" if size else ""
        reasons.append(
            Reason(
                ReasonCode.BACKLOG_AGE,
                Status.DOWN if down else Status.DEGRADED,
                f"The oldest prompt in the backlog{total} has waited for {duration(age)}; the "
                f"limit is {duration(limit)}. Check whether the model is throttling (429), and "
                "whether the job is already at its maximum number of workers.",
            )
        )
    if size is not None and max_size is not None and size > max_size:
        reasons.append(
            Reason.degraded(
                ReasonCode.BACKLOG_SIZE,
                f"The backlog has {count(size, 'message')}; the limit is {max_size:,.0f}. Check "
                "who is publishing so many, and whether quota and workers can handle them.",
            )
        )
    return reasons


def _canary(
    signals: Signals, thresholds: Thresholds, canary: CanaryCheck, *, young: bool
) -> Reason:
    text = f"The canary {canary.problem}; the limit is {duration(thresholds.canary_s)}."
    if canary.outcome is CanaryOutcome.LATE:
        return Reason.degraded(
            ReasonCode.CANARY_LATE,
            f"{text} Prompts take that long too: check the backlog, the system lag and the "
            "workers.",
        )
    if young:
        return Reason.degraded(
            ReasonCode.CANARY_LATE,
            f"{text} The job has just started, and its workers may still be coming up: wait for "
            "the next health check.",
        )
    if signals.previous is None or not signals.previous.canary_lost:
        return Reason.degraded(
            ReasonCode.CANARY_LOST,
            f"{text} If the next canary is lost too, the stream counts as DOWN. Until then, check "
            "the job's log.",
        )
    text += " The previous canary was lost too."
    counts = signals.counts
    if counts is not None and counts.prompts > counts.failures:
        succeeded = count(counts.prompts - counts.failures, "prompt")
        text += (
            f" But {succeeded} came through since the last health check: the stream is slow rather "
            "than stopped."
        )
    return Reason.down(
        ReasonCode.CANARY_LOST,
        f"{text} Check the workers' logs. If the workers are stuck, replace the job: run "
        "imagen_stream_start with on_active=replace.",
    )


def _merged(backlog: Reason, canary_reason: Reason, canary: CanaryCheck) -> Reason:
    """Return one reason for both. A canary that is DOWN adds its whole text."""
    if canary_reason.status is Status.DOWN:
        text = f"{backlog.text} Canaries wait in the same queue. {canary_reason.text}"
    else:
        text = f"{backlog.text} Canaries wait in the same queue: this one {canary.problem}."
    worst = max(backlog.status, canary_reason.status, key=lambda status: status.severity)
    return Reason(backlog.code, worst, text)


def _lags(thresholds: Thresholds, readings: Readings) -> list[Reason]:
    reasons = []
    lag, age = readings.system_lag, readings.watermark_age
    if lag is not None and lag > thresholds.system_lag_s:
        reasons.append(
            Reason.degraded(
                ReasonCode.SYSTEM_LAG,
                f"The system lag is {duration(lag)}; the limit is "
                f"{duration(thresholds.system_lag_s)}. A prompt has been in progress for that "
                "long. Check the model's latency, and look for retries in the job's log.",
            )
        )
    if age is not None and age > thresholds.watermark_age_s:
        reasons.append(
            Reason.degraded(
                ReasonCode.WATERMARK_AGE,
                f"The watermark is {duration(age)} old; the limit is "
                f"{duration(thresholds.watermark_age_s)}. At least one prompt of that age is not "
                "finished. Look for a bundle that keeps failing in the job's log.",
            )
        )
    return reasons


def _errors(signals: Signals) -> list[Reason]:
    if not signals.errors:
        return []
    number = len(signals.errors)
    age, text = newest_error(signals)
    return [
        Reason.degraded(
            ReasonCode.ERRORS,
            f"The job logged {count(number, 'error')} since the last health check"
            + (f" ({age}: {text}). " if number == 1 else f". The newest ({age}) was {text}. ")
            + "The job may still be working: read its log, and see whether the errors continue.",
        )
    ]


def newest_error(signals: Signals) -> tuple[str, str]:
    """Return the age and the quoted text of the newest error message: `2 min ago` and `“…”`.

    `signals` must have an error message.
    """

    def age_s(message: ErrorMessage) -> float:
        return elapsed_s(message.at, signals.at)

    newest = min(signals.errors, key=age_s)
    return f"{duration(age_s(newest))} ago", f"“{quote(newest.text)}”"
