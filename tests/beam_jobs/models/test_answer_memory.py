"""How many answers are in memory at once."""

import asyncio
import asyncio.sslproto
import contextlib
import json

import aiohttp
import pytest
from aiohttp import web

from beam_jobs.engine.process_memory import TLS_BUFFER_BYTES, bound_tls_buffers
from beam_jobs.models import answer_memory
from beam_jobs.models.answer_memory import (
    AnswerMemory,
    AnswerSlot,
    AnswerTooLargeError,
    SlottedResponse,
)
from tests.tls import certificate

pytestmark = pytest.mark.asyncio


async def let_tasks_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def hold(slot: AnswerSlot, size: int | None, held: asyncio.Event, done: list[int]) -> None:
    await slot.acquire(size)
    await slot.acquire(size)  # it has room already
    done.append(size or 0)
    await held.wait()


@contextlib.contextmanager
def full(memory: AnswerMemory, size: int = 1000):
    with memory.slot() as slot:
        assert slot.acquire_now(size)
        yield slot


@pytest.mark.parametrize(("size", "at_once"), [(100, 10), (333, 3), (1000, 1), (5000, 1)])
async def test_so_many_answers_are_in_memory_as_their_bytes_allow_and_at_least_one(size, at_once):
    memory, held, done = AnswerMemory(1000), asyncio.Event(), []

    async def call() -> None:
        with memory.slot() as slot:
            await hold(slot, size, held, done)

    tasks = [asyncio.create_task(call()) for _ in range(40)]
    await let_tasks_run()
    assert len(done) == at_once
    assert memory.taken == at_once * size
    held.set()
    await asyncio.gather(*tasks)
    assert (len(done), memory.taken) == (40, 0)


async def test_a_large_answer_is_not_passed_by_for_ever_by_small_ones():
    memory, held, done = AnswerMemory(1000), asyncio.Event(), []
    with memory.slot() as large, memory.slot() as small, full(memory, 500) as first:
        tasks = [asyncio.create_task(hold(large, 900, held, done))]
        await let_tasks_run()
        tasks.append(asyncio.create_task(hold(small, 10, held, done)))
        await let_tasks_run()
        assert done == [], "the small one fits, but came later"
        first.release()
        await let_tasks_run()
        assert done == [900, 10]
        held.set()
        await asyncio.gather(*tasks)


async def test_room_is_given_back_as_soon_as_only_the_images_are_left():
    memory = AnswerMemory(1000)
    with full(memory) as slot, memory.slot() as other:
        waiting = asyncio.create_task(other.acquire(300))
        slot.was_read(990)
        await let_tasks_run()
        assert not waiting.done()
        slot.hold(700)
        await asyncio.wait_for(waiting, 60)
        assert memory.taken == 1000
        slot.release()
        slot.release()  # not held, so this must not free anything
        slot.hold(5)
        assert memory.taken == 300
    assert memory.taken == 0


async def test_what_does_not_say_its_size_counts_as_much_as_the_one_before():
    memory = AnswerMemory()
    with memory.slot() as slot:
        await slot.acquire(None)
        assert memory.taken == answer_memory.UNKNOWN_BYTES
        slot.was_read(123)
    with memory.slot() as slot:
        await slot.acquire(None)
        assert memory.taken == 123


async def test_a_failure_or_a_cancellation_gives_the_room_back():
    memory = AnswerMemory(1000)
    with pytest.raises(KeyError), full(memory):
        raise KeyError
    assert memory.taken == 0
    held = asyncio.Event()

    async def call() -> None:
        with memory.slot() as slot:
            await hold(slot, 600, held, [])

    tasks = [asyncio.create_task(call()) for _ in range(5)]
    await let_tasks_run()
    for task in tasks:  # the first has its room; the second gets it just as it is cancelled
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert memory.taken == 0
    with memory.slot() as slot:
        assert slot.acquire_now(1000)


