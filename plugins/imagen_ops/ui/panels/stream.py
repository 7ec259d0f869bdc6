"""The state of the stream and its last day: both of what health has left."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.jobs.links import JobLink, LinkedJob
from imagen_ops.records.folders import HEALTH_RECORDS
from imagen_ops.settings import Settings
from imagen_ops.ui.panels.health_history import Look, in_order, looks, overdue_at, points
from imagen_ops.ui.storage import Deadline, Storage

HOURS = 24
# A look that is older tells nothing of now.
_OLDEST = timedelta(days=7)
# The last day is in two of them.
_DAYS = 2


@dataclasses.dataclass(frozen=True)
class Health:
    """The last look, if there is one, and what to plot."""

    last: Look | None
    overdue_at: datetime | None
    job_url: str | None
    points: list[dict[str, Any]]


def read_health(storage: Storage, now: datetime | None = None) -> Health:
    """Read what health has left.

    Raises:
        TroubleError: it cannot be read.
    """
    settings, deadline, now = storage.settings(), Deadline(), now or datetime.now(UTC)
    days = storage.days(HEALTH_RECORDS, now - _OLDEST, deadline, most=_DAYS)
    looked = in_order(storage.read(days, looks, deadline))
    last = looked[-1] if looked else None
    since = now - timedelta(hours=HOURS)
    # The look before is what the first one's rates are told from.
    plotted = points(looked, settings.health_schedule)
    return Health(
        last,
        overdue_at(last.at, settings.health_schedule) if last else None,
        _job_url(settings, last),
        [point for look, point in zip(looked, plotted, strict=True) if look.at >= since],
    )


def state(health: Health, now: datetime) -> dict[str, Any] | None:
    """Return the state of the stream as of the last look; None if there was none."""
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
    }


def plots(health: Health) -> dict[str, Any]:
    """Return what to plot of the last day."""
    return {"hours": HOURS, "points": health.points}


def _job_url(settings: Settings, last: Look | None) -> str | None:
    if last is None or last.job_id is None:
        return None
    job = LinkedJob(settings.console_url, settings.project, settings.region, last.job_id)
    return JobLink().address(job)
