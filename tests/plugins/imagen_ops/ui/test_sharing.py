"""Ten open pages cost one read, and none of them waits forever."""

import asyncio
import threading
import time
from typing import Any

import pytest

from imagen_ops.ui import sharing
from imagen_ops.ui.sharing import Answer, ReadError, SharedReads
from imagen_ops.ui.turns import Turns
from tests.conftest import eventually


def shared_reads(timeout_s: float, threads: int = 4) -> SharedReads:
    turns = Turns("imagen-ui", threads=threads, waiting=8, user_threads=threads, user_waiting=8)
    return SharedReads(timeout_s, turns)


def test_ten_simultaneous_requests_cost_one_read() -> None:
    shared, read = shared_reads(60), []

    def slowly() -> int:
        read.append(threading.current_thread().name)
        time.sleep(0.1)
        return len(read)

    async def ten() -> list[Answer]:
        return await asyncio.gather(*(shared.get("a", 60, slowly) for _ in range(10)))

    assert asyncio.run(ten()) == [Answer(1)] * 10
    assert len(read) == 1
    assert read[0].startswith("imagen-ui"), "not on the event loop"


def test_an_answer_is_cached_for_its_time_to_live() -> None:
    shared, read = shared_reads(60), []

    def count() -> int:
        read.append(None)
        return len(read)

    def get(key: str, for_s: float) -> Any:
        return asyncio.run(shared.get(key, for_s, count)).data

    assert (get("kept", 60), get("kept", 60)) == (1, 1)
    assert (get("gone", 0), get("gone", 0)) == (2, 3)


def test_an_error_is_reported_as_it_is_and_retried_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharing, "ERROR_TTL_S", 0.0)
    shared, troubles = shared_reads(60), [ReadError("storage is down")]

    def read() -> str:
        if troubles:
            raise troubles.pop()
        return "well again"

    assert asyncio.run(shared.get("a", 60, read)) == Answer(
        error="storage is down", cause="storage"
    )
    assert asyncio.run(shared.get("a", 60, read)) == Answer("well again")


def test_an_error_is_shared_too() -> None:
    shared, read = shared_reads(60), []

    def fail() -> None:
        read.append(None)
        raise ReadError("storage is down")

    answers = [asyncio.run(shared.get("a", 60, fail)) for _ in range(10)]
    assert answers == [Answer(error="storage is down", cause="storage")] * 10
    assert len(read) == 1


def test_an_internal_error_says_so_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fault() -> None:
        raise KeyError("at")

    answer = asyncio.run(shared_reads(60).get("a", 60, fault))
    assert answer.data is None
    assert answer.error is not None
    assert "KeyError: 'at'" in answer.error
    assert "Cannot read 'a' for the page" in caplog.text


def test_a_request_that_times_out_says_so_and_the_next_one_gets_the_answer() -> None:
    shared, go, read = shared_reads(0.1), threading.Event(), []

    def wait() -> str:
        read.append(None)
        go.wait(60)
        return "at last"

    started = time.monotonic()
    answer = asyncio.run(shared.get("a", 60, wait))
    assert time.monotonic() - started < 30
    assert answer.error is not None
    assert "has not answered within 0.1 s" in answer.error
    go.set()
    eventually(lambda: asyncio.run(shared.get("a", 600, wait)) == Answer("at last"))
    assert len(read) == 1


def test_a_cancelled_request_does_not_cancel_the_others() -> None:
    shared, go = shared_reads(60), threading.Event()

    def wait() -> str:
        go.wait(60)
        return "here"

    async def two() -> Answer:
        leaves = asyncio.create_task(shared.get("a", 60, wait))
        stays = asyncio.create_task(shared.get("a", 60, wait))
        await asyncio.sleep(0.05)
        leaves.cancel()
        await asyncio.sleep(0.05)
        go.set()
        return await stays

    assert asyncio.run(two()) == Answer("here")


def test_a_read_that_hangs_does_not_hold_up_others() -> None:
    shared, go = shared_reads(60), threading.Event()

    async def both() -> Answer:
        hangs = asyncio.create_task(shared.get("hangs", 60, lambda: go.wait(60)))
        await asyncio.sleep(0)
        answer = await shared.get("quick", 60, lambda: "here")
        assert not hangs.done()
        go.set()
        await hangs
        return answer

    assert asyncio.run(both()) == Answer("here")
