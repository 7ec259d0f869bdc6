"""The state of the stream and the plots of its last 24 hours, from the records of health checks."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.jobs.links import JobLink, LinkedJob
from imagen_ops.records.folders import HEALTH_RECORDS
from imagen_ops.settings import Settings
from imagen_ops.ui.panels.health_history import (
    HealthCheck,
    health_checks,
    in_order,
    overdue_at,
    points,
    spent,
)
from imagen_ops.ui.storage import Deadline, Storage

HOURS = 24
# An older health check says nothing about the present.
_MAX_AGE = timedelta(days=7)
# The last 24 hours are spread over two days of records.
_DAYS = 2


@dataclasses.dataclass(frozen=True)
class Health:
    """The latest health check and the plots.

    Attributes:
        last: the latest health check; None if there is none.
        overdue_at: when it is stale.
        job_url: the address of its job in Google's console.
        points: what to plot of each check in the last 24 hours, oldest first.
        cost: what the stream's model calls cost in the last hour, and in the last 24 hours.
    """

    last: HealthCheck | None
    overdue_at: datetime | None
    job_url: str | None
    points: list[dict[str, Any]]
    cost: dict[str, Any]


def read_health(storage: Storage, now: datetime | None = None) -> Health:
    """Read the records of health checks.

    Raises:
        ReadError: they cannot be read.
    """
    settings, deadline, now = storage.settings(), Deadline(), now or datetime.now(UTC)
    days = storage.list_days(HEALTH_RECORDS, now - _MAX_AGE, deadline, limit=_DAYS)
    checks = in_order(storage.read(days, health_checks, deadline))
    last = checks[-1] if checks else None
    since = now - timedelta(hours=HOURS)
    # Before the cut, because the rates of the first check need the check before it.
    all_points = points(checks, settings.health_schedule)
    return Health(
        last=last,
        overdue_at=overdue_at(last.at, settings.health_schedule) if last else None,
        job_url=_job_url(settings, last),
        points=[
            point for check, point in zip(checks, all_points, strict=True) if check.at >= since
        ],
        cost={
            "hour": spent(checks, now - timedelta(hours=1)),
            "day": spent(checks, since),
        },
    )


def state(health: Health, now: datetime) -> dict[str, Any] | None:
    """Return the state of the stream as of the latest health check; None if there is none."""
    last = health.last
    if last is None:
        return None
    return {
        "wanted": last.wanted,
        "job": {"id": last.job_id, "state": last.job_state, "url": health.job_url}
        if last.job_id
        else None,
        "verdict": {
            "status": last.status,
            "headline": last.headline,
            "reasons": list(last.reasons),
        },
        "looked_at": last.at.isoformat(),
        "age_seconds": max(0.0, round((now - last.at).total_seconds(), 3)),
        "stale": health.overdue_at is not None and now > health.overdue_at,
        "readings": dict(last.readings),
        "canary_seconds": last.canary_seconds,
        "totals": dict(last.totals),
        "cost": health.cost,
    }


def plots(health: Health) -> dict[str, Any]:
    """Return the points of the last 24 hours."""
    return {"hours": HOURS, "points": health.points}


def _job_url(settings: Settings, last: HealthCheck | None) -> str | None:
    if last is None or last.job_id is None:
        return None
    job = LinkedJob(settings.console_url, settings.project, settings.region, last.job_id)
    return JobLink().address(job)
