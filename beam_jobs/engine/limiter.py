"""Limits how many model calls are in flight, and how fast new ones start.

An overloaded service (503) needs fewer calls at once: the window of calls in flight adapts below a
ceiling, as TCP's window does. A service without quota left (429) needs slower calls: `quota` learns
how fast they may start, and a job can have a rate of its own, which leaves a part of the quota to
others; the workers of a job share both. There is one limiter per process and place that serves
models. It runs in one event loop, so it needs no thread locks.
"""

import asyncio
import dataclasses
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from beam_jobs.engine.shared_quota import SharedQuota
from beam_jobs.fleet.member import Member

# Calls in flight at the start. It starts this large because an image takes up to half a minute, so
# a first round trip takes too long to learn from, and calls beyond the quota are refused at once
# anyway.
INITIAL_IN_FLIGHT = 64
# While calls wait, the window doubles after this many seconds, until a call is refused. In less
# time, a refusal would come too late: one takes 0.1 s. With one doubling a round trip, 1,024 calls
# of 10 s were in flight after 40 s.
OPEN_EVERY_S = 0.25
# On overload, the window shrinks to this factor of its size (multiplicative decrease). The factor
# is that of RFC 9438 (CUBIC), which shrinks less than halving does.
DECREASE_FACTOR = 0.7
# The window grows by this share of the ceiling per round trip (additive increase). It is a share so
# that recovery does not take an hour at 15 s, the time of one image, per round trip.
INCREASE_SHARE = 0.05
# The window shrinks once this share of recent calls was unavailable. A single 503 says nothing
# about load.
MAX_UNAVAILABLE_SHARE = 0.2
# Weight of one call in the running share, which so covers about the last 20 calls.
UNAVAILABLE_WEIGHT = 0.05
# Maximum seconds that a Retry-After may pause the whole process.
MAX_PAUSE_S = 120.0
# A waiting call checks the rate again after this many seconds, because the rate may change.
RECHECK_S = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class CallSlot:
    """Permission to start one model call.

    Args:
        started_at: when the call may start, in the event loop's time.
        throttled_s: seconds that the call waited for quota.
    """

    started_at: float
    throttled_s: float


