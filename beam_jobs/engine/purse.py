"""Takes what a call costs from all budgets of a job.

What a call costs in money is known only from its answer. Before it, what it is likely to cost is
taken. So a budget of money can be exceeded, by the error of that for the calls in flight.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from beam_jobs.config.budgets import NOTHING, Amount, Budget
from beam_jobs.engine.lease import Lease
from beam_jobs.models.base import CallError, Retry
from beam_jobs.outcomes import Reason


class Charge:
    """What was taken from each budget for one call.

    Args:
        taken: from each, how much.
    """

    def __init__(self, taken: Sequence[tuple[Lease, int]]) -> None:
        self._taken = taken

    def settle(self, paid: Amount) -> None:
        """Put back what was taken beyond what was paid, or take the difference."""
        for lease, taken in self._taken:
            amount = paid.of(lease.budget.unit)
            lease.refund(0 if amount is None else taken - amount)


class Purse:
    """All budgets of a job, as this process may spend them. Use it from one event loop only.

    Args:
        budgets: the budgets; none means that nothing limits the job.
        lease_of: opens the lease of a budget with the ledger of the given name.
        utc_now: the time, which decides the ledger of a budget with a period.
    """

    def __init__(
        self,
        budgets: Sequence[Budget],
        lease_of: Callable[[Budget, str], Lease],
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._budgets = budgets
        self._lease_of = lease_of
        self._utc_now = utc_now
        self._leases: dict[Budget, tuple[str, Lease]] = {}

    async def spend(self, likely: Amount) -> Charge:
        """Take what a call is likely to cost from every budget, before it is made.

        Raises:
            CallError: a budget is used up, or the amount cannot be told in its unit; nothing was
                taken from any.
            StoreError: a ledger could not be read or written in time.
        """
        taken: list[tuple[Lease, int]] = []
        try:
            for budget in self._budgets:
                amount = likely.of(budget.unit)
                if amount is None:
                    raise _unpriced(budget)
                lease = self._lease(budget)
                await lease.spend(amount)
                taken.append((lease, amount))
                while lease is not self._lease(budget):  # the period ended meanwhile
                    taken.pop()[0].refund(amount)
                    lease = self._lease(budget)
                    await lease.spend(amount)
                    taken.append((lease, amount))
        except BaseException:
            Charge(taken).settle(NOTHING)
            raise
        return Charge(taken)

    async def give_back(self) -> None:
        """Return to the ledgers what is not spent, as when the process ends."""
        await asyncio.gather(*(lease.give_back() for _, lease in self._leases.values()))

    def _lease(self, budget: Budget) -> Lease:
        name = budget.ledger_at(self._utc_now())
        current = self._leases.get(budget)
        if current is None or current[0] != name:
            current = self._leases[budget] = (name, self._lease_of(budget, name))
        return current[1]


def _unpriced(budget: Budget) -> CallError:
    return CallError(
        Reason.OVER_BUDGET,
        f"{budget.option} cannot be checked, because the model that answers has no known price; "
        "set --max_images instead, or --model to one with a price, then replay this prompt",
        retry=Retry.NEVER,
        retryable=True,
    )
