"""The budgets of a job: how many images it may pay for, and which ledger says how many it has.

The name of a ledger is the same for all workers of a job and for everything that is launched for
one run, so that a restart starts nothing anew.
"""

import dataclasses
import hashlib
import re
import uuid
from datetime import datetime, timedelta

from beam_jobs.images.location import Location
from beam_jobs.names import JOBS_FOLDER

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Below JOBS_FOLDER, in the bucket of the images.
_LEDGERS = f"{JOBS_FOLDER}/budgets"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """How many images may be paid for.

    Args:
        option: the job option that sets it, such as `--max_images`, for messages.
        images: the maximum.
        ledger: the object that counts them; of a budget with a period, `strftime` makes the name.
        period: after what time it starts anew, in UTC; None: never.
    """

    option: str
    images: int
    ledger: str
    period: timedelta | None = None

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
    run: str | None,
    location: Location,
) -> tuple[Budget, ...]:
    """Return the budgets that the options of these names set.

    Args:
        max_images: for the whole job, and whatever else is launched for the same run.
        max_images_per_hour: per hour of UTC, for whatever stores images in the same bucket.
        max_images_per_day: the same per day.
        run: names the run, such as `backfill:RUN`; None: the job is a run of its own.
        location: of the images.
    """
    budgets = []
    if max_images is not None:
        ledger = f"{_LEDGERS}/{_run_name(run, location)}.json"
        budgets.append(Budget("--max_images", max_images, ledger))
    for option, images, name, period in (
        ("--max_images_per_hour", max_images_per_hour, "%Y-%m-%dT%H", HOUR),
        ("--max_images_per_day", max_images_per_day, "%Y-%m-%d", DAY),
    ):
        if images is not None:
            budgets.append(Budget(option, images, f"{_LEDGERS}/stream/{name}.json", period))
    return tuple(budgets)


def _run_name(run: str | None, location: Location) -> str:
    """Return a name that people can read, and that no other run or folder of images has."""
    if run is None:
        return f"job-{uuid.uuid4().hex}"
    digest = hashlib.sha256(f"{run} {location.url(location.prefix)}".encode()).hexdigest()
    return f"{_NOT_IN_A_NAME.sub('-', run)[:80]}-{digest[:16]}"
