"""Progress as text: count, rate, time so far and time left."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

# The rate covers this many seconds: long enough to be steady, short enough to be current.
_WINDOW_S = 10.0
_BAR_CHARS = 12


class Progress:
    """A counter that describes its progress as text.

    Args:
        doing: the activity, in a word or two, such as "publishing".
        total: the count at the end, if it is known.
        clock: returns the time in seconds.
    """

    def __init__(
        self, doing: str, total: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._doing = doing
        self._total = total
        self._clock = clock
        self._began = clock()
        self._samples: deque[tuple[float, int]] = deque([(self._began, 0)])
        self.count = 0

    def add(self) -> None:
        """Count one more."""
        self.count += 1

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began

    def __str__(self) -> str:
        count, per_second = self.count, self._per_second()
        parts = [rate(per_second), duration(self.seconds)]
        if self._total is None:
            return " · ".join([f"{self._doing} {count:,}", *parts])
        share = count / self._total if self._total else 1.0
        if per_second and count < self._total:
            parts.append(f"{duration((self._total - count) / per_second)} left")
        summary = f"{self._doing} {share:4.0%} {bar(share)} {count:,}/{self._total:,}"
        return " · ".join([summary, *parts])

    def ended(self) -> str:
        """Return the final count, time and rate as text; empty if nothing was counted."""
        seconds = max(self.seconds, 1e-3)
        summary = f"{self.count:,} in {duration(seconds)}, {rate(self.count / seconds)}"
        return summary if self.count else ""

    def _per_second(self) -> float:
        """Return the recent rate. Work can come in bursts, so the overall rate would mislead."""
        now = self._clock()
        self._samples.append((now, self.count))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW_S:
            self._samples.popleft()
        start, count = self._samples[0]
        return (self._samples[-1][1] - count) / (now - start) if now > start else 0.0


class Tally:
    """Counts predictions, dead letters and canaries."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._reused = 0
        self._reasons: Counter[str] = Counter()

    def add(self, message: Mapping[str, Any]) -> None:
        """Count one message, as `watch` decodes it."""
        if "reason" in message:
            self._kinds["dead letter"] += 1
            self._reasons[message["reason"]] += 1
        elif message.get("canary"):
            self._kinds["canary"] += 1
        else:
            self._kinds["prediction"] += 1
            self._reused += bool(message["reused"])

    def __str__(self) -> str:
        predictions, letters = self._kinds["prediction"], self._kinds["dead letter"]
        parts = [counted(predictions, "prediction")]
        if self._reused:
            parts[0] += f" ({self._reused:,} reused)"
        parts.append(counted(letters, "dead letter"))
        if letters:
            reasons = sorted(self._reasons.items(), key=lambda item: -item[1])
            parts[1] += f" ({', '.join(f'{count:,} {reason}' for reason, count in reasons)})"
        if self._kinds["canary"]:
            parts.append(counted(self._kinds["canary"], "canary", "canaries"))
        return ", ".join(parts)


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun, such as "1 image" or "2 images"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Return seconds as a clock shows them: 0:07, 12:34, 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate(per_second: float) -> str:
    """Return a rate per second, or per minute if it is below one per second."""
    if 0 < per_second < 1:
        return f"{per_second * 60:.0f}/min"
    return f"{per_second:,.1f}/s" if per_second < 10 else f"{per_second:,.0f}/s"


def bar(share: float) -> str:
    """Return a progress bar; `share` of it, from 0 to 1, is filled."""
    full = int(min(max(share, 0.0), 1.0) * _BAR_CHARS)
    return "█" * full + "░" * (_BAR_CHARS - full)
