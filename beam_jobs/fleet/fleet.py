"""Keeps one worker among the busy workers of its job. Nobody waits for it.

Every busy worker reports what it does, and reads how the quotas are split. One of them splits them:
whoever wrote the last split goes on, and if it is gone, anybody takes over. A worker that gets no
answer goes on with the share that it has.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from beam_jobs.fleet.learning import MIN_REFUSED, MIN_SECONDS
from beam_jobs.fleet.member import READ_EVERY_S, Member
from beam_jobs.fleet.report import Report, Usage
from beam_jobs.fleet.split import Split, settle
from beam_jobs.models.base import describe_error

_log = logging.getLogger(__name__)

# A worker reports so often, and is gone if it has not for three times as long. Storage takes some
# 1,000 writes a second in one folder at first
# (https://cloud.google.com/storage/docs/request-rate), which are not all for this.
REPORT_EVERY_S = 4.0
MAX_REPORTS_PER_S = 250.0
GONE_AFTER_REPORTS = 3
# It reports what concerns everybody at once, but not more often than this: Cloud Storage accepts
# one write per second to an object.
MIN_REPORT_S = 1.25
# Another worker splits the quotas if nobody has for so long, plus up to so long again so that not
# all of them do.
TAKE_OVER_AFTER_S = 3 * READ_EVERY_S
TAKE_OVER_JITTER_S = READ_EVERY_S
# A split that is older than this says nothing: nobody has been there since.
FORGOTTEN_AFTER_S = 600.0
# After storage has refused a report, reports are not tried for so long.
REFUSED_FOR_S = 300.0


class NotAllowedError(Exception):
    """Storage lets this worker keep no reports, until somebody changes that."""


class NoAnswerError(Exception):
    """Storage did not answer, or not with what was expected."""


class Stored(NamedTuple):
    """A split as it is stored.

    Args:
        split: its content.
        generation: of the object; "0": there is none.
        age_s: how many seconds old it is, by storage's clock.
    """

    split: Split
    generation: str
    age_s: float


class Store(Protocol):
    """Where the workers of a job tell of each other. Its methods raise this module's errors."""

    async def read(self) -> Stored:
        """Return how the quotas are split."""
        ...

    async def write(self, split: Split, generation: str) -> str | None:
        """Replace a split; return its generation, None if somebody else has replaced it."""
        ...

    async def report(self, usage: Mapping[str, Usage]) -> datetime:
        """Write what this worker does, and return when that was, by storage's clock."""
        ...

    async def reports(self, max_age_s: float) -> Collection[Report]:
        """Return what all workers do that have reported within so many seconds."""
        ...

    async def leave(self) -> None:
        """Remove this worker's report. Raises nothing."""
        ...


