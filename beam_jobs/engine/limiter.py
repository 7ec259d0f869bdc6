"""How many model calls are in flight, and how fast new ones start.

A service that is overloaded (503) needs fewer calls at once: their number adapts, as TCP's window
does, below a ceiling. One that has no quota left (429) needs them slower: `quota` learns how fast
they may start. A token bucket bounds the rate where an operator wants a share of the quota left to
somebody else. One limiter per process, used from one event loop only; it takes no locks.
"""

import asyncio
import dataclasses
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

from beam_jobs.engine.quota import LearnedQuota

# Where the window starts; from here it doubles with each round trip. An image takes up to half a
# minute, too long for a first round trip to tell anything: who is too much is refused at once.
INITIAL_IN_FLIGHT = 64
# Multiplicative decrease; the factor of RFC 9438 (CUBIC), which gives up less than halving.
DECREASE = 0.7
# Additive increase, as a share of the ceiling per round trip, so that a round trip of 15 s (what an
# image takes) does not make recovery last an hour.
INCREASE = 0.05
# A single 503 says nothing about load; a fifth of the recent calls does.
UNAVAILABLE_SHARE = 0.2
# Weight of one call in that running share: it looks back over some 20 calls.
UNAVAILABLE_WEIGHT = 0.05
# The longest a Retry-After may hold up the whole process, seconds.
MAX_PAUSE_S = 120.0
# The rate may change while a call waits for its turn.
RECHECK_S = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class CallSlot:
    """Leave for one call: when it may start (loop time), and how long quota held it up."""

    started_at: float
    throttled_s: float


class AdaptiveLimiter:
    """Additive increase, multiplicative decrease, Retry-After honoured, rate bounded.

    Args:
        ceiling: most calls in flight, at least 1.
        requests_per_minute: most calls started in a minute by this process, or None.
    """

    def __init__(self, ceiling: int, requests_per_minute: float | None = None) -> None:
        self._ceiling = ceiling
        self._limit = float(min(INITIAL_IN_FLIGHT, ceiling))
        self._in_flight = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._slow_start = True
        self._decreased_at = float("-inf")
        self._unavailable_share = 0.0
        self._paused_until = 0.0
        self._quota = LearnedQuota()
        self._turn = asyncio.Lock()
        self._bucket = _bucket(requests_per_minute) if requests_per_minute else None

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot now."""
        return self._in_flight

    @property
    def limit(self) -> float:
        """How many may hold one at present, between 1 and the ceiling."""
        return self._limit

    @property
    def per_second(self) -> float | None:
        """How many calls may start in a second at present; None while no quota is known."""
        return self._quota.per_second(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[CallSlot]:
        """Hold a slot for one call.

        Waits for a free slot, then for the rate, then until a pause that the service asked for
        is over, then for its turn as the quota allows.
        """
        await self._acquire()
        try:
            loop = asyncio.get_running_loop()
            acquired_at = loop.time()
            if self._bucket:
                await self._bucket.acquire()
            # Asked again after each pause: another call may have been told to wait longer.
            while (pause := self._paused_until - loop.time()) > 0:  # noqa: ASYNC110 - a clock, no event
                # Jitter, so that a pause does not end in a thundering herd.
                await asyncio.sleep(pause + random.uniform(0, min(1.0, pause)))  # noqa: S311
            started_at = await self._start()
            yield CallSlot(started_at=started_at, throttled_s=started_at - acquired_at)
        finally:
            self._in_flight -= 1
            self._wake()

    def succeeded(self) -> None:
        """A call was answered, with an image or a refusal: there is room for more."""
        self._note_answer(missed=False)
        if self._in_flight < self._limit / 2:
            return  # the window was not what held us back: growing it would mean nothing
        step = 1.0 if self._slow_start else max(1.0, self._ceiling * INCREASE) / self._limit
        self._limit = min(float(self._ceiling), self._limit + step)
        self._wake()

    def over_quota(self, started_at: float, retry_after_s: float | None = None) -> None:
        """A call that started at `started_at` (loop time) was refused with 429."""
        self._pause(retry_after_s)
        self._quota.refused(started_at, asyncio.get_running_loop().time())

    def unavailable(self, started_at: float, retry_after_s: float | None = None) -> None:
        """A call was answered with 503 or not at all: do fewer at once if many are."""
        self._note_answer(missed=True)
        self._pause(retry_after_s)
        if retry_after_s or self._unavailable_share > UNAVAILABLE_SHARE:
            self._decrease(started_at)

    async def _start(self) -> float:
        """Wait until the quota has room for a call, and return when that is."""
        loop = asyncio.get_running_loop()
        # In the order of coming: one that waits behind another need not look at the rate.
        async with self._turn:
            while (wait := self._wait_s(loop.time())) > 0:  # noqa: ASYNC110 - a clock, no event
                await asyncio.sleep(min(wait, RECHECK_S))
            started_at = loop.time()
            self._quota.started(started_at)
        return started_at

    def _wait_s(self, now: float) -> float:
        return max(self._paused_until - now, self._quota.wait_s(now))

    def _pause(self, retry_after_s: float | None) -> None:
        if retry_after_s:
            until = asyncio.get_running_loop().time() + min(retry_after_s, MAX_PAUSE_S)
            self._paused_until = max(self._paused_until, until)

    def _note_answer(self, *, missed: bool) -> None:
        self._unavailable_share += UNAVAILABLE_WEIGHT * (missed - self._unavailable_share)

    def _decrease(self, started_at: float) -> None:
        # Calls that were on their way when the window last shrank say nothing about the new one.
        if started_at <= self._decreased_at:
            return
        self._decreased_at = asyncio.get_running_loop().time()
        self._slow_start = False
        self._limit = max(1.0, self._limit * DECREASE)

    async def _acquire(self) -> None:
        if not self._waiters and self._in_flight < int(self._limit):
            self._in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was already handed over
                self._in_flight -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiters and self._in_flight < int(self._limit):
            turn = self._waiters.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)


def _bucket(requests_per_minute: float) -> AsyncLimiter:
    # A second's worth may start at once; more would meet the service's own limiter as a burst.
    burst = max(1.0, requests_per_minute / 60)
    return AsyncLimiter(burst, time_period=burst * 60 / requests_per_minute)
