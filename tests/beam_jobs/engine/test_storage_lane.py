"""How many requests storage has at once."""

import asyncio
import random

import aiohttp
import pytest

from beam_jobs.engine.persist import Persist
from beam_jobs.engine.storage_lane import (
    LEAST_AT_ONCE,
    LOOKUPS_AT_ONCE,
    NEXT_TRY_S,
    UPLOADS_AT_ONCE,
    Rate,
    StorageLane,
    lanes_of,
)
from beam_jobs.images.location import Location
from beam_jobs.images.requests import StoreError
from beam_jobs.images.store import ImageStore
from localcloud.storage import ObjectStore, storage_app
from localcloud.storage.behaviour import Behaviour

pytestmark = pytest.mark.asyncio


async def let_tasks_run(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Storage:
    """Answers when the test says so, and counts what it has at once."""

    def __init__(self, lane: StorageLane) -> None:
        self.lane = lane
        self.asked: list[tuple[str, asyncio.Future[str]]] = []
        self.tasks: list[asyncio.Task[str]] = []

    async def ask(self, *names: str, first: bool = False) -> None:
        for name in names:
            self.tasks.append(
                asyncio.create_task(self.lane(lambda n=name: self._get(n), first=first))
            )
        await let_tasks_run()

    async def answer(self, count: int, error: Exception | None = None) -> None:
        for _ in range(count):
            _, future = self.asked.pop(0)
            future.set_result("here") if error is None else future.set_exception(error)
        await let_tasks_run()

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]

    async def _get(self, name: str) -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.asked.append((name, future))
        return await future


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lane(start: int = 4, most: int = 4, clock: Clock | None = None) -> StorageLane:
    clock = clock or Clock()
    return StorageLane(start, lambda: most, Rate(clock), clock=clock)


def failed(status: int | None) -> StoreError:
    return StoreError("no", transient=True, status=status)


async def test_no_more_at_once_than_the_bound_and_what_is_paid_for_goes_first():
    storage = Storage(lane(2))
    await storage.ask("a", "b", "c", "d")
    await storage.ask("paid", first=True)
    assert storage.names() == ["a", "b"]
    await storage.answer(1)
    assert storage.names() == ["b", "paid"]
    await storage.answer(2)
    assert storage.names() == ["c", "d"]
    await storage.answer(2)
    assert [await task for task in storage.tasks] == ["here"] * 5
    assert storage.lane.at_once == 0


async def test_the_lag_is_how_long_the_next_request_has_waited():
    clock = Clock()
    storage = Storage(lane(1, clock=clock))
    assert storage.lane.lag_s == 0
    await storage.ask("a", "b")
    clock.now += 3
    await storage.ask("c")
    assert storage.lane.lag_s == 3
    await storage.answer(1)
    clock.now += 1
    assert storage.lane.lag_s == 1
    await storage.answer(1)
    assert storage.lane.lag_s == 0
    await storage.answer(1)


async def test_a_request_that_is_cancelled_leaves_its_place_to_others():
    storage = Storage(lane(1))
    await storage.ask("a", "b", "c")
    storage.tasks[1].cancel()  # waits
    storage.tasks[0].cancel()  # is with storage
    await let_tasks_run()
    assert storage.names() == ["a", "c"]
    storage.asked.pop(0)
    await storage.answer(1)
    assert storage.lane.at_once == 0


async def simulate(lane: StorageLane, clock: Clock, seconds: float, answer_s) -> float:
    """Keep a lane full for so long, without waiting; return the answers per second at the end."""
    storage, numbers = Storage(lane), iter(range(10**9))
    ends: list[tuple[float, asyncio.Future[str]]] = []
    until, counted_from, answers = clock.now + seconds, clock.now + 0.8 * seconds, 0
    await storage.ask(*(str(next(numbers)) for _ in range(1000)))
    while clock.now < until:
        while storage.asked:
            _, future = storage.asked.pop(0)
            ends.append((answer_s(clock.now, lane.at_once), future))
        ends.sort(key=lambda end: end[0])
        at, future = ends.pop(0)
        clock.now = max(clock.now, at)
        future.set_result("here")
        answers += clock.now >= counted_from
        await storage.ask(str(next(numbers)))
    for task in storage.tasks:
        task.cancel()
    await asyncio.gather(*storage.tasks, return_exceptions=True)
    return answers / (until - counted_from)


