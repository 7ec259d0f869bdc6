"""The budgets of a job: how much it may pay for, and which ledger says how much it has.

The name of a ledger is the same for all workers of a job and for everything that is launched for
one run, so that a restart starts nothing anew.
"""

import dataclasses
import uuid
from datetime import datetime, timedelta
from enum import StrEnum

from beam_jobs.images.location import Location
from beam_jobs.names import DAY_LEDGER, HOUR_LEDGER, ledger_name

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


MICRO_PER_USD = 10**6


class Unit(StrEnum):
    """What a budget counts, in whole numbers."""

    IMAGES = "images"
    MICRO_USD = "micro_usd"  # millionths of a US dollar

    @property
    def per_image(self) -> int:
        """Roughly what one image takes; sets how much a process leases at a time."""
        return 1 if self is Unit.IMAGES else MICRO_PER_USD // 10

    def text(self, amount: int) -> str:
        """Return an amount for people."""
        if self is Unit.IMAGES:
            return f"{amount:,} image{'' if amount == 1 else 's'}"
        return f"{amount / MICRO_PER_USD:,.4f} USD"


@dataclasses.dataclass(frozen=True, slots=True)
class Amount:
    """What a model call takes from budgets, in each unit.

    Args:
        images: how many it makes.
        micro_usd: what it costs, in millionths of a US dollar; None: that cannot be told.
    """

    images: int
    micro_usd: int | None

    def of(self, unit: Unit) -> int | None:
        """Return the amount in a unit."""
        return self.images if unit is Unit.IMAGES else self.micro_usd


NOTHING = Amount(0, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """How much may be paid for.

    Args:
        option: the job option that sets it, such as `--max_images`, for messages.
        amount: the maximum.
        ledger: the object that counts them; of a budget with a period, `strftime` makes the name.
        period: after what time it starts anew, in UTC; None: never.
    """

    option: str
    amount: int
    ledger: str
    period: timedelta | None = None
    unit: Unit = Unit.IMAGES

    def ledger_at(self, now: datetime) -> str:
        """Return the name of the ledger that counts what is paid for at the time `now`, in UTC."""
        return now.strftime(self.ledger) if self.period else self.ledger

    def renewed_at(self, now: datetime) -> datetime | None:
        """Return when the budget starts anew after `now`; None: never."""
        return None if self.period is None else now - (now - _EPOCH) % self.period + self.period


def budgets_of(
    *,
    max_images: int | None,
    max_images_per_hour: int | None,
    max_images_per_day: int | None,
    max_cost_usd: float | None = None,
    run: str | None,
    location: Location,
) -> tuple[Budget, ...]:
    """Return the budgets that the options of these names set.

    Args:
        max_images: for the whole job, and whatever else is launched for the same run.
        max_images_per_hour: per hour of UTC, for whatever stores images in the same bucket.
        max_images_per_day: the same per day.
        max_cost_usd: US dollars, for the same as `max_images`.
        run: names the run, such as `backfill:RUN`; None: the job is a run of its own.
        location: of the images.
    """
    budgets = []
    run = run or f"job-{uuid.uuid4().hex}"
    images_url = location.url(location.prefix)
    if max_images is not None:
        ledger = ledger_name(run, images_url, of_money=False)
        budgets.append(Budget("--max_images", max_images, ledger))
    if max_cost_usd is not None:
        budgets.append(
            Budget(
                "--max_cost_usd",
                round(max_cost_usd * MICRO_PER_USD),
                ledger_name(run, images_url, of_money=True),
                unit=Unit.MICRO_USD,
            )
        )
    for option, images, ledger, period in (
        ("--max_images_per_hour", max_images_per_hour, HOUR_LEDGER, HOUR),
        ("--max_images_per_day", max_images_per_day, DAY_LEDGER, DAY),
    ):
        if images is not None:
            budgets.append(Budget(option, images, ledger, period))
    return tuple(budgets)