class AdaptiveLimiter:
    """Limits the model calls of one process, and adapts to the service's answers.

    Args:
        ceiling: maximum calls in flight, at least 1.
        quota: learns how fast calls may start.
        job_rate: limits the calls of several limiters together; None for no limit.
    """

    def __init__(
        self,
        ceiling: int,
        *,
        quota: SharedQuota | None = None,
        job_rate: SharedQuota | None = None,
    ) -> None:
        self._ceiling = ceiling
        self._limit = float(min(INITIAL_IN_FLIGHT, ceiling))
        self._in_flight = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._slow_start = True
        self._opening: asyncio.TimerHandle | None = None
        # Whether a call went elsewhere, or waits elsewhere, since the window last grew.
        self._wanted_more = False
        self._decreased_at = float("-inf")
        self._unavailable_share = 0.0
        self._paused_until = 0.0
        self._quota = quota or SharedQuota(Member())
        self._start_order = asyncio.Lock()
        self._job_rate = job_rate

    @property
    def in_flight(self) -> int:
        """How many calls hold a slot now."""
        return self._in_flight

    @property
    def limit(self) -> float:
        """How many calls may hold a slot now, between 1 and the ceiling."""
        return self._limit

    @property
    def per_second(self) -> float | None:
        """How many calls may start per second now; None while no quota is known."""
        return self._quota.per_second(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[CallSlot]:
        """Hold a slot while the block runs one call.

        Waits for a free slot, then for the end of a pause that the service asked for, and for the
        job's rate and the learned quota to allow a call.
        """
        await self._acquire()
        try:
            loop = asyncio.get_running_loop()
            acquired_at = loop.time()
            # Checked again after each pause, because another call may have extended it.
            while (pause := self._paused_until - loop.time()) > 0:  # noqa: ASYNC110 - a clock, no event
                # With jitter, so that not all calls start at once after the pause.
                await asyncio.sleep(pause + random.uniform(0, min(1.0, pause)))  # noqa: S311
            started_at = await self._start()
            yield CallSlot(started_at=started_at, throttled_s=started_at - acquired_at)
        finally:
            self._in_flight -= 1
            self._wake()

    def room_in_s(self) -> float:
        """Return in how many seconds to look again for room; 0 if a call may start now."""
        full = self._in_flight >= int(self._limit)
        self._wanted_more |= full
        if full:
            self._open_later()
        busy = full or self._waiters or self._start_order.locked()
        return RECHECK_S if busy else self._wait_s(asyncio.get_running_loop().time())

    def unused(self, seconds: float) -> None:
        """Note that calls went elsewhere for so long, so that the quota known before still counts.

        Args:
            seconds: until now.
        """
        self._quota.unused(seconds, asyncio.get_running_loop().time())

    def succeeded(self) -> None:
        """Note that a call was answered, with an image or a refusal, and grow the window."""
        self._note_answer(unavailable=False)
        wanted_more, self._wanted_more = self._wanted_more, False
        if not wanted_more and self._in_flight < self._limit / 2:
            return  # the window is not the bottleneck, so its size has not been tested
        step = 1.0 if self._slow_start else max(1.0, self._ceiling * INCREASE_SHARE) / self._limit
        self._limit = min(float(self._ceiling), self._limit + step)
        self._wake()

    def over_quota(self, started_at: float, retry_after_s: float | None = None) -> None:
        """Note that a call was refused with 429, and slow down.

        Args:
            started_at: when the call started, in the event loop's time.
            retry_after_s: how many seconds the service asks to wait, if it says so.
        """
        self._pause(retry_after_s)
        self._quota.refused(started_at, asyncio.get_running_loop().time())

    def unavailable(self, started_at: float, retry_after_s: float | None = None) -> None:
        """Note that a call got 503 or no answer, and shrink the window if that happens often.

        Args:
            started_at: when the call started, in the event loop's time.
            retry_after_s: how many seconds the service asks to wait, if it says so.
        """
        self._note_answer(unavailable=True)
        self._pause(retry_after_s)
        if retry_after_s or self._unavailable_share > MAX_UNAVAILABLE_SHARE:
            self._decrease(started_at)

    async def _start(self) -> float:
        """Wait until the quota allows a call, and return the time of its start."""
        loop = asyncio.get_running_loop()
        # In order of arrival: only the first waiting call has to check the rate.
        async with self._start_order:
            while (wait := self._wait_s(loop.time())) > 0:  # noqa: ASYNC110 - a clock, no event
                await asyncio.sleep(min(wait, RECHECK_S))
            started_at = loop.time()
            self._quota.started(started_at)
            if self._job_rate:
                self._job_rate.started(started_at)
        return started_at

    def _wait_s(self, now: float) -> float:
        """Return in how many seconds to look again whether a call may start; 0: it may now."""
        paused_s = max(0.0, self._paused_until - now)
        waits = [paused_s]
        for quota in filter(None, (self._quota, self._job_rate)):
            waits.append(quota.wait_s(now))
            if waits[-1] > 0 and not paused_s:
                quota.waits(now)
        return max(waits)

    def _pause(self, retry_after_s: float | None) -> None:
        if retry_after_s:
            until = asyncio.get_running_loop().time() + min(retry_after_s, MAX_PAUSE_S)
            self._paused_until = max(self._paused_until, until)

    def _note_answer(self, *, unavailable: bool) -> None:
        self._unavailable_share += UNAVAILABLE_WEIGHT * (unavailable - self._unavailable_share)

    def _decrease(self, started_at: float) -> None:
        # Calls that started before the window last shrank say nothing about its new size.
        if started_at <= self._decreased_at:
            return
        self._decreased_at = asyncio.get_running_loop().time()
        self._slow_start = False
        self._limit = max(1.0, self._limit * DECREASE_FACTOR)

    def _open_later(self) -> None:
        """Open the window further by and by, as long as the service refuses nothing."""
        if self._opening is None and self._slow_start and self._limit < self._ceiling:
            self._opening = asyncio.get_running_loop().call_later(OPEN_EVERY_S, self._open)

    def _open(self) -> None:
        self._opening = None
        refused = self.per_second is not None or self._unavailable_share >= UNAVAILABLE_WEIGHT
        if refused or not self._slow_start or not (self._waiters or self._wanted_more):
            return
        self._limit = min(float(self._ceiling), 2 * self._limit)
        self._wake()
        if self._waiters:
            self._open_later()

    async def _acquire(self) -> None:
        if not self._waiters and self._in_flight < int(self._limit):
            self._in_flight += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._open_later()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # the slot was already handed over
                self._in_flight -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiters and self._in_flight < int(self._limit):
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._in_flight += 1
                waiter.set_result(None)
