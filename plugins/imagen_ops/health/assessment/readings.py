"""Which readings can be believed, and what is wrong with the others."""

import dataclasses
import math

from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.signals import Signals, Source, elapsed_s
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Reason, ReasonCode
from imagen_ops.health.assessment.words import count, duration


@dataclasses.dataclass(frozen=True)
class Readings:
    """The values of the readings that can be believed (None for the others), and the complaints.

    `missing`, `stale` and `refused` say in words which are not there, too old, or impossible.
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
        """The backlog in words, empty when nothing is known of it."""
        parts = []
        if self.backlog_size is not None:
            parts.append(count(self.backlog_size, "message"))
        if self.backlog_age is not None and self.backlog_size != 0:
            parts.append(f"the oldest {duration(self.backlog_age)} old")
        return ", ".join(parts)

    def complaints(self, signals: Signals, thresholds: Thresholds, *, young: bool) -> list[Reason]:
        """Return why the view is incomplete; a `young` job need not have written metrics yet."""
        found = []
        if self.refused:
            found.append(
                Reason.degraded(
                    ReasonCode.METRIC_REFUSED,
                    f"Treated as missing: {', '.join(self.refused)}. Compare the clock of the "
                    "Airflow worker with the job's, and look at the metric in Metrics Explorer.",
                )
            )
        if self.stale and not young:
            found.append(
                Reason.degraded(
                    ReasonCode.METRIC_STALE,
                    f"No news for more than {duration(thresholds.metric_stale_s)} of: "
                    f"{', '.join(self.stale)}. A job that hangs stops reporting: look at its "
                    "workers and their logs.",
                )
            )
        # When Monitoring could not be asked, that is the reason, and it is listed as such.
        if self.missing and not young and Source.MONITORING not in signals.unreachable:
            found.append(
                Reason.degraded(
                    ReasonCode.METRIC_MISSING,
                    f"No reading of: {', '.join(self.missing)}. Look whether Metrics Explorer has "
                    "it for this job and subscription, under the names the settings give.",
                )
            )
        return found


def believable(signals: Signals, thresholds: Thresholds) -> Readings:
    """Sort the readings of `signals` into values and complaints.

    Without a limit for the backlog's size, nobody misses that one.
    """
    missing, stale, refused = [], [], []

    def value(name: str, reading: Reading | None, *, needed: bool = True) -> float | None:
        if reading is None:
            if needed:
                missing.append(name)
            return None
        age = elapsed_s(reading.at, signals.at)
        if not math.isfinite(reading.value) or reading.value < 0:
            refused.append(f"{name} (it reads {reading.value:g})")
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
