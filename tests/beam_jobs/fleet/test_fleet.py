"""Workers of a job share quotas and learn them together: the real code, in virtual time."""

import asyncio
import logging
import random
import statistics

import pytest

from beam_jobs.fleet.fleet import NotAllowedError
from tests.beam_jobs.fleet.simulation import Bucket, Service, SimulatedStore, Worker
from tests.virtual_time import run

PER_S = 20.0
# Within so many seconds of a change, shares have settled.
SETTLED_S = 30


@pytest.fixture(autouse=True)
def _repeatable():
    """The limiter and the shared quota draw from the common source of chance."""
    random.seed(1)


async def busy(workers, *, idle=()):
    for worker in workers:
        worker.start()
        if worker not in idle:
            worker.busy.set()
    await asyncio.sleep(SETTLED_S)


def of_a_job(service, bucket, count=4, **settings):
    settings = {"per_minute": 60 * PER_S, "workers": count, "in_flight": 64, **settings}
    return [Worker(f"w{number}", service, bucket, **settings) for number in range(count)]


def test_a_jobs_rate_goes_to_who_is_busy_whoever_comes_and_dies():
    async def scenario():
        # As tight a quota as the rate: what exceeds it is refused.
        service, bucket = Service(lambda _: PER_S, latency_s=2.0), Bucket()
        workers = of_a_job(service, bucket)
        await busy(workers, idle=workers[1:])
        await asyncio.sleep(60)
        for worker in workers:
            worker.busy.set()
        await asyncio.sleep(90)
        workers[0].kill()
        await asyncio.sleep(90)
        return service, bucket, workers

    service, _, workers = run(scenario())
    for change in (0, 90, 180):
        begin, end = change + SETTLED_S, change + 90
        assert service.rate(begin, end) / PER_S >= 0.97, change
        assert service.refused(begin, end) <= 0.02, change
    assert service.refused(0, 270) <= 0.02
    for worker in workers:
        assert service.rate(120, 180, worker.name) == pytest.approx(PER_S / 4, rel=0.1)
    for worker in workers[1:]:
        assert service.rate(210, 270, worker.name) == pytest.approx(PER_S / 3, rel=0.1)


def test_the_rate_of_a_job_is_never_exceeded_whatever_workers_do():
    async def scenario():
        service, bucket = Service(latency_s=2.0), Bucket()
        workers = of_a_job(service, bucket, 8)
        await busy(workers[:1])
        for worker in workers[1:]:
            await busy([worker])
        for worker in workers[4:]:
            worker.busy.clear()
            await asyncio.sleep(9)
        for number, worker in enumerate(workers[1:4]):
            worker.kill()
            workers[4 + number].busy.set()
            await asyncio.sleep(7 * number)
        await asyncio.sleep(60)
        return service

    service = run(scenario())
    last = int(service.calls[-1][0])
    # A second's worth may start at once.
    assert max(service.rate(at, at + 10) for at in range(last - 10)) <= 1.12 * PER_S


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.full)])
def test_eight_workers_learn_an_unknown_quota_together(seed):
    async def scenario():
        service, bucket = Service(lambda _: PER_S, seed=seed), Bucket()
        await busy(of_a_job(service, bucket, 8, per_minute=None))
        await asyncio.sleep(240)
        return service

    service = run(scenario())
    begin, end = SETTLED_S, SETTLED_S + 240
    assert service.rate(begin, end) / PER_S >= 0.95
    assert service.refused(begin, end) <= 0.03
    assert max(service.rate(begin, end, f"w{n}") for n in range(8)) <= 1.15 * PER_S / 8


@pytest.mark.slow
def test_a_learned_quota_that_changes_is_followed():
    async def scenario():
        service = Service(lambda at: PER_S / 2 if 90 <= at < 180 else PER_S, latency_s=2.0)
        await busy(of_a_job(service, Bucket(), 4, per_minute=None))
        await asyncio.sleep(270)
        return service

    # How soon a worker dares to ask for more is chance: of 16 runs, one had 4.9 % refused.
    services = [run(scenario()) for _ in range(5)]
    halved = [service.rate(90 + SETTLED_S, 180) / (PER_S / 2) for service in services]
    refused = [service.refused(90 + SETTLED_S, 180) for service in services]
    whole = [service.rate(180 + 2 * SETTLED_S, 300) / PER_S for service in services]
    assert statistics.mean(halved) >= 0.95
    assert statistics.mean(refused) <= 0.04
    assert statistics.mean(whole) >= 0.95


def test_a_worker_that_gets_no_answer_goes_on_with_its_share(caplog):
    async def scenario():
        service, bucket = Service(latency_s=2.0), Bucket()
        await busy(of_a_job(service, bucket))
        bucket.down = True
        await asyncio.sleep(120)
        bucket.down = False
        await asyncio.sleep(60)
        return service

    service = run(scenario())
    for begin in range(30, 200, 10):
        assert service.rate(begin, begin + 10) == pytest.approx(PER_S, rel=0.1), begin
    warnings = [each for each in caplog.messages if "quotas stay split" in each]
    assert len(warnings) == 4, "one for each worker"


