"""The checks of the stream's models: whether one refuses every prompt, or ends soon."""

from beam_jobs.catalog import CATALOG, WARN_DAYS
from imagen_ops.health.assessment.formatting import duration, quote
from imagen_ops.health.assessment.readings import Readings
from imagen_ops.health.assessment.signals import ModelHold, Signals, elapsed_s
from imagen_ops.health.assessment.verdict import Reason, ReasonCode, Status

# Days before a model's end, from which the stream is not HEALTHY any more.
DEGRADED_DAYS = 14


def refusing_models(signals: Signals, readings: Readings) -> list[Reason]:
    """Return a reason for each model that refuses every prompt.

    It is DOWN if it is the stream's own model and nothing came through since the last health check,
    else DEGRADED: another model, or a fallback, still works.
    """
    counts = signals.counts
    came_through = counts is not None and counts.prompts > counts.failures
    backlog = f" Backlog: {readings.backlog}." if readings.backlog else ""
    return [
        Reason(
            ReasonCode.MODEL_REFUSES,
            Status.DEGRADED if came_through or not _is_own(hold, signals) else Status.DOWN,
            f"The model {hold.model} has refused every prompt for "
            f"{duration(elapsed_s(hold.since, signals.at))}: “{quote(hold.detail.rstrip('.'))}”. "
            f"Its prompts wait; none is lost.{backlog} Mend what the model says, such as a role or "
            "the model's name; or run imagen_stream_start with another model and on_active=update.",
        )
        for hold in signals.holds
    ]


def stops_the_stream(signals: Signals) -> bool:
    """Return whether the stream's own model refuses every prompt: all others wait with its own."""
    return any(_is_own(hold, signals) for hold in signals.holds)


def _is_own(hold: ModelHold, signals: Signals) -> bool:
    return signals.model in (hold.model, "")


def ending_model(signals: Signals) -> list[Reason]:
    """Return a reason if the stream's default model ends soon."""
    row = CATALOG.get(signals.model)
    text = row.ending(signals.at.date(), within_days=WARN_DAYS) if row else None
    if row is None or text is None:
        return []
    near = row.ending(signals.at.date(), within_days=DEGRADED_DAYS) is not None
    return [
        Reason(
            ReasonCode.MODEL_ENDS,
            Status.DEGRADED if near else Status.HEALTHY,
            f"{row.name} {text}. Run imagen_stream_start with another model and on_active=update.",
        )
    ]
