"""Which readings are usable, and what is wrong with the others."""

import dataclasses
import math

from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.formatting import count, duration
from imagen_ops.health.assessment.signals import Signals, Source, elapsed_s
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Reason, ReasonCode


@dataclasses.dataclass(frozen=True)
class Readings:
    """The values of the usable readings, and descriptions of the others.

    Attributes:
        system_lag: seconds; None if there is no usable reading, as for the next three.
        watermark_age: seconds.
        backlog_age: seconds.
        backlog_size: messages.
        missing: names of the readings that do not exist.
        stale: descriptions of the readings that are too old.
        refused: descriptions of the readings that are impossible.
    """

    system_lag: float | None
    watermark_age: float | None
    backlog_age: float | None
    backlog_size: float | None
    missing: tuple[str, ...]
    stale: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def backlog(self) -> str:
        """A description of the backlog, empty if nothing is known about it."""
        parts = []
        if self.backlog_size is not None:
            parts.append(count(self.backlog_size, "message"))
        if self.backlog_age is not None and self.backlog_size != 0:
            parts.append(f"the oldest {duration(self.backlog_age)} old")
        return ", ".join(parts)

    def reasons(self, signals: Signals, thresholds: Thresholds, *, young: bool) -> list[Reason]:
        """Return a reason for each kind of unusable reading.

        Args:
            signals: what the readings were taken from.
            thresholds: the limits.
            young: whether the job has just started and may not have written metrics yet.
        """
        reasons = []
        if self.refused:
            reasons.append(
                Reason.degraded(
                    ReasonCode.METRIC_REFUSED,
                    f"Ignored impossible readings: {', '.join(self.refused)}. Compare the Airflow "
                    "worker's clock with the job's, and check the metric in Metrics Explorer.",
                )
            )
        if self.stale and not young:
            reasons.append(
                Reason.degraded(
                    ReasonCode.METRIC_STALE,
                    f"No new readings for more than {duration(thresholds.metric_stale_s)}: "
                    f"{', '.join(self.stale)}. A hung job stops reporting: check its workers and "
                    "their logs.",
                )
            )
        # If calls to Monitoring failed, that is the reason, and it is listed as such.
        if self.missing and not young and Source.MONITORING not in signals.unreachable:
            reasons.append(
                Reason.degraded(
                    ReasonCode.METRIC_MISSING,
                    f"No readings for: {', '.join(self.missing)}. Check whether Metrics Explorer "
                    "shows them for the job and the subscription that the settings name.",
                )
            )
        return reasons


def usable_readings(signals: Signals, thresholds: Thresholds) -> Readings:
    """Separate the readings of `signals` into usable values and descriptions of the others.

    If the backlog's size has no limit, a missing or stale reading of it is not reported.
    """
    missing, stale, refused = [], [], []

    def value(name: str, reading: Reading | None, *, needed: bool = True) -> float | None:
        if reading is None:
            if needed:
                missing.append(name)
            return None
        age = elapsed_s(reading.at, signals.at)
        if not math.isfinite(reading.value) or reading.value < 0:
            refused.append(f"{name} (its value is {reading.value:g})")
        elif age < -thresholds.clock_skew_s:
            refused.append(f"{name} (measured {duration(-age)} in the future)")
        elif age > thresholds.metric_stale_s:
            if needed:
                stale.append(f"{name} ({duration(age)} old)")
        else:
            return reading.value
        return None

    return Readings(
        system_lag=value("system lag", signals.system_lag),
        watermark_age=value("watermark age", signals.watermark_age),
        backlog_age=value("backlog age", signals.backlog_age),
        backlog_size=value(
            "backlog size", signals.backlog_size, needed=thresholds.backlog_size is not None
        ),
        missing=tuple(missing),
        stale=tuple(stale),
        refused=tuple(refused),
    )
