"""What a worker process may pay for: nothing is paid without a lease that a ledger confirms.

A process leases a part of what is left of a budget, pays from it, and asks for the next part. The
parts become smaller as less is left, and what a process doesn't need it gives back. It notes
what it spends before it pays, so that others can take back what it had leased and not noted when it
died.
"""

import asyncio
import dataclasses
import logging
import random
import time
from datetime import UTC, datetime, timedelta

from beam_jobs.config.budgets import Budget
from beam_jobs.engine.backoff import backoff
from beam_jobs.engine.holding import Holding
from beam_jobs.engine.ledger import Ledger, Share, Shares
from beam_jobs.engine.spending_log import (
    DEAD_AFTER_S,
    LogClosedError,
    mark_as_retrieved,
)
from beam_jobs.images.requests import StoreError
from beam_jobs.models.base import CallError, Retry
from beam_jobs.outcomes import Reason

_log = logging.getLogger(__name__)

# One write per second to the same object: https://cloud.google.com/storage/quotas#objects. All
# workers together, as far as their clocks agree; where they don't, 429 makes them wait.
WRITE_EVERY_S = 1.0
# A lease that nobody has used for so long is given back.
IDLE_S = 5.0
# While others have leases, they may give something back, which takes them a little over IDLE_S, or
# turn out to be dead.
GIVE_BACK_WAIT_S = DEAD_AFTER_S + 10.0
# A budget that is used up is looked at again after so long: others may have given something back.
LOOK_AGAIN_S = 60.0
# A part is what is left, divided by this and the number of workers.
PARTS_PER_WORKER = 4
# At most so many images per call in flight, so that a process that dies loses little.
MOST_PER_CALL = 4