async def test_a_wait_ends_before_a_paid_answer_is_lost(monkeypatch):
    """While storage hangs, all room stays taken until the calls time out."""
    monkeypatch.setattr(answer_memory, "MIN_WAIT_S", 0.1)
    memory = AnswerMemory(1000, call_timeout_s=answer_memory.READ_BEFORE_TIMEOUT_S + 0.2)
    with full(memory):
        with memory.slot() as late, late.reading():
            began = asyncio.get_running_loop().time()
            await asyncio.wait_for(late.acquire(500), 60)
            assert asyncio.get_running_loop().time() - began > 0.15
            assert memory.taken == 1000, "it is read without room"
            late.release()  # it has none
        with memory.slot() as other:
            assert not other.acquire_now(1), "as much room as before"
    assert memory.taken == 0


# With little of it, aiohttp itself stops reading an answer before that waits for its room.
@pytest.mark.parametrize("buffer_bytes", [1 << 16, 1 << 10])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_answers_that_wait_take_no_memory_until_they_are_read(
    tls, buffer_bytes, tmp_path, monkeypatch
):
    """Of ten answers of 1 MB, one has room; the sockets keep the others."""
    monkeypatch.setattr(asyncio.sslproto.SSLProtocol, "max_size", 1 << 18)  # put back afterwards
    bound_tls_buffers()

    class Watched(SlottedResponse):
        async def _wait_for_room(self, slot):
            waiting.append(self)
            await super()._wait_for_room(slot)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1_000_000)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    context = certificate(tmp_path) if tls else None
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}/"
    waiting: list[SlottedResponse] = []
    memory, may_end, read = AnswerMemory(1_200_000), asyncio.Event(), []
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(
        connector=connector, response_class=Watched, read_bufsize=buffer_bytes
    ) as session:

        async def call() -> None:
            with memory.slot() as slot:
                with slot.reading():
                    async with session.get(url) as response:
                        read.append(len(await response.read()))
                await may_end.wait()

        tasks = [asyncio.create_task(call()) for _ in range(10)]
        async with asyncio.timeout(60):
            while len(waiting) < 10 or not read:  # noqa: ASYNC110 - another's list
                await asyncio.sleep(0.01)
            # Whoever can read more does it now.
            await asyncio.sleep(0.1)
            sizes = sorted(response.content.total_raw_bytes for response in waiting)
            transports = [each.connection.transport for each in waiting if each.connection]
            undecoded = [_undecoded(transport) for transport in transports]
            # A read outside `reading`, such as storage's, has no room to wait for.
            async with session.get(url) as response:
                assert len(await response.read()) == 1_000_000
            may_end.set()
            await asyncio.gather(*tasks)
    await runner.cleanup()
    assert read == [1_000_000] * 10
    assert sizes[-1] == 1_000_000
    assert len(transports) == 9
    # TLS reads what its buffer holds, and decodes all of it.
    assert sizes[-2] <= 3 * (TLS_BUFFER_BYTES if tls else answer_memory.FIRST_READ_BYTES)
    assert max(undecoded) <= 2 * TLS_BUFFER_BYTES


def _undecoded(transport: asyncio.BaseTransport) -> int:
    """Return how many bytes TLS keeps that it has not passed on."""
    of_tls = getattr(transport, "_ssl_protocol", None)
    return of_tls._incoming.pending if of_tls else 0


async def test_a_refusal_is_read_without_waiting(serve):
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=429, body=b"later")

    url, memory = await serve(refuse), AnswerMemory(1000)
    async with (
        aiohttp.ClientSession(response_class=SlottedResponse) as session,
        asyncio.timeout(60),
    ):
        with full(memory), memory.slot() as slot, slot.reading():
            async with session.get(url) as response:
                assert await response.read() == b"later"


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


@pytest.mark.parametrize(
    ("body", "decoded"), [('{"name": "naïve"}', {"name": "naïve"}), ("  ", None), ("", None)]
)
async def test_json_is_decoded_as_aiohttp_does(serve, body, decoded):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body)

    url = await serve(answer)
    for kind in (SlottedResponse, aiohttp.ClientResponse):
        async with (
            aiohttp.ClientSession(response_class=kind) as session,
            session.get(url) as response,
        ):
            assert await response.json(content_type=None) == decoded
            with pytest.raises(aiohttp.ContentTypeError):
                await response.json()


async def test_what_is_no_json_raises_what_aiohttp_raises(serve):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async with (
        aiohttp.ClientSession(response_class=SlottedResponse) as session,
        session.get(await serve(answer)) as response,
    ):
        with pytest.raises(json.JSONDecodeError):
            await response.json(content_type=None)