async def test_a_storage_that_just_takes_long_gets_more_at_once_and_a_busy_one_does_not():
    chance = random.Random(7)
    clock = Clock()
    slow = lane(8, most=40, clock=clock)
    per_s = await simulate(slow, clock, 60.0, lambda now, _: now + chance.uniform(0.8, 1.2))
    assert slow.bound == 40
    assert per_s > 0.9 * 40

    clock = Clock()
    free_at = 0.0

    def in_line(now: float, _: int) -> float:  # 20 a second, however many wait
        nonlocal free_at
        free_at = max(now, free_at) + chance.uniform(0.04, 0.06)
        return free_at

    busy = lane(8, most=40, clock=clock)
    per_s = await simulate(busy, clock, 0.8 * NEXT_TRY_S, in_line)
    assert busy.bound == 8
    assert per_s > 0.95 * 20


async def test_a_storage_that_fails_gets_fewer_at_once_until_it_answers_again():
    clock = Clock()
    storage = Storage(lane(8, most=8, clock=clock))
    await storage.ask(*"abcdefgh")
    await storage.answer(1, failed(503))
    assert storage.lane.bound == 8, "a single failure says nothing"
    await storage.answer(7, failed(None))
    assert storage.lane.bound == 8 * 0.7, "those from before it shrank do not count"
    for _ in range(20):
        clock.now += 1
        await storage.ask("again")
        await storage.answer(1, failed(500))
    assert storage.lane.bound == LEAST_AT_ONCE
    for _ in range(60):
        await storage.ask("again")
        await storage.answer(1, failed(412))  # an answer: it is there
    assert storage.lane.bound == 8
    await asyncio.gather(*storage.tasks, return_exceptions=True)


async def test_more_than_at_the_start_only_while_calls_leave_connections():
    calls = 0
    lanes = lanes_of(1000, lambda: calls)
    lookups = Storage(lanes.lookups)
    lookups.lane._bound = 500.0
    await lookups.ask(*map(str, range(700)))
    assert len(lookups.asked) == 500
    calls = 1000
    await lookups.answer(450)
    assert len(lookups.asked) == 100, "1.1 connections a call, less the calls"
    calls = 1099
    await lookups.answer(60)
    assert len(lookups.asked) == LOOKUPS_AT_ONCE
    while lookups.asked:
        await lookups.answer(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"connections": 100}, {"calls_per_s": 100.0}, {"refused_above_per_s": 100.0}],
    ids=str,
)
async def test_a_storage_that_takes_little_slows_look_ups_down_and_stops_none(
    settings, serve, monkeypatch, tmp_path
):
    """More look-ups at once than it has connections, each of them sent once."""
    objects = ObjectStore(tmp_path / "storage")
    objects.create_bucket("bucket-1")
    app = storage_app(objects)
    behaviour = _behaviour_of(app)
    for name, value in settings.items():
        setattr(behaviour.settings, name, value)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(app))
    lookups = 400
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        lanes = lanes_of(400, lambda: 400)
        store = ImageStore(session, Location.parse("gs://bucket-1/images"), lanes=lanes)

        persist = Persist(store.writes, 60.0)

        async def find(number: int) -> None:
            found = await persist(lambda: store.find(f"{number:032x}"), paid=False)
            assert found.record is None

        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(50):
            await asyncio.gather(*map(find, range(lookups)))
        took_s = loop.time() - began
        connections = len(session.connector._conns) and sum(
            len(each) for each in session.connector._conns.values()
        )
    assert connections <= LOOKUPS_AT_ONCE + UPLOADS_AT_ONCE
    rate = settings.get("calls_per_s") or settings.get("refused_above_per_s")
    if rate:
        # One second's worth at once at the start, and 0.75 for a busy machine; quietly, it is 0.9.
        assert took_s <= lookups / rate / 0.75
    assert behaviour.counts.calls - behaviour.counts.failed == lookups
    objects.close()


def _behaviour_of(app) -> Behaviour:
    (close,) = [each for each in app.on_shutdown if isinstance(each.__self__, Behaviour)]
    return close.__self__
