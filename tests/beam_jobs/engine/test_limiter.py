"""The window of calls in flight: its limits, how it grows and shrinks, and that no slot leaks."""

import asyncio
import random

import pytest

from beam_jobs.engine import limiter as limiter_module
from beam_jobs.engine.limiter import (
    DECREASE_FACTOR,
    INITIAL_IN_FLIGHT,
    MAX_PAUSE_S,
    AdaptiveLimiter,
)
from beam_jobs.engine.shared_quota import SharedQuota
from beam_jobs.fleet.member import Member

pytestmark = pytest.mark.asyncio


async def let_tasks_run(count: int = 20) -> None:
    """Run the event loop until every task that can continue has done so."""
    for _ in range(count):
        await asyncio.sleep(0)


class Calls:
    """Calls that hold their slots until the test ends them."""

    def __init__(self, limiter: AdaptiveLimiter) -> None:
        self.limiter = limiter
        self.under_way: list[asyncio.Event] = []
        self.most = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, count: int) -> None:
        self.tasks += [asyncio.create_task(self._call()) for _ in range(count)]
        await let_tasks_run()

    async def end(self, count: int, *, well: bool = True) -> None:
        for _ in range(count):
            self.under_way.pop(0).set()
            await let_tasks_run()
            if well:
                self.limiter.succeeded()
        await let_tasks_run()

    async def _call(self) -> None:
        async with self.limiter.slot():
            done = asyncio.Event()
            self.under_way.append(done)
            self.most = max(self.most, len(self.under_way))
            await done.wait()


def now() -> float:
    return asyncio.get_running_loop().time()


def rate(per_minute: float | None) -> SharedQuota | None:
    """Return the rate of a job with one worker."""
    if per_minute is None:
        return None
    return SharedQuota(Member(per_minute / 60), catch_up_s=1.0, others=False)


async def started_later() -> float:
    """Return the start time of a call that starts after everything so far."""
    await asyncio.sleep(0.002)
    return now()


@pytest.mark.parametrize("ceiling", [1, 2, 7, 64, 100])
async def test_no_more_calls_than_the_window_and_never_more_than_the_ceiling(ceiling):
    calls = Calls(AdaptiveLimiter(ceiling))
    await calls.start(300)
    assert len(calls.under_way) == min(INITIAL_IN_FLIGHT, ceiling)
    while calls.under_way:
        await calls.end(1)
    assert calls.most == ceiling
    assert calls.limiter.limit == ceiling
    assert calls.limiter.in_flight == 0
    await asyncio.gather(*calls.tasks)


async def overload(limiter: AdaptiveLimiter) -> None:
    """Report a 503 for a new call, after so many others that the window shrinks."""
    limiter._unavailable_share = 0.5
    limiter.unavailable(await started_later())
    limiter._unavailable_share = 0.0


async def test_a_busy_window_doubles_within_a_round_trip_until_the_first_overload():
    calls = Calls(AdaptiveLimiter(256))
    await calls.start(400)
    await calls.end(INITIAL_IN_FLIGHT)
    assert calls.limiter.limit == 2 * INITIAL_IN_FLIGHT
    await overload(calls.limiter)
    before = calls.limiter.limit
    await calls.end(INITIAL_IN_FLIGHT)
    # One round trip of additive increase: 5 % of the ceiling, not a doubling.
    assert before < calls.limiter.limit < before + 256 * 0.05 + 1


async def test_a_window_opens_while_calls_wait_without_an_answer_to_any(monkeypatch):
    monkeypatch.setattr(limiter_module, "OPEN_EVERY_S", 0.01)
    calls = Calls(AdaptiveLimiter(1024))
    await calls.start(1024)
    async with asyncio.timeout(60):
        while len(calls.under_way) < 1024:  # noqa: ASYNC110 - the limiter's own timer
            await asyncio.sleep(0.01)
    for task in calls.tasks:
        task.cancel()
    await asyncio.gather(*calls.tasks, return_exceptions=True)


@pytest.mark.parametrize("refuse", ["over_quota", "unavailable"])
async def test_a_window_stops_opening_once_a_call_is_refused(refuse, monkeypatch):
    monkeypatch.setattr(limiter_module, "OPEN_EVERY_S", 0.2)
    limiter = AdaptiveLimiter(1024)
    calls = Calls(limiter)
    await calls.start(65)
    getattr(limiter, refuse)(now())
    await asyncio.sleep(0.3)
    assert len(calls.under_way) == INITIAL_IN_FLIGHT == limiter.limit
    for task in calls.tasks:
        task.cancel()
    await asyncio.gather(*calls.tasks, return_exceptions=True)


