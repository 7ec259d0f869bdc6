"""When nothing more is paid for because storage refuses every write."""

import asyncio
import logging

import pytest

from beam_jobs.images import write_gate
from beam_jobs.images.write_gate import WriteGate

pytestmark = pytest.mark.asyncio


class Storage:
    """Accepts a write from attempt number `from_attempt` on; an attempt is one call of `probe`."""

    def __init__(self, from_attempt=1):
        self.gate = WriteGate(self.probe)
        self.attempts = self.at_once = 0
        self.from_attempt = from_attempt

    async def probe(self):
        self.attempts += 1
        self.at_once += 1
        assert self.at_once == 1, "two attempts at once"
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.attempts >= self.from_attempt:
            self.gate.accepted()
        else:
            self.gate.refused("no")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(write_gate, "QUIET_S", 0.0)
    monkeypatch.setattr(write_gate, "LOG_AFTER_S", 0.05)
    monkeypatch.setattr(write_gate, "PROBE_EVERY_S", 0.03)


async def test_nobody_waits_while_writes_are_accepted():
    storage = Storage()
    await storage.gate.wait()
    storage.gate.accepted()
    await storage.gate.wait()
    assert (storage.gate.closed, storage.attempts) == (False, 0)


async def test_a_refusal_among_accepted_writes_holds_nothing_back(monkeypatch):
    monkeypatch.setattr(write_gate, "QUIET_S", 60.0)
    storage = Storage()
    storage.gate.accepted()
    storage.gate.refused("no")
    assert not storage.gate.closed


async def test_the_first_refusal_holds_everything_back_until_a_write_is_accepted():
    storage = Storage(from_attempt=10**9)
    storage.gate.refused("no")
    waiting = [asyncio.create_task(storage.gate.wait()) for _ in range(20)]
    done, _ = await asyncio.wait(waiting, timeout=0.1)
    assert not done
    storage.from_attempt = 0  # or an attempt that is under way is refused after this
    storage.gate.accepted()
    await asyncio.wait_for(asyncio.gather(*waiting), 10)


async def test_of_those_who_wait_one_tries_now_and_then():
    storage = Storage(from_attempt=4)
    storage.gate.refused("no")
    await asyncio.wait_for(asyncio.gather(*(storage.gate.wait() for _ in range(20))), 10)
    assert storage.attempts == 4


async def test_the_log_says_once_that_storage_refuses_and_once_that_it_is_over(caplog):
    caplog.set_level(logging.INFO)
    storage = Storage(from_attempt=8)
    storage.gate.refused("the key is disabled")
    await asyncio.gather(*(storage.gate.wait() for _ in range(20)))
    storage.gate.accepted()
    refuses, over = [record.getMessage() for record in caplog.records]
    assert "refused every write" in refuses
    assert "nothing more is paid for, and prompts wait" in refuses
    assert over.startswith("storage accepts writes again")


async def test_what_a_retry_survives_is_not_worth_a_line(caplog):
    caplog.set_level(logging.INFO)
    gate = Storage().gate
    gate.refused("no")
    gate.accepted()
    assert caplog.records == []