class Forbidden(SimulatedStore):
    async def report(self, usage):
        await self._bucket.request("report")
        raise NotAllowedError("403 storage.objects.create")


def test_an_error_that_nobody_expects_costs_one_try(caplog):
    async def scenario():
        service, bucket = Service(latency_s=2.0), Bucket()
        workers = of_a_job(service, bucket, 2)
        await busy(workers[:1])
        read, tries = workers[0].fleet._store.read, iter([RuntimeError("session is closed")])

        async def broken():
            for error in tries:
                raise error
            return await read()

        workers[0].fleet._store.read = broken
        await busy(workers[1:])
        return service

    service = run(scenario())
    assert service.rate(45, 60, "w0") == pytest.approx(PER_S / 2, rel=0.1)
    assert len([each for each in caplog.messages if "session is closed" in each]) == 1


def test_workers_that_may_not_tell_of_each_other_split_evenly_and_say_so(caplog):
    async def scenario():
        service, bucket = Service(latency_s=2.0), Bucket()
        workers = of_a_job(service, bucket)
        for worker in workers:
            worker.fleet._store = Forbidden(bucket, worker.name)
        await busy(workers[:1])
        first = service.rate(10, 30)
        await busy(workers[1:])
        return service, first, bucket

    caplog.set_level(logging.ERROR)
    service, first, bucket = run(scenario())
    assert first == pytest.approx(PER_S / 4, rel=0.1)
    assert service.rate(40, 60) == pytest.approx(PER_S, rel=0.1)
    assert len([each for each in caplog.messages if "--max_requests_per_minute" in each]) == 4
    assert bucket.requests["report"] == 4, "and does not try again at once"


def test_leases_of_last_year_and_a_forgotten_split_count_for_nothing():
    async def scenario():
        bucket = Bucket()
        service = Service(lambda _: PER_S, latency_s=2.0)
        before = of_a_job(service, bucket, 8)
        await busy(before)
        for worker in before:
            worker.kill()
        await asyncio.sleep(365 * 24 * 3600)
        begin = asyncio.get_running_loop().time()
        after = Worker("new", service, bucket, workers=8, per_minute=60 * PER_S)
        await busy([after])
        return service, begin

    service, begin = run(scenario())
    assert service.rate(begin + 10, begin + 30) / PER_S >= 0.97


def test_idle_workers_cost_nothing():
    async def scenario():
        bucket = Bucket()
        workers = of_a_job(Service(latency_s=2.0), bucket)
        await busy(workers)
        for worker in workers:
            worker.busy.clear()
        await asyncio.sleep(60)
        before = dict(bucket.requests)
        await asyncio.sleep(600)
        return before, bucket

    before, bucket = run(scenario())
    assert bucket.requests == before
    assert bucket.reports == {}


def test_a_single_prompt_now_and_then_waits_for_nobody():
    async def scenario():
        service, bucket = Service(latency_s=1.0), Bucket()
        (worker,) = of_a_job(service, bucket, 1, workers=4)
        worker._add(worker.fleet.run())
        waited = []
        for _ in range(20):
            await asyncio.sleep(61)
            async with worker.limiter.slot() as slot:
                waited.append(slot.throttled_s)
        return waited

    assert max(run(scenario())) <= 0.3


def test_without_a_quota_to_share_a_worker_only_reads():
    async def scenario():
        bucket = Bucket()
        await busy(of_a_job(Service(latency_s=2.0), bucket, per_minute=None))
        return bucket

    bucket = run(scenario())
    # But for the one at the start, which shows whether it may.
    assert (bucket.requests["report"], set(bucket.requests)) == (4, {"report", "read", "delete"})


def test_what_a_busy_worker_costs_an_hour():
    """As docs/decisions says: at most 0.007 USD, and 0.02 USD for the one that splits."""

    async def scenario():
        bucket = Bucket()
        await busy(of_a_job(Service(latency_s=2.0), bucket, 2, in_flight=32))
        bucket.requests.clear()
        await asyncio.sleep(300)
        return bucket

    requests = run(scenario()).requests
    hourly = {kind: 12 * count for kind, count in requests.items()}
    assert (hourly["report"] * 5 + hourly["read"] * 0.4) / 1e6 / 2 <= 0.007
    assert (hourly["list"] + hourly["write"]) * 5 / 1e6 <= 0.021


@pytest.mark.slow
@pytest.mark.full
def test_fifty_workers_share_a_rate():
    async def scenario():
        service, bucket = Service(latency_s=10.0), Bucket()
        await busy(of_a_job(service, bucket, 50, in_flight=8))
        await asyncio.sleep(60)
        return service, bucket

    service, bucket = run(scenario())
    assert 0.95 <= service.rate(30, 90) / PER_S <= 1.02
    assert bucket.requests["list"] <= 90, "one splits, not all"
