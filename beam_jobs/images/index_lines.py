"""The lines of an index that wait to be written, and the objects that they are written to."""

import collections
import contextlib
import secrets
import time
from collections.abc import Callable, Iterator

from beam_jobs.images.location import countdown

# Objects of a kind per second, of all workers of a job together. Their names follow one another,
# which Cloud Storage is slow to spread over servers
# (https://cloud.google.com/storage/docs/request-rate). So each of a thousand workers writes every
# 50 s.
OBJECTS_PER_S = 20.0


def gather_s(workers: int) -> float:
    """Return for how many seconds each of so many workers gathers the lines of an object."""
    # A few workers never write that many: each writes one object of a kind per second at most.
    return workers / OBJECTS_PER_S if workers > OBJECTS_PER_S else 0.0


class IndexLines:
    """Lines of one index. One thread adds to it, or several, and one thread writes.

    Args:
        folder: returns the name prefix of an object, given milliseconds since 1970.
        max_lines: lines per object. As soon as so many wait, an object is due.
        max_waiting: lines that may wait. While storage fails, the oldest are dropped.
        every_s: how many seconds a line may wait until an object is due.
    """

    def __init__(
        self,
        folder: Callable[[int], str],
        *,
        max_lines: int,
        max_waiting: int,
        every_s: float = 0.0,
    ) -> None:
        # Each with the time when it was added, on the monotonic clock.
        self._waiting: collections.deque[tuple[float, bytes]] = collections.deque(
            maxlen=max_waiting
        )
        self._folder = folder
        self._max_lines = max_lines
        self._every_s = every_s
        self._last_ms = 0
        self._next: tuple[str, bytes] | None = None

    def add(self, line: bytes) -> None:
        """Queue a line, which ends with a line break."""
        self._waiting.append((time.monotonic(), line))

    def due_in_s(self) -> float | None:
        """Return in how many seconds an object is due, at least 0; None if no line waits."""
        if self._next or len(self._waiting) >= self._max_lines:
            return 0.0
        try:
            oldest, _ = self._waiting[0]
        except IndexError:
            return None
        return max(0.0, oldest + self._every_s - time.monotonic())

    def next(self) -> tuple[str, bytes] | None:
        """Return name and content of the next object, the same until `written`; None if empty."""
        if self._next is None and (content := b"".join(self._take())):
            self._next = self._name(), content
        return self._next

    def written(self) -> None:
        """Note that the object is in storage."""
        self._next = None

    def _take(self) -> Iterator[bytes]:
        with contextlib.suppress(IndexError):
            for _ in range(self._max_lines):
                yield self._waiting.popleft()[1]

    def _name(self) -> str:
        # Names must keep their order even if the clock is set back, or for two objects in a
        # millisecond.
        self._last_ms = max(self._last_ms + 1, time.time_ns() // 1_000_000)
        folder = self._folder(self._last_ms)
        return f"{folder}{countdown(self._last_ms)}-{secrets.token_hex(4)}.jsonl"
