"""The gate that holds a model's prompts back while the model refuses all of them."""

import asyncio
import time

import pytest
import pytest_asyncio

from beam_jobs.engine import model_gate
from beam_jobs.engine.model_gate import CLOSE_AFTER, ModelGate, wait_for_any
from beam_jobs.models.base import error_from_status

pytestmark = pytest.mark.asyncio
GONE = "model answered 404: NOT_FOUND"


def gone():
    return error_from_status(404, "NOT_FOUND")


@pytest.fixture
def gate():
    return ModelGate("gemini-x", first_probe_s=0.05)


@pytest_asyncio.fixture
async def closed(gate):
    for _ in range(CLOSE_AFTER):
        gate.refused(gone())
    return gate


@pytest_asyncio.fixture
async def patient():
    """A closed gate that nobody is to try soon."""
    gate = ModelGate("gemini-x", first_probe_s=60.0)
    for _ in range(CLOSE_AFTER):
        gate.refused(gone())
    return gate


async def waited_s(gate, seconds=5.0):
    start = time.monotonic()
    await wait_for_any([gate], seconds)
    return time.monotonic() - start


async def test_a_prompt_that_is_refused_among_others_that_are_not_closes_nothing(gate):
    for _ in range(3 * CLOSE_AFTER):
        gate.refused(gone())
        gate.answered()
    assert not gate.closed
    assert await waited_s(gate) < 0.04


async def test_refusals_in_a_row_close_it_and_say_why(closed, caplog):
    assert closed.closed
    assert (closed.hold.model, closed.hold.detail) == ("gemini-x", GONE)


async def test_a_closed_gate_is_asked_for_while_prompts_wait_or_were_just_refused(
    patient, monkeypatch
):
    assert patient.asked_for
    monkeypatch.setattr(model_gate, "MAX_PROBE_S", 0.0)
    assert not patient.asked_for, "nobody waits, and the last refusal is long ago"
    waiting = asyncio.create_task(wait_for_any([patient], 30.0))
    await asyncio.sleep(0)
    assert patient.asked_for
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not patient.asked_for
    assert patient.closed


async def test_of_many_that_wait_one_tries_at_a_time(closed):
    tries = []

    async def prompt():
        while closed.closed:
            if await wait_for_any([closed], 5.0):
                tries.append(time.monotonic())
                closed.refused(gone())
                if len(tries) == 3:
                    closed.answered()

    await asyncio.wait_for(asyncio.gather(*(prompt() for _ in range(200))), 5)
    assert len(tries) == 3
    # 0.05 s, then twice as long after each refusal.
    assert tries[1] - tries[0] > 0.08
    assert tries[2] - tries[1] > 0.16


async def test_a_try_whose_answer_takes_long_does_not_stop_the_next_one(closed):
    # The first one's call hangs. On a busy machine it may have hung for a while before it is noted.
    assert await waited_s(closed) + await waited_s(closed) >= 0.08
    assert closed.closed


async def test_one_answer_lets_all_go_on(patient):
    waiting = [asyncio.create_task(waited_s(patient, 60.0)) for _ in range(50)]
    await asyncio.sleep(0.01)
    patient.answered()
    await asyncio.wait_for(asyncio.gather(*waiting), 1.0)
    assert patient.hold is None


async def test_nobody_waits_longer_than_asked(patient):
    assert 0.09 < await waited_s(patient, 0.1) < 1.0


async def test_those_that_wait_try_in_turn_so_one_that_is_refused_holds_up_nobody(closed):
    order = []

    async def prompt(name):
        while len(order) < 6:
            if await wait_for_any([closed], 5.0):
                order.append(name)
                closed._probe_s = 0.01  # not longer each time
                closed.refused(gone())

    waiting = [asyncio.create_task(prompt(name)) for name in "abc"]
    await asyncio.wait(waiting, timeout=5.0)
    assert order[:6] == list("abcabc")


async def test_a_try_that_nobody_waits_for_is_the_next_prompts(closed):
    assert not closed.may_try()
    await asyncio.sleep(0.1)
    assert closed.may_try()
    assert not closed.may_try(), "one at a time"


async def test_prompts_that_no_longer_wait_leave_nothing_behind(patient):
    other = ModelGate("gemini-y")
    waiting = [asyncio.create_task(wait_for_any([patient, other], 5.0)) for _ in range(10)]
    abandoned = [asyncio.create_task(wait_for_any([patient], 5.0)) for _ in range(10)]
    await asyncio.gather(*waiting)
    await asyncio.sleep(0)
    assert len(patient._waiting) == 10
    for task in abandoned:
        task.cancel()
    await asyncio.gather(*abandoned, return_exceptions=True)
    assert not patient._waiting


async def test_equal_prompts_that_share_a_refusal_do_not_close_it(gate):
    shared = gone()
    for _ in range(2 * CLOSE_AFTER):
        gate.refused(shared)
    assert not gate.closed