class Lease:
    """What this process may pay for from one ledger. Use it from one event loop only.

    Args:
        ledger: counts what all processes may pay for.
        budget: how much that is.
        workers: how many processes share it, at most.
        max_in_flight: maximum concurrent model calls of this process.
        max_retry_s: how many seconds a failing request is retried.
    """

    def __init__(
        self,
        ledger: Ledger,
        budget: Budget,
        *,
        workers: int,
        max_in_flight: int,
        max_retry_s: float,
    ) -> None:
        self.budget = budget
        self._ledger = ledger
        self._parts = PARTS_PER_WORKER * workers
        self._most = MOST_PER_CALL * max_in_flight * budget.unit.per_image
        self._max_retry_s = max_retry_s
        self._logs = ledger.logs
        self._holding = Holding(self._logs, max_retry_s)
        self._wanted = 0
        self._used_up_until = float("-inf")
        self._written_at = float("-inf")
        self._used_at = float("-inf")
        # One request at a time.
        self._lock = asyncio.Lock()
        self._request: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def spend(self, amount: int) -> None:
        """Take so much from the budget, before it is paid for.

        Raises:
            CallError: the budget is used up.
            StoreError: storage failed until the time for retries was over.
        """
        while True:
            if self._holding.available < amount:
                await self._wait_for(amount)
            holding = self._holding
            holding.spent += amount
            self._used()
            try:
                await holding.log.note()
            except LogClosedError:
                # Others have taken this process for dead. What is under way was noted in time; this
                # call was not.
                if self._holding is holding:
                    _log.warning("%s: this process is taken for dead, and leases anew", self)
                    self._holding = Holding(self._logs, self._max_retry_s)
            except BaseException:
                holding.spent -= amount
                raise
            else:
                return

    def refund(self, amount: int) -> None:
        """Put back what was not paid for after all; below 0 for what was paid for beyond that."""
        # After a new beginning, it was spent under the name before. The budget holds all the same.
        self._holding.spent -= amount
        self._used()

    async def give_back(self) -> bool:
        """Return to the ledger what is not spent; return False if that failed. Raises nothing.

        What could not be given back is lost to others, and to this process until it wants more.
        """
        async with self._lock:
            # Before the write, so that nobody here spends what others may get.
            holding = self._holding
            holding.leased = min(holding.leased, holding.spent)
            try:
                # Whoever wants more writes anyway.
                while not self._wanted and holding.noted != Share(holding.spent, holding.spent):
                    await self._wait_to_write()
                    if await self._write(holding, await self._ledger.read(), holding.leased):
                        break
                    await _pause(WRITE_EVERY_S)
            except Exception as error:  # also what a session says that is closed meanwhile
                _log.warning("%s: what is not spent cannot be given back: %s", self, error)
                return False
        return True

    def __str__(self) -> str:
        return f"the budget of {self.budget.option} ({self._ledger.url})"

    async def _wait_for(self, amount: int) -> None:
        self._wanted += amount
        try:
            while self._holding.available < amount:
                if time.monotonic() < self._used_up_until:
                    raise self._over(amount)
                if self._request is None or self._request.done():
                    self._request = asyncio.create_task(self._lease())
                    self._request.add_done_callback(mark_as_retrieved)
                # All who wait get what one request brings, or its error.
                await asyncio.shield(self._request)
        finally:
            self._wanted -= amount

    async def _lease(self) -> None:
        """Lease a part of the budget, or note that it is used up.

        Raises:
            StoreError: the ledger could not be read or written.
        """
        async with self._lock:
            failing_since: float | None = None
            waiting_since = time.monotonic()
            attempts = overtaken = 0
            holding = self._holding
            while True:
                try:
                    await self._wait_to_write()
                    shares = await self._ledger.read()
                    if (recently_s := _age_s(shares)) < WRITE_EVERY_S:
                        await asyncio.sleep(WRITE_EVERY_S - recently_s)
                        await _pause(WRITE_EVERY_S / 4)
                        shares = await self._ledger.read()
                    if not holding.log.is_open:
                        # Before anything is leased, so that it comes back whenever this one dies.
                        await holding.log.note()
                    most = self.budget.amount - shares.leased_by_others(holding.worker)
                    if most <= holding.leased:
                        shares, may_come = await self._without_the_dead(holding, shares)
                        most = self.budget.amount - shares.leased_by_others(holding.worker)
                    if most <= holding.leased:
                        if may_come and time.monotonic() < waiting_since + GIVE_BACK_WAIT_S:
                            await _pause(2 * WRITE_EVERY_S)
                            continue
                        self._used_up_until = time.monotonic() + LOOK_AGAIN_S
                        all_of_it = self.budget.unit.text(self.budget.amount)
                        _log.warning("%s is used up: %s", self, all_of_it)
                        return
                    guided = min((most - holding.leased) // self._parts, self._most)
                    part = max(self._wanted - holding.available, guided, 1)
                    leased = min(holding.leased + part, most)
                    if await self._write(holding, shares, leased):
                        holding.leased = leased
                        return
                except LogClosedError:
                    self._holding = holding = Holding(self._logs, self._max_retry_s)
                except StoreError as error:
                    failing_since = failing_since or time.monotonic()
                    remaining_s = failing_since + self._max_retry_s - time.monotonic()
                    pause = backoff(attempts, error.retry_after_s, remaining_s)
                    if pause is None or not error.transient:
                        self._used()  # what may have been leased all the same is given back
                        raise StoreError(
                            f"nothing is paid for while {self} cannot be kept: {error}",
                            transient=error.transient,
                        ) from error
                    attempts += 1
                    await asyncio.sleep(pause)
                else:
                    overtaken += 1
                    await _pause(min(WRITE_EVERY_S * 2**overtaken, 8 * WRITE_EVERY_S))

    async def _without_the_dead(self, holding: Holding, shares: Shares) -> tuple[Shares, bool]:
        """Return the shares without what the dead had leased and not spent.

        Returns:
            The shares, and whether others still have something that they may give back.

        Raises:
            StoreError: the logs cannot be read.
        """
        notes = await self._logs.newest()
        by_worker = dict(shares.by_worker)
        may_come = False
        for worker, share in shares.by_worker.items():
            if worker == holding.worker or share.leased <= share.spent:
                continue
            # Older versions, and what Airflow has ordered from batch inference, keep no log.
            note = notes.get(worker)
            if note and note.is_of_the_dead and await self._logs.close(worker, note):
                by_worker[worker] = Share(note.spent, note.spent)
                back = self.budget.unit.text(share.leased - note.spent)
                _log.warning("%s: %s that a dead worker had leased come back", self, back)
            else:
                may_come = True
        return dataclasses.replace(shares, by_worker=by_worker), may_come

    async def _wait_to_write(self) -> None:
        await asyncio.sleep(self._written_at + WRITE_EVERY_S - time.monotonic())

    async def _write(self, holding: Holding, shares: Shares, leased: int) -> bool:
        """Write this process's share; return False if somebody else has written meanwhile."""
        share = Share(leased=max(leased, holding.spent), spent=holding.spent)
        after = dataclasses.replace(shares, by_worker={**shares.by_worker, holding.worker: share})
        before, holding.noted = holding.noted, None
        self._written_at = time.monotonic()
        written = await self._ledger.write(shares, after.to_json(self.budget))
        holding.noted = share if written else before
        return written

    def _used(self) -> None:
        self._used_at = time.monotonic()
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._give_back_when_idle())

    async def _give_back_when_idle(self) -> None:
        """Write what is spent once nobody spends any more, so that others know what is left."""
        while self._holding.noted != Share(self._holding.spent, self._holding.spent):
            await asyncio.sleep(max(0.0, self._used_at + IDLE_S - time.monotonic()))
            if self._wanted or time.monotonic() < self._used_at + IDLE_S:
                await asyncio.sleep(IDLE_S / 5)
            elif not await self.give_back():
                return

    def _over(self, amount: int) -> CallError:
        unit, left = self.budget.unit, max(0, self._holding.available)
        now = datetime.now(UTC)
        renewed_at = self.budget.renewed_at(now)
        advice = (
            "raise it, or replay this prompt in another run"
            if renewed_at is None
            else f"it starts anew at {renewed_at:%Y-%m-%d %H:%M} UTC: replay this prompt then, or "
            "raise it"
        )
        return CallError(
            Reason.OVER_BUDGET,
            f"over budget: {self.budget.option} is {unit.text(self.budget.amount)}, with "
            f"{unit.text(left)} left and {unit.text(amount)} needed; {advice}",
            retry=Retry.NEVER,
            retryable=True,
        )


def _age_s(shares: Shares) -> float:
    """Return how many seconds ago a ledger was written; infinity if that cannot be told."""
    age = datetime.now(UTC) - shares.written_at if shares.written_at else None
    return age / timedelta(seconds=1) if age and age >= timedelta() else float("inf")


async def _pause(most_s: float) -> None:
    await asyncio.sleep(random.uniform(0, most_s))  # noqa: S311 - jitter
