"""Samples every series at intervals, and keeps the points for a day in bounded memory."""

import asyncio
import dataclasses
import time
from array import array
from collections.abc import Callable, Iterable, Iterator

from localcloud.monitoring.catalog import Series

_RETENTION_S = 24 * 3600.0
_MINUTE_S = 60.0
# The newest samples, and one per minute of the rest: 27 KB for one day of a series.
_MAX_RECENT = 240
_MAX_OLD = int(_RETENTION_S / _MINUTE_S)
_MAX_SERIES = 5000

Point = tuple[float, int]
"""The time in seconds since 1970, and the value."""


@dataclasses.dataclass
class Settings:
    """Set by a PATCH of `/localcloud`.

    Attributes:
        error_rate: the share of calls that fail, from 0 to 1.
        error_status: the HTTP status of those calls.
        latency_s: seconds added to every call.
        sample_every_s: the sampling interval in seconds; Google's is 60 s.
    """

    error_rate: float = 0.0
    error_status: int = 503
    latency_s: float = 0.0
    sample_every_s: float = 5.0


class _Points:
    """The newest points of a series, stored without an object for each."""

    def __init__(self, max_points: int) -> None:
        self._max_points = max_points
        self._numbers = array("d")

    def __len__(self) -> int:
        return len(self._numbers) // 2

    def __iter__(self) -> Iterator[Point]:
        numbers = iter(self._numbers)
        return ((when, int(value)) for when, value in zip(numbers, numbers, strict=True))

    def add(self, point: Point) -> Point | None:
        """Add the newest point; if the series is full, remove the oldest and return it."""
        self._numbers.extend(point)
        if len(self) <= self._max_points:
            return None
        when, value = self._numbers[:2]
        del self._numbers[:2]
        return when, int(value)

    def last(self) -> Point:
        """Return the newest point."""
        return self._numbers[-2], int(self._numbers[-1])


class Sampler:
    """Samples series and keeps their points. Use it from one event loop.

    Args:
        read: returns the current value of every series.
        settings: the sampling interval and faults; defaults if None.
    """

    def __init__(
        self, read: Callable[[], Iterable[tuple[Series, int]]], settings: Settings | None = None
    ) -> None:
        self.settings = settings or Settings()
        self._read = read
        self._recent: dict[Series, _Points] = {}
        self._old: dict[Series, _Points] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start sampling."""
        self._task = asyncio.create_task(self._work(), name="sampler")

    def stop(self) -> None:
        """Stop sampling."""
        if self._task is not None:
            self._task.cancel()

    def sample(self, now: float) -> None:
        """Add a point to every series. `now` is in seconds since 1970."""
        for series, value in self._read():
            recent = self._recent.setdefault(series, _Points(_MAX_RECENT))
            oldest = recent.add((now, value))
            if oldest is not None:
                old = self._old.setdefault(series, _Points(_MAX_OLD))
                if not len(old) or oldest[0] - old.last()[0] >= _MINUTE_S:
                    old.add(oldest)
        expired = [s for s, points in self._recent.items() if now - points.last()[0] > _RETENTION_S]
        # If there are too many series, drop those without points for the longest time.
        if (surplus := len(self._recent) - len(expired) - _MAX_SERIES) > 0:
            by_last_point = sorted(self._recent, key=lambda series: self._recent[series].last()[0])
            expired += by_last_point[:surplus]
        for series in expired:
            self._recent.pop(series, None)
            self._old.pop(series, None)

    def points(self, start: float, end: float) -> dict[Series, list[Point]]:
        """Return the points of all series after `start` and up to `end`, the oldest first.

        Times are in seconds since 1970. If `end` is about now, a point of the current value is
        included.
        """
        points_by_series = {
            series: [
                point
                for points in (self._old.get(series) or (), recent)
                for point in points
                if start < point[0] <= end
            ]
            for series, recent in self._recent.items()
        }
        now = time.time()
        if start < now and now - end < self.settings.sample_every_s:
            for series, value in self._read():
                points_by_series.setdefault(series, []).append((min(now, end), value))
        return {series: points for series, points in points_by_series.items() if points}

    async def _work(self) -> None:
        while True:
            self.sample(time.time())
            await asyncio.sleep(max(0.05, self.settings.sample_every_s))
