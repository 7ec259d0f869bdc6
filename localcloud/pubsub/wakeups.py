"""Wakes tasks that wait for messages, and runs the timers that end leases.

Nothing polls: the broker wakes the sleepers, and the event loop has one timer per subscription, set
to its next deadline.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from typing_extensions import override

from localcloud.pubsub.broker import Listener
from localcloud.pubsub.clock import Clock

_COALESCE_S = 0.02
"""Leases that end within this time, in seconds, are ended together."""


class Wakeups(Listener):
    """The broker's `Listener`. Calls `expire` with each subscription whose deadline has come."""

    def __init__(self, clock: Clock, expire: Callable[[str], None]) -> None:
        self._clock = clock
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._sleepers: dict[str, set[asyncio.Event]] = {}
        self._timers: dict[str, tuple[float, asyncio.TimerHandle]] = {}

    @contextmanager
    def sleeper(self, subscription: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever the subscription may have messages to pull."""
        event = asyncio.Event()
        sleepers = self._sleepers.setdefault(subscription, set())
        sleepers.add(event)
        try:
            yield event
        finally:
            sleepers.discard(event)
            if not sleepers and self._sleepers.get(subscription) is sleepers:
                del self._sleepers[subscription]

    def wake_all(self) -> None:
        """Wake every sleeper of every subscription."""
        for sleepers in self._sleepers.values():
            for event in sleepers:
                event.set()

    def close(self) -> None:
        """Cancel all timers."""
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers = {}

    @override
    def ready(self, subscription: str) -> None:
        for event in self._sleepers.get(subscription, ()):
            event.set()

    @override
    def deadline(self, subscription: str, at_s: float) -> None:
        timer = self._timers.get(subscription)
        if timer is not None:
            if timer[0] <= at_s + _COALESCE_S:
                return
            timer[1].cancel()
        delay_s = max(0.0, at_s - self._clock.steady_s()) + _COALESCE_S
        self._timers[subscription] = (
            at_s + _COALESCE_S,
            self._loop.call_later(delay_s, self._fire, subscription),
        )

    def _fire(self, subscription: str) -> None:
        del self._timers[subscription]
        self._expire(subscription)
