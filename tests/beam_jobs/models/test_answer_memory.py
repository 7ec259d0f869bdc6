"""How many answers are in memory at once."""

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web

from beam_jobs.models.answer_memory import (
    MIN_SLOTS,
    AnswerSlots,
    AnswerTooLargeError,
    SlottedResponse,
)

pytestmark = pytest.mark.asyncio


async def hold_slot(answer_slots: AnswerSlots, held: asyncio.Event, done: list[int]) -> None:
    with answer_slots.slot() as slot:
        await slot.acquire()
        await slot.acquire()  # it holds it already
        done.append(1)
        await held.wait()


@pytest.mark.parametrize(("max_in_flight", "at_once"), [(8, MIN_SLOTS), (256, 64)])
async def test_the_number_of_slots_held_at_once_is_limited(max_in_flight, at_once):
    answer_slots, held, done = AnswerSlots(max_in_flight), asyncio.Event(), []
    tasks = [asyncio.create_task(hold_slot(answer_slots, held, done)) for _ in range(100)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(done) == at_once
    held.set()
    await asyncio.gather(*tasks)
    assert len(done) == 100


async def test_a_released_slot_admits_one_waiter():
    answer_slots = AnswerSlots(1)
    with answer_slots.slot() as slot:
        for _ in range(3):
            slot.release()  # not held, so this must not free a slot
        await slot.acquire()
        slot.release()
        slot.release()
        held, done = asyncio.Event(), []
        tasks = [asyncio.create_task(hold_slot(answer_slots, held, done)) for _ in range(40)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(done) == MIN_SLOTS
        held.set()
        await asyncio.gather(*tasks)


async def test_a_failure_or_a_cancellation_releases_the_slot():
    answer_slots = AnswerSlots(1)

    async def fail() -> None:
        with answer_slots.slot() as slot:
            await slot.acquire()
            raise KeyError

    for _ in range(3 * MIN_SLOTS):
        with pytest.raises(KeyError):
            await fail()
    held = asyncio.Event()
    tasks = [asyncio.create_task(hold_slot(answer_slots, held, [])) for _ in range(3 * MIN_SLOTS)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with answer_slots.slot() as slot:
        await asyncio.wait_for(slot.acquire(), 60)


async def test_a_model_answer_waits_for_a_slot_and_other_reads_do_not(serve):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1000)

    url = await serve(answer)
    answer_slots, held, done = AnswerSlots(1), asyncio.Event(), []
    async with aiohttp.ClientSession(response_class=SlottedResponse) as session:

        async def call() -> None:
            with answer_slots.slot() as slot:
                with slot.reading():
                    async with session.get(url) as response:
                        assert len(await response.read()) == 1000
                done.append(1)
                await held.wait()

        tasks = [asyncio.create_task(call()) for _ in range(2 * MIN_SLOTS)]
        async with asyncio.timeout(60):
            while len(done) < MIN_SLOTS:  # noqa: ASYNC110 - another's list
                await asyncio.sleep(0.01)
            # A read outside `reading`, such as storage's, has no slot to wait for.
            async with session.get(url) as response:
                assert len(await response.read()) == 1000
            assert len(done) == MIN_SLOTS
            held.set()
            await asyncio.gather(*tasks)


async def test_a_refusal_is_read_without_waiting(serve):
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=429, body=b"later")

    url = await serve(refuse)
    answer_slots = AnswerSlots(1)
    async with (
        aiohttp.ClientSession(response_class=SlottedResponse) as session,
        asyncio.timeout(60),
    ):
        with contextlib.ExitStack() as slots:
            for _ in range(MIN_SLOTS):
                await slots.enter_context(answer_slots.slot()).acquire()
            with answer_slots.slot() as slot, slot.reading():
                async with session.get(url) as response:
                    assert await response.read() == b"later"


async def test_a_wait_ends_before_a_paid_answer_is_lost(monkeypatch):
    """While storage hangs, all slots stay held until their calls time out."""
    monkeypatch.setattr("beam_jobs.models.answer_memory.MAX_WAIT_S", 0.1)
    answer_slots = AnswerSlots(1)
    with contextlib.ExitStack() as slots:
        for _ in range(MIN_SLOTS):
            await slots.enter_context(answer_slots.slot()).acquire()
        with answer_slots.slot() as late:
            await asyncio.wait_for(late.acquire(), 60)
            late.release()  # it holds none
            with answer_slots.slot() as another:
                await asyncio.wait_for(another.acquire(), 60)
    held, done = asyncio.Event(), []
    tasks = [asyncio.create_task(hold_slot(answer_slots, held, done)) for _ in range(40)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(done) == MIN_SLOTS, "as many slots as before"
    held.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_not_read_to_its_end(serve, monkeypatch, chunked):
    monkeypatch.setattr("beam_jobs.models.answer_memory.MAX_ANSWER_BYTES", 100_000)
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        if request.path == "/short":
            return web.Response(body=b"short")
        response = web.StreamResponse()
        if not chunked:
            response.content_length = 100_000_000
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x" * 100_000)
            sent += 100_000
        return response

    url = await serve(answer)
    async with aiohttp.ClientSession(response_class=SlottedResponse) as session:
        async with session.get(url) as response:
            with pytest.raises(AnswerTooLargeError, match=r"more than 100,000 bytes"):
                await response.read()
        async with session.get(f"{url}/short") as response:
            assert await response.read() == b"short", "the session still works"
    assert sent < 50_000_000


async def test_a_body_can_be_read_twice(serve):
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"a": 1})

    async with (
        aiohttp.ClientSession(response_class=SlottedResponse) as session,
        session.get(await serve(answer)) as response,
    ):
        assert await response.json() == {"a": 1}
        assert await response.text() == '{"a": 1}'
