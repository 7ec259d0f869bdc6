"""Workers with the real limiter, quota, and fleet, and a simulated model and storage.

All in virtual time, and repeatable: an hour of 1,000 workers takes minutes.
"""

import asyncio
import contextlib
import dataclasses
import math
import random
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta

from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.shared_quota import SharedQuota
from beam_jobs.fleet.fleet import Fleet, NoAnswerError, Stored
from beam_jobs.fleet.report import Report, Usage, from_text, to_text
from beam_jobs.fleet.split import Split

START = datetime(2026, 11, 1, tzinfo=UTC)
JOB, MODEL = "job", "model"


def now() -> float:
    return asyncio.get_running_loop().time()


class Service:
    """A model with a quota: a token bucket with a burst of one second, as the stand-in has it.

    Args:
        per_second: its quota at a time.
        latency_s: typical seconds for an accepted call.
        noise: share of the other calls that is refused too.
    """

    def __init__(
        self,
        per_second: Callable[[float], float] = lambda _: math.inf,
        *,
        latency_s: float = 10.0,
        noise: float = 0.0,
        seed: int = 1,
    ) -> None:
        self._per_second = per_second
        self._latency_s = latency_s
        self._noise = noise
        self._chance = random.Random(seed)
        self._tokens, self._filled_at = 0.0, 0.0
        # When each call started, whose it was, and whether it was accepted.
        self.calls: list[tuple[float, str, bool]] = []

    async def call(self, worker: str) -> bool:
        """Take as long as a call does; return whether it was accepted."""
        rate = self._per_second(now())
        passed, self._filled_at = now() - self._filled_at, now()
        if math.isinf(rate):
            accepted = True
        else:
            self._tokens = min(max(1.0, rate), self._tokens + passed * rate)
            accepted = self._tokens >= 1
            self._tokens -= accepted
        accepted &= self._chance.random() >= self._noise
        self.calls.append((now(), worker, accepted))
        typical = self._latency_s if accepted else 0.05
        await asyncio.sleep(typical * self._chance.uniform(0.8, 1.2))
        return accepted

    def rate(self, begin: float, end: float, worker: str = "") -> float:
        """Return the accepted calls per second between two times."""
        of_one = self._between(begin, end, worker)
        return sum(accepted for _, _, accepted in of_one) / (end - begin)

    def refused(self, begin: float, end: float) -> float:
        """Return the share of calls that were refused between two times."""
        calls = self._between(begin, end, "")
        return sum(not accepted for _, _, accepted in calls) / max(1, len(calls))

    def _between(self, begin: float, end: float, worker: str) -> list[tuple[float, str, bool]]:
        return [each for each in self.calls if begin <= each[0] < end and worker in ("", each[1])]


@dataclasses.dataclass
class Bucket:
    """Storage as the workers of a job see it, by its own clock.

    Attributes:
        latency_s: of each request.
        down: whether requests get no answer.
        requests: how many there were, by kind.
    """

    latency_s: float = 0.05
    down: bool = False
    split: bytes = b""
    generation: int = 0
    written_at: datetime = START
    reports: dict[str, tuple[str, datetime]] = dataclasses.field(default_factory=dict)
    requests: dict[str, int] = dataclasses.field(default_factory=dict)

    async def request(self, kind: str) -> datetime:
        """Take as long as a request does, and return the time of storage's clock."""
        self.requests[kind] = self.requests.get(kind, 0) + 1
        await asyncio.sleep(self.latency_s)
        if self.down:
            await asyncio.sleep(10)
            raise NoAnswerError("storage is down")
        return self.clock()

    def clock(self) -> datetime:
        return START + timedelta(seconds=now())


class SimulatedStore:
    """The bucket, for one worker."""

    def __init__(self, bucket: Bucket, worker: str) -> None:
        self._bucket = bucket
        self._worker = worker

    async def read(self) -> Stored:
        at = await self._bucket.request("read")
        bucket = self._bucket
        if not bucket.generation:
            return Stored(Split(), "0", math.inf)
        # Storage tells both times in whole seconds.
        age = at.replace(microsecond=0) - bucket.written_at.replace(microsecond=0)
        return Stored(Split.from_json(bucket.split), str(bucket.generation), age.total_seconds())

    async def write(self, split: Split, generation: str) -> str | None:
        at = await self._bucket.request("write")
        bucket = self._bucket
        if generation != str(bucket.generation):
            return None
        bucket.split, bucket.written_at = split.to_json(), at
        bucket.generation += 1
        return str(bucket.generation)

    async def report(self, usage: Mapping[str, Usage]) -> datetime:
        at = await self._bucket.request("report")
        self._bucket.reports[self._worker] = (to_text(usage), at)
        return at

    async def reports(self, max_age_s: float) -> Collection[Report]:
        at = await self._bucket.request("list")
        oldest = at - timedelta(seconds=max_age_s)
        return [
            Report(from_text(text), written_at)
            for text, written_at in self._bucket.reports.values()
            if written_at >= oldest
        ]

    async def leave(self) -> None:
        await self._bucket.request("delete")
        self._bucket.reports.pop(self._worker, None)


class Worker:
    """One worker with as many prompts as it can take, while it has any.

    Args:
        name: its name.
        service: makes images.
        bucket: where the workers tell of each other.
        workers: of the job, at most.
        per_minute: the job's rate; None: none.
        in_flight: maximum calls in flight.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        bucket: Bucket,
        *,
        workers: int,
        per_minute: float | None = None,
        in_flight: int = 512,
    ) -> None:
        self.name = name
        self._service = service
        chance = random.Random(name)
        rates = {} if per_minute is None else {JOB: per_minute / 60}
        self.fleet = Fleet(
            SimulatedStore(bucket, name),
            name,
            rates=rates,
            workers=workers,
            jitter=chance.random,
        )
        job = SharedQuota(self.fleet.member(JOB), catch_up_s=1.0) if rates else None
        model = SharedQuota(self.fleet.member(MODEL))
        self.limiter = AdaptiveLimiter(in_flight, quota=model, job_rate=job)
        self._in_flight = in_flight
        self.busy = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._chance = chance

    def start(self) -> "Worker":
        self._add(self.fleet.run())
        for _ in range(self._in_flight):
            self._add(self._prompts())
        return self

    def kill(self) -> None:
        """End it, as a machine does that is switched off."""
        for task in self._tasks:
            task.cancel()

    def _add(self, coroutine) -> None:
        self._tasks.add(asyncio.create_task(coroutine))

    async def _prompts(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await self.busy.wait()
                attempts = 0
                while True:
                    async with self.limiter.slot() as slot:
                        accepted = await self._service.call(self.name)
                    if accepted:
                        self.limiter.succeeded()
                        break
                    self.limiter.over_quota(slot.started_at)
                    # As `engine.backoff`.
                    await asyncio.sleep(self._chance.uniform(0.5, 1.0) * min(30.0, 2.0**attempts))
                    attempts += 1
