"""Bounds how many requests storage has at once, and adapts the bound to what storage gives.

Without a bound, the look-ups of a thousand prompts are a thousand connections at once, which a
slow storage answers so late that all of them time out and are sent again. What waits here has no
timeout: a slow storage slows a job down and never stops it.

The bound starts at what a storage of usual speed needs. While the lane is full, it tries a larger
one now and then, and keeps it if storage then answers more: it does if its answers just take long,
and does not if it is busy. The bound shrinks while storage fails. Requests that are refused for
their rate (429) are slowed down as model calls are, by `quota`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from beam_jobs.engine.quota import MAX_LOOK_BACK_CALLS, LearnedQuota
from beam_jobs.images.lanes import Lanes
from beam_jobs.images.requests import StoreError

T = TypeVar("T")

# Requests at once at the start. At 0.05 s for a listing or a claim, look-ups of 450 prompts a
# second; at 0.15 s for an image of 1.5 MB, uploads of 100. With 64 uploads at once, each took
# longer, and 60 MB more memory.
LOOKUPS_AT_ONCE = 48
UPLOADS_AT_ONCE = 16
# Connections of a process, to models and to storage, per model call that may be in flight. What
# calls leave of them is what storage may have beyond the start.
CONNECTIONS_PER_CALL = 1.1
LEAST_AT_ONCE = 4
# A larger bound is tried for so many answers per request at once, and for at least so long.
ROUND_ANSWERS = 2
ROUND_S = 1.0
# By this factor it is larger, and it is kept if the answers per second rise by this share of that.
STEP = 1.25
GAIN = 0.5
# After a larger bound that did not pay, seconds until the next try.
NEXT_TRY_S = 30.0
# The bound shrinks to this factor if more than this share of recent requests fail; a single failure
# says nothing. The weight of one covers about the last 20.
DECREASE_FACTOR = 0.7
MAX_FAILED_SHARE = 0.2
FAILED_WEIGHT = 0.05
# A request that waits for its rate looks again after so many seconds, because the rate may change.
RECHECK_S = 0.1


class Rate:
    """How fast requests may start, once storage has refused some for their rate.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # None before the first refusal, which most jobs never see.
        self._quota: LearnedQuota | None = None
        self._starts: deque[float] = deque(maxlen=MAX_LOOK_BACK_CALLS)
        self._order = asyncio.Lock()

    def start_now(self) -> float | None:
        """Return the time of a request that starts now; None if it has to wait."""
        now = self._clock()
        if self._quota is None:
            self._starts.append(now)
            return now
        if self._order.locked() or self._quota.wait_s(now) > 0:
            return None
        self._quota.started(now)
        return now

    async def wait(self) -> float:
        """Wait until a request may start, in order of arrival, and return when it does."""
        async with self._order:
            # A clock, no event: nobody tells when a rate allows the next request.
            while self._quota and (wait_s := self._quota.wait_s(self._clock())) > 0:  # noqa: ASYNC110
                await asyncio.sleep(min(wait_s, RECHECK_S))
            now = self._clock()
            if self._quota:
                self._quota.started(now)
        return now

    def refused(self, started_at: float) -> None:
        """Note that a request which started then was refused for its rate."""
        if self._quota is None:
            self._quota = LearnedQuota()
            for start in self._starts:
                self._quota.started(start)
        self._quota.refused(started_at, self._clock())


# Since when somebody waits, and for what.
_Waiter = tuple[float, asyncio.Future[None]]