class Fleet:
    """One worker among the busy workers of its job. Use it from one event loop only.

    Args:
        store: where they tell of each other.
        name: of this worker.
        rates: calls per second of the quotas that an option sets.
        workers: how many share those evenly, as long as they don't know of each other.
        jitter: returns a number from 0 to 1.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        rates: Mapping[str, float],
        workers: int,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._name = name
        self._rates = rates
        self._workers = workers
        self._jitter = jitter
        self._members: dict[str, Member] = {}
        self._take_over_after_s = TAKE_OVER_AFTER_S + TAKE_OVER_JITTER_S * jitter()
        self._joined = self._told = False
        self._reported_at = float("-inf")
        self._reported: Mapping[str, int] = {}
        self._refused_until = float("-inf")
        self._failing = self._said = False
        self._size = 1
        self._generation = ""

    def member(self, quota: str) -> Member:
        """Return this worker's share of a quota, by the quota's name."""
        if quota not in self._members:
            rate = self._rates.get(quota)
            self._members[quota] = Member(None if rate is None else rate / self._workers)
        return self._members[quota]

    async def run(self) -> None:
        """Report, read, and split for as long as the process runs."""
        await self._guarded(self._begin)
        while True:
            await asyncio.sleep(READ_EVERY_S * (0.9 + 0.2 * self._jitter()))
            await self._guarded(self.step)

    async def step(self) -> None:
        """Do what is due.

        Raises:
            NotAllowedError: storage refuses reports.
            NoAnswerError: storage fails.
        """
        now = self._now()
        if now < self._refused_until:
            return
        if not any(member.is_busy(now) for member in self._members.values()):
            await self.leave()
            return
        stored = await self._read()
        if not (self._joined or self._rates or stored.split.quotas or self._has_refusals()):
            return  # there is nothing to share
        if self._is_report_due():
            await self._report()
        if stored.split.by == self._name or stored.age_s > self._take_over_after_s:
            await self._split(stored)

    async def leave(self) -> None:
        """Leave this worker's shares to the others. Raises nothing."""
        if self._joined:
            self._joined = self._told = False
            for member in self._members.values():
                member.leave(self._now())
            self._generation = ""
            await self._store.leave()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _begin(self) -> None:
        # That it may not is said at the start, and not when there is most to do.
        await self._report()
        if not self._rates:
            await self.leave()  # nobody was refused yet, so that there is nothing to share
        # Those who are there have shares, and this one has none yet.
        await self._read()

    async def _read(self) -> Stored:
        """Read how the quotas are split, and take this worker's shares."""
        stored = await self._store.read()
        if stored.age_s > FORGOTTEN_AFTER_S:
            stored = stored._replace(split=Split())
        # If nobody splits, nobody is busy, and this worker need not wait for its share.
        if self._told or stored.age_s <= self._take_over_after_s:
            self._take(stored)
        return stored

    def _take(self, stored: Stored) -> None:
        """Take this worker's shares from a split."""
        split, now = stored.split, self._now()
        if stored.generation == self._generation:
            return
        self._generation = stored.generation
        self._size = max(1, split.workers)
        for name, member in self._members.items():
            if quota := split.quotas.get(name):
                member.read(quota, split.heard_until, stored.age_s, now)
            elif self._joined:
                member.forget()

    async def _report(self) -> None:
        now = self._now()
        self._reported_at = now
        busy = {name: member for name, member in self._members.items() if member.is_busy(now)}
        usage = {name: member.usage(now) for name, member in busy.items()}
        self._reported = {name: each.version for name, each in usage.items()}
        self._joined = True
        written_at = await self._store.report(usage)
        for name, member in busy.items():
            member.told(usage[name], written_at)
        self._told = bool(busy)

    def _is_report_due(self) -> bool:
        now = self._now()
        since_s = now - self._reported_at
        least_s = max(MIN_REPORT_S, self._size / MAX_REPORTS_PER_S)
        if since_s < least_s or not self._told:
            return since_s >= least_s
        return since_s >= self._report_every_s or any(
            # Whether calls are accepted at a new rate concerns everybody.
            (member.version != self._reported.get(name, 0) and counted_s >= MIN_SECONDS)
            or (member.refused >= MIN_REFUSED and counted_s < self._report_every_s)
            for name, member in self._members.items()
            if name not in self._rates and (counted_s := member.counted_s(now)) > 0
        )

    @property
    def _report_every_s(self) -> float:
        return max(REPORT_EVERY_S, self._size / MAX_REPORTS_PER_S)

    def _has_refusals(self) -> bool:
        return any(member.refused for member in self._members.values())

    async def _split(self, stored: Stored) -> None:
        """Split the quotas among all workers that are there."""
        reports = await self._store.reports(GONE_AFTER_REPORTS * self._report_every_s)
        split = settle(stored.split, reports, self._rates, self._name)
        if generation := await self._store.write(split, stored.generation):
            self._take(Stored(split, generation, 0.0))

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except NotAllowedError as error:
            self._refused_until = self._now() + REFUSED_FOR_S
            self._joined = self._told = False
            for member in self._members.values():
                member.forget()
            if not self._said:
                self._said = True
                _log.error(
                    "the workers of this job cannot know of each other, so that each has an even "
                    "part of --max_requests_per_minute, and learns the models' quotas alone: %s",
                    error,
                )
        except Exception as error:
            # Whatever it is, it costs one try: without this loop, shares would never change again.
            if not self._failing:
                self._failing = True
                text = str(error) if isinstance(error, NoAnswerError) else describe_error(error)
                _log.warning("quotas stay split as they are for now: %s", text[:500])
        else:
            self._failing = False