async def test_an_idle_window_does_not_grow():
    limiter = AdaptiveLimiter(256)
    for _ in range(100):
        async with limiter.slot():
            pass
        limiter.succeeded()
    assert limiter.limit == INITIAL_IN_FLIGHT


async def test_calls_that_were_in_flight_shrink_the_window_once():
    limiter = AdaptiveLimiter(64)
    earlier = now()
    await started_later()
    for _ in range(50):
        limiter.unavailable(earlier)
    assert limiter.limit == pytest.approx(INITIAL_IN_FLIGHT * DECREASE_FACTOR)
    limiter.unavailable(await started_later())
    assert limiter.limit == pytest.approx(INITIAL_IN_FLIGHT * DECREASE_FACTOR**2)


async def test_a_refusal_for_quota_slows_calls_down_and_leaves_the_window_as_it_is():
    limiter = AdaptiveLimiter(64)
    starts = [await _started_at(limiter) for _ in range(10)]
    limiter.over_quota(starts[-1])
    assert limiter.limit == INITIAL_IN_FLIGHT
    begun = now()
    starts = await asyncio.gather(*(_started_at(limiter) for _ in range(8)))
    assert starts == sorted(starts), "not in order of arrival"
    # Ten calls in what counts as 0.25 s, of which nine were accepted.
    assert 0.1 < starts[-1] - begun < 10


async def test_calls_that_wait_for_quota_notice_a_pause_that_the_service_asks_for():
    limiter = AdaptiveLimiter(64)
    starts = [await _started_at(limiter) for _ in range(10)]
    limiter.over_quota(starts[-1])
    waiting = [asyncio.create_task(_started_at(limiter)) for _ in range(3)]
    await let_tasks_run()
    paused_at = now()
    limiter.unavailable(paused_at, retry_after_s=0.5)
    started = [start for start in await asyncio.gather(*waiting) if start > paused_at + 0.001]
    assert started
    assert all(start - paused_at >= 0.49 for start in started)


async def test_the_window_never_closes_and_opens_again():
    calls = Calls(AdaptiveLimiter(8))
    for _ in range(30):
        await overload(calls.limiter)
    assert calls.limiter.limit == 1
    await calls.start(300)
    assert len(calls.under_way) == 1
    while calls.under_way:
        await calls.end(1)
    assert calls.limiter.limit == 8


async def test_a_shrunken_window_admits_no_call_until_it_has_room():
    calls = Calls(AdaptiveLimiter(16))
    await calls.start(20)
    await overload(calls.limiter)
    assert int(calls.limiter.limit) == 11
    await calls.end(5, well=False)
    assert len(calls.under_way) == 11
    await calls.end(1, well=False)
    assert len(calls.under_way) == 11
    for _ in range(14):
        await calls.end(1, well=False)


async def test_a_single_503_now_and_then_does_not_shrink_the_window():
    limiter = AdaptiveLimiter(256)
    chance = random.Random(7)
    for _ in range(2000):
        if chance.random() < 0.02:
            limiter.unavailable(await started_later())
        else:
            limiter.succeeded()
    assert limiter.limit == INITIAL_IN_FLIGHT


async def test_many_503s_shrink_the_window():
    limiter = AdaptiveLimiter(64)
    for _ in range(30):
        limiter.unavailable(await started_later())
    assert limiter.limit < INITIAL_IN_FLIGHT / 2


async def test_retry_after_holds_up_every_new_call():
    limiter = AdaptiveLimiter(8)
    earlier = [await _started_at(limiter) for _ in range(20)]
    paused_at = now()
    limiter.over_quota(earlier[-1], retry_after_s=0.2)
    starts, waited = [], []

    async def call() -> None:
        asked = now()
        async with limiter.slot() as slot:
            starts.append(slot)
            waited.append(slot.started_at - asked)

    await asyncio.gather(*(call() for _ in range(5)))
    assert all(0.19 <= slot.started_at - paused_at < 10 for slot in starts)
    assert [slot.throttled_s for slot in starts] == pytest.approx(waited, abs=0.01)
    assert len({slot.started_at for slot in starts}) > 1, "all at the same moment"


