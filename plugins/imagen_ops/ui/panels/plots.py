"""What the page plots: health checks over a time, what was done in it, and the limits."""

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Literal

from imagen_ops.records.actions import Stage
from imagen_ops.records.folders import ACTION_RECORDS, HEALTH_RECORDS
from imagen_ops.ui.panels.health_history import health_checks, in_order, points
from imagen_ops.ui.panels.steps import DRAIN, HEALTH, START, Step, by_time, steps
from imagen_ops.ui.sharing import ReadError
from imagen_ops.ui.storage import MAX_DAYS, Deadline, Storage

Hours = Literal["1", "6", "24", "168"]
DEFAULT_HOURS = "24"
# More points than that are narrower than a pixel of a plot.
MAX_POINTS = 400
_MAX_MARKS = 100
# It may begin and end within a day, and the check before it may be of the day before that.
_LONGEST = timedelta(days=MAX_DAYS - 2)
# The rates of the first check need the check before it.
_BEFORE = timedelta(hours=1)
# The statuses of health checks, the worst last.
_STATUSES = ("HEALTHY", "DEGRADED", "DOWN")
_HIGHEST = ("system_lag", "watermark_age", "backlog_age", "backlog_size", "dead_letters")
_MEAN = ("prompts_per_minute", "images_per_minute", "quota_refusals_per_minute")
# By DAG and stage: what a mark says.
_MARKS: dict[tuple[str, str], str] = {
    (START, Stage.LAUNCHED): "start",
    (DRAIN, Stage.STOPPING): "drain",
    (HEALTH, Stage.LAUNCHED): "restart",
    ("imagen_backfill", Stage.REQUESTED): "backfill",
}


@dataclasses.dataclass(frozen=True)
class Period:
    """A time to plot, in UTC."""

    start: datetime
    end: datetime

    @classmethod
    def of(
        cls, now: datetime, hours: Hours | None, start: datetime | None, end: datetime | None
    ) -> "Period":
        """Return the time that a reader asks for: the last `hours`, or from `start` to `end`.

        Raises:
            ReadError: it ends before it begins, or is too long.
        """
        if hours is not None or start is None:
            return cls(now - timedelta(hours=int(hours or DEFAULT_HOURS)), now)
        end = end or now
        if end <= start:
            raise ReadError(
                f"the time from {start:%F %T} to {end:%F %T} UTC ends before it begins: choose an "
                "end after its beginning",
                cause="",
            )
        if end - start > _LONGEST:
            raise ReadError(
                f"{(end - start).days} days are too many to plot: choose at most {_LONGEST.days}",
                cause="",
            )
        return cls(start, end)


def read_plots(storage: Storage, period: Period) -> dict[str, Any]:
    """Read the health checks and what was done in a time.

    Returns:
        `{"from", "to", "each", "points", "limits", "marks", "earlier"}`: a point is of `each`
        health checks, and `earlier` says whether there were any in the weeks before.

    Raises:
        ReadError: they cannot be read.
    """
    deadline, schedule = Deadline(), storage.settings().health_schedule
    start, end = period.start, period.end
    since = min(start - _BEFORE, end - _LONGEST)
    listed = storage.list_days(HEALTH_RECORDS, since, deadline, until=end)
    first_day = f"{HEALTH_RECORDS}/ds={(start - _BEFORE).date().isoformat()}"
    days = [day for day in listed if day.name >= first_day]
    checks = in_order(storage.read(days, health_checks, deadline))
    acted = storage.list_days(ACTION_RECORDS, start, deadline, until=end)
    taken = by_time(storage.read(acted, steps, deadline))
    shown = [
        point
        for check, point in zip(checks, points(checks, schedule), strict=True)
        if start <= check.at <= end
    ]
    each = max(1, -(-len(shown) // MAX_POINTS))
    limits = [check.limits for check in checks if check.at <= end and check.limits]
    return {
        "from": start.isoformat(),
        "to": end.isoformat(),
        "each": each,
        "points": [_together(shown[first : first + each]) for first in range(0, len(shown), each)],
        "limits": dict(limits[-1]) if limits else {},
        "marks": list(_marks(taken, period))[-_MAX_MARKS:],
        "earlier": len(days) < len(listed) or any(check.at < start for check in checks),
    }


def _together(group: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one point for several: the worst verdict, the highest readings, the mean rates."""
    if len(group) == 1:
        return group[0]
    severity = {status: level for level, status in enumerate(_STATUSES)}
    failures = [point["failures_per_minute"] for point in group]
    known = [each for each in failures if each is not None]
    reasons = {reason for each in known for reason in each}
    return {
        "at": group[-1]["at"],
        "status": max(
            (point["status"] for point in group), key=lambda status: severity.get(status, -1)
        ),
        **{name: max(_known(group, name), default=None) for name in _HIGHEST},
        **{name: _mean(_known(group, name)) for name in _MEAN},
        "failures_per_minute": {
            reason: _mean([each.get(reason, 0.0) for each in known]) for reason in reasons
        }
        if known
        else None,
    }


def _known(group: list[dict[str, Any]], name: str) -> list[float]:
    return [point[name] for point in group if point[name] is not None]


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


def _marks(taken: list[Step], period: Period) -> Iterator[dict[str, Any]]:
    """Yield what was done in a time, oldest first. A job with another image is a deployment."""
    image = None
    for step in taken:
        what = _MARKS.get((step.dag_id, step.stage))
        deployed = step.image is not None and image is not None and step.image != image
        image = step.image or image
        if what and period.start <= step.at <= period.end:
            yield {"what": "deployment" if deployed else what, **step.asked, "image": step.image}
