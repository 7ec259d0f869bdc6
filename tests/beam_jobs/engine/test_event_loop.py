"""Threads hand their work to one loop, and get its results and errors."""

import asyncio
import threading

import pytest

from beam_jobs.engine.event_loop import EventLoopThread


def test_work_of_several_threads_runs_side_by_side_on_one_loop():
    loop = EventLoopThread("test-loop")
    threads = set()
    everybody = asyncio.Barrier(3)

    async def work(number):
        threads.add(threading.current_thread().name)
        await everybody.wait()  # none ends before all have started
        return number

    results = {}
    callers = [
        threading.Thread(target=lambda n=n: results.update({n: loop.run(work(n))}))
        for n in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert results == {0: 0, 1: 1, 2: 2}
    assert threads == {"test-loop"}


def test_an_error_reaches_who_waits_for_the_result():
    async def fail():
        raise LookupError("not here")

    with pytest.raises(LookupError, match="not here"):
        EventLoopThread("test-loop").run(fail())