async def test_retry_after_of_a_503_also_holds_up_calls():
    limiter = AdaptiveLimiter(8)
    paused_at = await started_later()
    limiter.unavailable(paused_at, retry_after_s=0.1)
    async with limiter.slot() as slot:
        assert slot.started_at - paused_at >= 0.09
    assert limiter.limit < 8


@pytest.mark.slow
async def test_a_pause_that_is_lengthened_meanwhile_is_waited_for_in_full():
    limiter = AdaptiveLimiter(8)
    paused_at = now()
    # Not for quota: then calls would also wait for the learned rate, which takes longer.
    limiter.unavailable(paused_at, retry_after_s=0.3)
    task = asyncio.create_task(_started_at(limiter))
    await let_tasks_run()
    limiter.unavailable(paused_at, retry_after_s=0.8)
    assert await task - paused_at >= 0.79
    paused_at = now()
    limiter.unavailable(paused_at, retry_after_s=0.1)
    limiter.unavailable(now(), retry_after_s=0.01)
    assert await _started_at(limiter) - paused_at >= 0.09, "a shorter pause replaced the longer one"


async def _started_at(limiter: AdaptiveLimiter) -> float:
    async with limiter.slot() as slot:
        return slot.started_at


async def test_no_service_can_stop_the_process_for_hours(monkeypatch):
    limiter = AdaptiveLimiter(8)
    asked = []

    class EnoughError(Exception):
        pass

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        raise EnoughError

    limiter.over_quota(now(), retry_after_s=86_400)
    monkeypatch.setattr("beam_jobs.engine.limiter.asyncio.sleep", sleep)
    with pytest.raises(EnoughError):
        async with limiter.slot():
            pass
    assert asked[0] <= MAX_PAUSE_S + 1
    assert limiter.in_flight == 0


async def test_a_call_that_fails_gives_its_slot_back():
    limiter = AdaptiveLimiter(1)
    for _ in range(3):
        with pytest.raises(KeyError):
            async with limiter.slot():
                raise KeyError
    assert limiter.in_flight == 0


@pytest.mark.slow
@pytest.mark.parametrize("requests_per_minute", [None, 60_000.0])
async def test_cancelled_calls_leak_no_slot_at_whatever_moment(requests_per_minute):
    limiter = AdaptiveLimiter(3, job_rate=rate(requests_per_minute))
    chance = random.Random(3)

    async def call() -> None:
        async with limiter.slot():
            assert limiter.in_flight <= 3
            await let_tasks_run(chance.randrange(5))

    for _ in range(200):
        tasks = [asyncio.create_task(call()) for _ in range(12)]
        for _ in range(chance.randrange(6)):
            await let_tasks_run(chance.randrange(4))
            chance.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limiter.in_flight == 0


async def test_a_slot_handed_to_a_cancelled_waiter_goes_to_the_next():
    limiter = AdaptiveLimiter(1)
    calls = Calls(limiter)
    async with limiter.slot():
        await calls.start(2)
        cancelled, waiting = calls.tasks
    # Its slot is handed over, and `cancelled` has not run since.
    cancelled.cancel()
    await let_tasks_run()
    assert cancelled.cancelled()
    assert len(calls.under_way) == 1
    assert limiter.in_flight == 1
    await calls.end(1)
    await waiting
    assert limiter.in_flight == 0


async def test_waiting_calls_are_served_in_their_order():
    limiter = AdaptiveLimiter(1)
    served = []

    async def call(number: int) -> None:
        async with limiter.slot():
            served.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(call(number) for number in range(50)))
    assert served == list(range(50))


@pytest.mark.parametrize(
    ("per_minute", "calls", "at_once"), [(1200.0, 30, 20), (3000.0, 75, 50), (600.0, 14, 10)]
)
async def test_the_rate_is_kept_after_a_second_of_burst(per_minute, calls, at_once):
    limiter = AdaptiveLimiter(64, job_rate=rate(per_minute))
    begun = now()
    starts = sorted(await asyncio.gather(*(_started_at(limiter) for _ in range(calls))))
    assert sum(start - begun < 0.02 for start in starts) <= at_once + 1
    least = (calls - at_once) * 60 / per_minute
    assert 0.9 * least <= starts[-1] - begun < least + 10


async def test_a_slow_rate_lets_one_call_start_and_the_next_wait():
    limiter = AdaptiveLimiter(64, job_rate=rate(6.0))
    await _started_at(limiter)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_started_at(limiter), 0.1)
    assert limiter.in_flight == 0
