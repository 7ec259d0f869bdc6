"""What the signals say of a stream that runs, or that cannot be seen: each limit, one by one."""

import dataclasses
from enum import Enum

from imagen_ops.health.assessment.readings import Readings
from imagen_ops.health.assessment.signals import Counts, ErrorMessage, Signals, elapsed_s
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Reason, ReasonCode, Status
from imagen_ops.health.assessment.words import count, duration, quote, share


class CanaryFate(Enum):
    """What became of the canary."""

    NOT_SENT = "not sent"
    ON_ITS_WAY = "on its way"
    BACK = "back in time"
    LATE = "back, too late"
    LOST = "not back in time"


@dataclasses.dataclass(frozen=True)
class CanaryCheck:
    """The canary's fate, and its seconds: of the round trip, or since it was sent."""

    fate: CanaryFate
    seconds: float = 0.0

    @classmethod
    def of(cls, signals: Signals, thresholds: Thresholds) -> "CanaryCheck":
        """Return what became of the canary of `signals`."""
        canary = signals.canary
        if canary is None:
            return cls(CanaryFate.NOT_SENT)
        back = canary.returned_at is not None
        seconds = max(elapsed_s(canary.sent_at, canary.returned_at or signals.at), 0.0)
        if seconds <= thresholds.canary_s:
            return cls(CanaryFate.BACK if back else CanaryFate.ON_ITS_WAY, seconds)
        return cls(CanaryFate.LATE if back else CanaryFate.LOST, seconds)

    @property
    def words(self) -> str:
        """What is wrong with the canary, as the end of a sentence; empty if nothing is."""
        if self.fate is CanaryFate.LATE:
            return f"came back only after {duration(self.seconds)}"
        if self.fate is CanaryFate.LOST:
            return f"is not back after {duration(self.seconds)}"
        return ""


def examine(
    signals: Signals, thresholds: Thresholds, readings: Readings, *, young: bool
) -> tuple[list[Reason], bool]:
    """Return every reason to worry, and whether the canary counts as lost.

    While a job is `young` a late canary is no wonder: it degrades, and counts as lost nowhere.
    """
    probe = CanaryCheck.of(signals, thresholds)
    lost = probe.fate is CanaryFate.LOST and not young
    reasons = _backlog(thresholds, readings, lost=lost)
    if probe.words:
        canary = _canary(signals, thresholds, probe, young=young)
        # A canary that stands in the queue behind the backlog is no second incident.
        reasons = [_merged(reasons[0], canary, probe), *reasons[1:]] if reasons else [canary]
    reasons += _failures(signals.counts, thresholds)
    reasons += _lags(thresholds, readings)
    reasons += _errors(signals)
    # Of a job that cannot be seen, nobody could ask for the metrics.
    reasons += readings.complaints(signals, thresholds, young=young or signals.job is None)
    return reasons, lost


def summary(signals: Signals, thresholds: Thresholds, readings: Readings) -> str:
    """Return what is known of a stream that is well, as a list of values."""
    parts = []
    if readings.system_lag is not None:
        parts.append(f"system lag {duration(readings.system_lag)}")
    if readings.watermark_age is not None:
        parts.append(f"watermark age {duration(readings.watermark_age)}")
    if readings.backlog:
        parts.append(f"backlog {readings.backlog}")
    if signals.counts is not None:
        counts = signals.counts
        parts.append(f"{count(counts.prompts, 'prompt')}, {counts.failures:,} of them failed")
    probe = CanaryCheck.of(signals, thresholds)
    if probe.fate is CanaryFate.BACK:
        parts.append(f"canary back after {duration(probe.seconds)}")
    return "; ".join(parts)


def _backlog(thresholds: Thresholds, readings: Readings, *, lost: bool) -> list[Reason]:
    found = []
    age, size, most = readings.backlog_age, readings.backlog_size, thresholds.backlog_size
    if age is not None and age > thresholds.backlog_age_degraded_s:
        down = lost and age > thresholds.backlog_age_down_s
        limit = thresholds.backlog_age_down_s if down else thresholds.backlog_age_degraded_s
        many = f" among {count(size, 'message')}" if size else ""
        found.append(
            Reason(
                ReasonCode.BACKLOG_AGE,
                Status.DOWN if down else Status.DEGRADED,
                f"The oldest prompt{many} has waited {duration(age)}, the limit is "
                f"{duration(limit)}. See whether the model throttles (429), and whether the job "
                "has as many workers as it may.",
            )
        )
    if size is not None and most is not None and size > most:
        found.append(
            Reason.degraded(
                ReasonCode.BACKLOG_SIZE,
                f"{count(size, 'message')} wait, the limit is {most:,.0f}. See who publishes so "
                "many, and whether quota and workers allow for it.",
            )
        )
    return found


