"""Whether too many prompts fail: judged over a window that slides with time and with the prompts.

The prompts since the last health check count, and as many before them as it takes to have enough.
With time alone, the verdict would turn green as soon as nobody sends prompts; and a stream with a
few prompts at each check could fail altogether, and stay green.
"""

from collections.abc import Iterable
from datetime import datetime

from imagen_ops.health.assessment.formatting import count, duration, percentage, quote
from imagen_ops.health.assessment.signals import Counts, Period, Signals, elapsed_s
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Reason, ReasonCode, Status

# Of few prompts, more than half.
_MOST = 0.5


def window(periods: Iterable[Period], at: datetime, thresholds: Thresholds) -> tuple[Period, ...]:
    """Return the periods that count, the newest first. Those without a prompt don't.

    It is the newest one, and before it as many as it takes to have `failure_min_prompts`.

    Args:
        periods: in any order; impossible counts are left out.
        at: the time of the health check.
        thresholds: the limits.
    """
    counted: list[Period] = []
    prompts = 0
    for period in sorted(periods, key=lambda each: elapsed_s(each.at, at)):
        # A budget that is used up is no fault: the stream generates what it allows.
        judged = _prompts(period.counts.within_budget)
        if not period.counts.possible or not judged:
            continue
        counted.append(period)
        prompts += judged
        if prompts >= thresholds.failure_min_prompts:
            break
    return tuple(counted)


def failure_reasons(signals: Signals, thresholds: Thresholds) -> list[Reason]:
    """Return what is wrong with the counts, and whether too many prompts fail."""
    reasons, periods = [], list(signals.earlier)
    if signals.counts is not None:
        if not signals.counts.possible:
            reasons.append(_impossible(signals.counts))
        periods.append(Period(signals.at, signals.counts))
    counted = window(periods, signals.at, thresholds)
    counts = sum((period.counts.within_budget for period in counted), Counts(0, 0))
    # A failure can be counted just before its prompt. A ratio above 1 would make no sense.
    prompts = _prompts(counts)
    if not prompts:
        return reasons
    ratio = counts.failures / prompts
    if prompts < thresholds.failure_min_prompts:
        if counts.failures < thresholds.failure_min_failures or ratio <= _MOST:
            return reasons
        limit, status = _MOST, Status.DEGRADED
    elif ratio > thresholds.failure_ratio_down:
        limit, status = thresholds.failure_ratio_down, Status.DOWN
    elif ratio > thresholds.failure_ratio_degraded:
        limit, status = thresholds.failure_ratio_degraded, Status.DEGRADED
    else:
        return reasons
    return [*reasons, _too_many(signals, thresholds, counted, counts, limit, status)]


def budget_reason(signals: Signals) -> Reason | None:
    """Return that prompts were over the stream's budget, which is as intended; None if none was."""
    over = signals.counts.over_budget if signals.counts is not None else 0
    if over <= 0:
        return None
    return Reason.healthy(
        ReasonCode.BUDGET_USED_UP,
        f"{count(over, 'prompt')} since the last health check cost nothing and became dead "
        "letters, because the stream's budget of images (max_images_per_hour, max_images_per_day) "
        "was used up. Send them back with imagen_dead_letters_replay when it starts anew, or raise "
        "it: start the stream with update.",
    )


def _too_many(
    signals: Signals,
    thresholds: Thresholds,
    counted: tuple[Period, ...],
    counts: Counts,
    limit: float,
    status: Status,
) -> Reason:
    prompts = _prompts(counts)
    by_number = sorted(counts.by_reason.items(), key=lambda item: (-item[1], item[0]))
    split = ", ".join(f"{quote(reason, 40)} {number:,}" for reason, number in by_number[:5])
    text = (
        f"{counts.failures:,} of the last {count(prompts, 'prompt')} failed "
        f"({percentage(counts.failures / prompts)}, the limit is {percentage(limit)})"
        + (f": {split}" if split else "")
        + "."
    )
    age = elapsed_s(counted[0].at, signals.at)
    if age > 0:
        text += (
            f" The newest of them ended up to {duration(age)} ago: this holds until newer prompts "
            "succeed."
        )
    text += (
        " Read the dead letters. Once the cause is fixed, send the retryable ones back with "
        "imagen_dead_letters_replay."
    )
    return Reason(ReasonCode.FAILURE_RATIO, status, text)


def _impossible(counts: Counts) -> Reason:
    return Reason.degraded(
        ReasonCode.METRIC_REFUSED,
        f"Ignored impossible counts since the last health check: {counts.prompts:,} prompts, "
        f"{counts.failures:,} failures. The job's counters went backwards. If this persists for "
        "two health checks, report it to the developers.",
    )


def _prompts(counts: Counts) -> int:
    return max(counts.prompts, counts.failures)
