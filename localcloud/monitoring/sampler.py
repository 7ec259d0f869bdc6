"""Takes a point of every series now and then, and keeps them for a day in bounded memory."""

import asyncio
import dataclasses
import time
from array import array
from collections.abc import Callable, Iterable, Iterator

from localcloud.monitoring.catalog import Series

_KEPT_S = 24 * 3600.0
_MINUTE_S = 60.0
# Every sample of the last while, and one a minute of the rest: 27 KB for a series of a day.
_RECENT = 240
_OLD = int(_KEPT_S / _MINUTE_S)
_MAX_SERIES = 5000

Point = tuple[float, int]
"""When, in seconds since 1970, and what."""


@dataclasses.dataclass
class Settings:
    """Set by a PATCH of `/localcloud`. Google takes a sample every 60 s."""

    error_rate: float = 0.0
    error_status: int = 503
    latency_s: float = 0.0
    sample_every_s: float = 5.0


class _Points:
    """The newest points of a series, without an object for each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._numbers = array("d")

    def __len__(self) -> int:
        return len(self._numbers) // 2

    def __iter__(self) -> Iterator[Point]:
        numbers = iter(self._numbers)
        return ((when, int(value)) for when, value in zip(numbers, numbers, strict=True))

    def add(self, point: Point) -> Point | None:
        """Add the newest point; return the oldest if there is no room for it any more."""
        self._numbers.extend(point)
        if len(self) <= self._most:
            return None
        when, value = self._numbers[:2]
        del self._numbers[:2]
        return when, int(value)

    def last(self) -> Point:
        """Return the newest point."""
        return self._numbers[-2], int(self._numbers[-1])


class Sampler:
    """See the module. For one event loop.

    Args:
        read: what every series is now.
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
        """Begin to sample."""
        self._task = asyncio.create_task(self._work(), name="sampler")

    def stop(self) -> None:
        """Sample no more."""
        if self._task is not None:
            self._task.cancel()

    def sample(self, now: float) -> None:
        """Take a point of every series."""
        for series, value in self._read():
            recent = self._recent.setdefault(series, _Points(_RECENT))
            oldest = recent.add((now, value))
            if oldest is not None:
                old = self._old.setdefault(series, _Points(_OLD))
                if not len(old) or oldest[0] - old.last()[0] >= _MINUTE_S:
                    old.add(oldest)
        gone = [s for s, points in self._recent.items() if now - points.last()[0] > _KEPT_S]
        # Beyond what there is room for, those go that have been silent for longest.
        if (surplus := len(self._recent) - len(gone) - _MAX_SERIES) > 0:
            silent = sorted(self._recent, key=lambda series: self._recent[series].last()[0])
            gone += silent[:surplus]
        for series in gone:
            self._recent.pop(series, None)
            self._old.pop(series, None)

    def points(self, start: float, end: float) -> dict[Series, list[Point]]:
        """Return the points of all series after `start` and up to `end`, the oldest first.

        If `end` is about now there is a point of just now, too.
        """
        found = {
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
                found.setdefault(series, []).append((min(now, end), value))
        return {series: points for series, points in found.items() if points}

    async def _work(self) -> None:
        while True:
            self.sample(time.time())
            await asyncio.sleep(max(0.05, self.settings.sample_every_s))