class StorageLane:
    """Requests of one kind. Use it from one event loop only.

    Args:
        start: how many requests there may be at once at first, and always while storage is well.
        most: returns how many there may be at once by now, if more pay; not asked otherwise.
        rate: of all lanes together.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        start: int,
        most: Callable[[], int],
        rate: Rate,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start
        self._most = most
        self._rate = rate
        self._clock = clock
        self._bound = float(start)
        self._at_once = 0
        self._paid: deque[_Waiter] = deque()
        self._others: deque[_Waiter] = deque()
        self._failed_share = 0.0
        self._shrunk_at = float("-inf")
        # Since when the lane is full, and how many were answered since. Below 0, that many more do
        # not count.
        self._full_since = clock()
        self._answers = 0
        # The bound before the one that is tried, and its answers per second.
        self._before: tuple[float, float] | None = None
        self._next_try_at = float("-inf")

    @property
    def at_once(self) -> int:
        """How many requests storage has now."""
        return self._at_once

    @property
    def bound(self) -> float:
        """How many it may have."""
        return self._bound

    @property
    def lag_s(self) -> float:
        """How many seconds the first of those that wait has waited; 0: none waits."""
        waiting = self._paid or self._others
        return self._clock() - waiting[0][0] if waiting else 0.0

    async def __call__(self, request: Callable[[], Awaitable[T]], *, first: bool = False) -> T:
        """Send a request as soon as it may be sent, as `images.lanes.Lane` says."""
        if self._at_once < self._limit():  # then nobody waits
            self._at_once += 1
        else:
            await self._turn(self._paid if first else self._others)
        try:
            if (started_at := self._rate.start_now()) is None:
                started_at = await self._rate.wait()
            try:
                answer = await request()
            except StoreError as error:
                self._failed(error, started_at)
                raise
            self._answered()
            return answer
        finally:
            self._at_once -= 1
            self._wake()

    def _limit(self) -> int:
        if self._bound <= self._start:
            return int(self._bound)
        return int(min(self._bound, max(self._start, self._most())))

    async def _turn(self, waiters: deque[_Waiter]) -> None:
        """Wait until storage may have one more, which then counts."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append((self._clock(), waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # its turn had come
                self._at_once -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while (self._paid or self._others) and self._at_once < self._limit():
            _, waiter = (self._paid or self._others).popleft()
            if not waiter.done():
                self._at_once += 1
                waiter.set_result(None)

    def _answered(self) -> None:
        self._failed_share *= 1 - FAILED_WEIGHT
        if self._bound < self._start:  # one more with each round trip
            self._bound = min(float(self._start), self._bound + 1 / self._bound)
        if not (self._paid or self._others):
            self._full_since, self._answers, self._before = self._clock(), 0, None
            return
        self._answers += 1
        if self._answers == 0:
            self._full_since = self._clock()
        if self._answers < ROUND_ANSWERS * self._bound:
            return
        now = self._clock()
        if (seconds := now - self._full_since) >= ROUND_S:
            self._adapt(self._answers / seconds, now)
            # Those that are with storage now were sent under the bound before.
            self._full_since, self._answers = now, -self._at_once

    def _adapt(self, per_s: float, now: float) -> None:
        """Keep a larger bound if it pays, and try a larger one if it is time to."""
        if self._before is not None:
            bound, before_per_s = self._before
            self._before = None
            if per_s < before_per_s * (1 + GAIN * (self._bound / bound - 1)):
                self._bound, self._next_try_at = bound, now + NEXT_TRY_S
        larger = min(self._bound * STEP, float(self._most()))
        if now >= self._next_try_at and larger >= self._bound + 1 > self._start:
            self._before = (self._bound, per_s)
            self._bound = larger

    def _failed(self, error: StoreError, started_at: float) -> None:
        if error.status == 429:
            self._rate.refused(started_at)
        elif error.status is None or error.status >= 500:
            self._failed_share += FAILED_WEIGHT * (1 - self._failed_share)
            # Requests from before it shrank say nothing about its new size.
            if self._failed_share > MAX_FAILED_SHARE and started_at > self._shrunk_at:
                self._shrunk_at = self._clock()
                self._before = None
                self._bound = max(float(LEAST_AT_ONCE), self._bound * DECREASE_FACTOR)
        else:  # an answer, such as that an object is there
            self._answered()


def lanes_of(max_in_flight: int, in_flight: Callable[[], int]) -> Lanes:
    """Return the lanes of a process. Call it in the event loop.

    Args:
        max_in_flight: maximum concurrent model calls.
        in_flight: returns how many there are.
    """

    def most(other: Callable[[], StorageLane]) -> Callable[[], int]:
        connections = int(CONNECTIONS_PER_CALL * max_in_flight)
        return lambda: connections - in_flight() - other().at_once

    rate = Rate()
    lookups = StorageLane(LOOKUPS_AT_ONCE, most(lambda: uploads), rate)
    uploads = StorageLane(UPLOADS_AT_ONCE, most(lambda: lookups), rate)
    return Lanes(lookups, uploads)
