"""Ten open pages cost one reading, and none of them waits for ever."""

import asyncio
import threading
import time
from typing import Any

import pytest

from imagen_ops.ui import sharing
from imagen_ops.ui.sharing import Answer, Shared, TroubleError
from tests.conftest import eventually


def test_ten_who_ask_at_once_cost_one_reading() -> None:
    shared, read = Shared(60), []

    def slowly() -> int:
        read.append(threading.current_thread().name)
        time.sleep(0.1)
        return len(read)

    async def ten() -> list[Answer]:
        return await asyncio.gather(*(shared.get("a", 60, slowly) for _ in range(10)))

    assert asyncio.run(ten()) == [Answer(1)] * 10
    assert len(read) == 1
    assert read[0].startswith("imagen-ui"), "not on the event loop"


def test_what_was_read_is_kept_for_as_long_as_was_said() -> None:
    shared, read = Shared(60), []

    def count() -> int:
        read.append(None)
        return len(read)

    def get(key: str, for_s: float) -> Any:
        return asyncio.run(shared.get(key, for_s, count)).data

    assert (get("kept", 60), get("kept", 60)) == (1, 1)
    assert (get("gone", 0), get("gone", 0)) == (2, 3)


def test_trouble_is_told_in_its_words_and_looked_for_again_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharing, "TROUBLE_S", 0.0)
    shared, troubles = Shared(60), [TroubleError("storage is down")]

    def read() -> str:
        if troubles:
            raise troubles.pop()
        return "well again"

    assert asyncio.run(shared.get("a", 60, read)) == Answer(error="storage is down")
    assert asyncio.run(shared.get("a", 60, read)) == Answer("well again")


def test_trouble_is_not_looked_for_by_everybody_at_once() -> None:
    shared, read = Shared(60), []

    def fail() -> None:
        read.append(None)
        raise TroubleError("storage is down")

    answers = [asyncio.run(shared.get("a", 60, fail)) for _ in range(10)]
    assert answers == [Answer(error="storage is down")] * 10
    assert len(read) == 1


def test_a_fault_of_ours_is_told_as_one_and_goes_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fault() -> None:
        raise KeyError("at")

    answer = asyncio.run(Shared(60).get("a", 60, fault))
    assert answer.data is None
    assert answer.error is not None
    assert "KeyError('at')" in answer.error
    assert "the page's part 'a' cannot be read" in caplog.text


def test_who_waits_too_long_is_told_and_the_answer_is_there_for_the_next() -> None:
    shared, go, read = Shared(0.1), threading.Event(), []

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


def test_who_leaves_takes_nothing_from_those_who_stay() -> None:
    shared, go = Shared(60), threading.Event()

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


def test_one_reading_that_hangs_holds_up_no_other() -> None:
    shared, go = Shared(60), threading.Event()

    async def both() -> Answer:
        hangs = asyncio.create_task(shared.get("hangs", 60, lambda: go.wait(60)))
        await asyncio.sleep(0)
        answer = await shared.get("quick", 60, lambda: "here")
        assert not hangs.done()
        go.set()
        await hangs
        return answer

    assert asyncio.run(both()) == Answer("here")