def _canary(signals: Signals, thresholds: Thresholds, probe: CanaryCheck, *, young: bool) -> Reason:
    text = f"The canary {probe.words}, the limit is {duration(thresholds.canary_s)}"
    if probe.fate is CanaryFate.LATE:
        return Reason.degraded(
            ReasonCode.CANARY_LATE, f"{text}. Prompts take as long: look at the lag and at workers."
        )
    if young:
        return Reason.degraded(
            ReasonCode.CANARY_LATE, f"{text}; the job is young, its workers may still be starting."
        )
    if signals.previous is None or not signals.previous.canary_lost:
        return Reason.degraded(
            ReasonCode.CANARY_LOST, f"{text}. The next look decides; see the job's log meanwhile."
        )
    text += ", and the one before was lost too"
    counts = signals.counts
    if counts is not None and counts.prompts > counts.failures:
        moving = count(counts.prompts - counts.failures, "prompt")
        text += f". {moving} came through since the last look: slow rather than stopped"
    return Reason.down(
        ReasonCode.CANARY_LOST,
        f"{text}. See the workers' logs, and replace the job with imagen_stream_start if they are "
        "stuck.",
    )


def _merged(backlog: Reason, canary: Reason, probe: CanaryCheck) -> Reason:
    """Return one reason for both; only a canary that is DOWN has more to say than that it waits."""
    text = f"{backlog.text} That is also why the canary {probe.words}: it waits in the same queue."
    if canary.status is Status.DOWN:
        text += f" {canary.text}"
    worst = max(backlog.status, canary.status, key=lambda status: status.severity)
    return Reason(backlog.code, worst, text)


def _failures(counts: Counts | None, thresholds: Thresholds) -> list[Reason]:
    if counts is None:
        return []
    if counts.prompts < 0 or counts.failures < 0:
        return [
            Reason.degraded(
                ReasonCode.METRIC_REFUSED,
                f"Treated as missing: the counts since the last look ({counts.prompts:,} prompts, "
                f"{counts.failures:,} failures). The job's counters went backwards.",
            )
        ]
    # A failure can be counted a moment before its prompt is: a ratio above 1 would be nonsense.
    prompts = max(counts.prompts, counts.failures)
    if prompts < thresholds.failure_min_prompts:
        return []
    ratio = counts.failures / prompts
    if ratio <= thresholds.failure_ratio_degraded:
        return []
    down = ratio > thresholds.failure_ratio_down
    limit = thresholds.failure_ratio_down if down else thresholds.failure_ratio_degraded
    most = sorted(counts.by_reason.items(), key=lambda item: (-item[1], item[0]))
    split = ", ".join(f"{quote(reason, 40)} {number:,}" for reason, number in most[:5])
    return [
        Reason(
            ReasonCode.FAILURE_RATIO,
            Status.DOWN if down else Status.DEGRADED,
            f"{counts.failures:,} of {count(prompts, 'prompt')} failed since the last look "
            f"({share(ratio)}, the limit is {share(limit)})"
            + (f": {split}" if split else "")
            + ". Read the dead letters; what is retryable goes back with "
            "imagen_dead_letters_replay once the cause is gone.",
        )
    ]


def _lags(thresholds: Thresholds, readings: Readings) -> list[Reason]:
    found = []
    lag, age = readings.system_lag, readings.watermark_age
    if lag is not None and lag > thresholds.system_lag_s:
        found.append(
            Reason.degraded(
                ReasonCode.SYSTEM_LAG,
                f"System lag is {duration(lag)}, the limit is {duration(thresholds.system_lag_s)}: "
                "a prompt has been worked on for so long. Look at the model's latency and at "
                "retries in the job's log.",
            )
        )
    if age is not None and age > thresholds.watermark_age_s:
        found.append(
            Reason.degraded(
                ReasonCode.WATERMARK_AGE,
                f"The watermark is {duration(age)} old, the limit is "
                f"{duration(thresholds.watermark_age_s)}: something old is not finished. Look for "
                "a bundle that fails again and again in the job's log.",
            )
        )
    return found


def _errors(signals: Signals) -> list[Reason]:
    if not signals.errors:
        return []
    return [
        Reason.degraded(
            ReasonCode.ERRORS,
            f"{count(len(signals.errors), 'error message')} in the job's log since the last look, "
            f"{newest(signals)}.",
        )
    ]


def newest(signals: Signals) -> str:
    """Return the newest error message of `signals` in words; there must be one."""

    def age_s(message: ErrorMessage) -> float:
        return elapsed_s(message.at, signals.at)

    message = min(signals.errors, key=age_s)
    return f"the newest {duration(age_s(message))} ago: “{quote(message.text)}”"
