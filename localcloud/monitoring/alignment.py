"""Aligns the points of a series: one point per period, counted back from the interval's end."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence

from localcloud.monitoring.sampler import Point
from localcloud.rest import ApiError

_MIN_PERIOD_S = 60.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")
_NONE = "ALIGN_NONE"


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


_ALIGNERS: dict[str, Callable[[Sequence[int]], float]] = {
    "ALIGN_MAX": max,
    "ALIGN_MIN": min,
    "ALIGN_MEAN": _mean,
    "ALIGN_SUM": sum,
    "ALIGN_COUNT": len,
    "ALIGN_NEXT_OLDER": lambda values: values[-1],
}


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The aligner's name, and the period in seconds. ALIGN_NONE does not align."""

    name: str
    period_s: float

    @staticmethod
    def from_query(query: Mapping[str, str]) -> "Alignment":
        """Parse the query's `aggregation.*` parameters.

        Raises:
            ApiError: 400; a value is invalid, or not supported by this stand-in.
        """
        name = query.get("aggregation.perSeriesAligner") or _NONE
        reducer = query.get("aggregation.crossSeriesReducer") or "REDUCE_NONE"
        if reducer != "REDUCE_NONE" or any(n.startswith("secondaryAggregation.") for n in query):
            raise ApiError(400, "aggregation: reduction across series is not offered here.")
        if name == _NONE:
            return Alignment(_NONE, 0.0)
        if name not in _ALIGNERS:
            raise ApiError(
                400, f"aggregation.perSeriesAligner: expected one of {[*_ALIGNERS]}, got {name!r}."
            )
        period = _DURATION.fullmatch(query.get("aggregation.alignmentPeriod") or "")
        if not period or float(period[1]) < _MIN_PERIOD_S:
            raise ApiError(
                400,
                "Field aggregation.alignmentPeriod had an invalid value: must be at least 60s when "
                f"there is a perSeriesAligner, got {query.get('aggregation.alignmentPeriod')!r}.",
            )
        return Alignment(name, float(period[1]))

    @property
    def value_type(self) -> str:
        """The value type of an INT64 series after alignment."""
        return "DOUBLE" if self.name == "ALIGN_MEAN" else "INT64"

    def align(self, points: Sequence[Point], end: float) -> list[tuple[float, float]]:
        """Return the aligned points, the newest first. A period without points has none.

        Args:
            points: the series' points, the oldest first, none after `end`.
            end: the end of the interval, in seconds since 1970.
        """
        if self.name == _NONE:
            return list(reversed(points))
        periods: dict[int, list[int]] = {}
        for when, value in points:
            periods.setdefault(math.floor((end - when) / self.period_s), []).append(value)
        aligner = _ALIGNERS[self.name]
        return [(end - n * self.period_s, aligner(periods[n])) for n in sorted(periods)]
