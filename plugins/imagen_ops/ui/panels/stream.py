"""The state of the stream, from the records of health checks and of what was done since then."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.jobs.links import JobLink, LinkedJob
from imagen_ops.records.folders import ACTION_RECORDS, HEALTH_RECORDS, RUN_RECORDS
from imagen_ops.settings import Settings
from imagen_ops.ui.panels.health_history import (
    HealthCheck,
    done,
    health_checks,
    in_order,
    overdue_at,
    spent,
)
from imagen_ops.ui.panels.now import Now, state_now
from imagen_ops.ui.panels.steps import by_time, ended_runs, steps
from imagen_ops.ui.storage import Deadline, Storage

HOURS = 24
# An older health check says nothing about the present.
_MAX_AGE = timedelta(days=7)
# The last 24 hours are spread over two days of records.
_DAYS = 2


@dataclasses.dataclass(frozen=True)
class Health:
    """The latest health check, and what was done since then.

    Attributes:
        last: the latest health check; None if there is none.
        now: the state of the stream; None if nothing is known of it.
        overdue_at: when that check is stale.
        settings: of the deployment.
        totals: what the stream did in the last 24 hours, by counter, over all its jobs.
        cost: what its model calls cost in the last hour, and in the last 24 hours.
    """

    last: HealthCheck | None
    now: Now | None
    overdue_at: datetime | None
    settings: Settings
    totals: Mapping[str, float | int]
    cost: dict[str, Any]


def read_health(storage: Storage, now: datetime | None = None) -> Health:
    """Read the records of health checks, and of what runs did since.

    Raises:
        ReadError: they cannot be read.
    """
    settings, deadline, now = storage.settings(), Deadline(), now or datetime.now(UTC)
    days = storage.list_days(HEALTH_RECORDS, now - _MAX_AGE, deadline, limit=_DAYS)
    checks = in_order(storage.read(days, health_checks, deadline))
    last = checks[-1] if checks else None
    since = now - timedelta(hours=HOURS)
    # A start can take longer than a day's rest.
    acted_since = min(last.at, since) if last else since
    acted = storage.list_days(ACTION_RECORDS, acted_since, deadline)
    ran = storage.list_days(RUN_RECORDS, since, deadline)
    ended = [run for day in storage.read(ran, ended_runs, deadline) for run in day]
    return Health(
        last=last,
        now=state_now(last, by_time(storage.read(acted, steps, deadline)), ended, now),
        overdue_at=overdue_at(last.at, settings.health_schedule) if last else None,
        settings=settings,
        totals=done(checks, since) or {},
        cost={
            "hour": spent(checks, now - timedelta(hours=1)),
            "day": spent(checks, since),
        },
    )


def state(health: Health, now: datetime) -> dict[str, Any] | None:
    """Return the state of the stream as it is known now; None if nothing is known of it."""
    last, found = health.last, health.now
    if found is None:
        return None
    return {
        **dataclasses.asdict(found),
        "job": _with_url(found.job, health.settings),
        "last_job": _with_url(found.last_job, health.settings),
        "totals": dict(health.totals),
        "cost": health.cost,
        "check": last
        and {
            "at": last.at.isoformat(),
            "stale": health.overdue_at is not None and now > health.overdue_at,
            "status": last.status,
            "reasons": list(last.reasons),
            "readings": dict(last.readings),
            "limits": dict(last.limits),
            "canary_seconds": last.canary_seconds,
        },
    }


def _with_url(
    job: Mapping[str, str | None] | None, settings: Settings
) -> dict[str, str | None] | None:
    """Return a job with the address of its page in Google's console."""
    if job is None:
        return None
    linked = LinkedJob(settings.console_url, settings.project, settings.region, job["id"] or "")
    return {**job, "url": JobLink().address(linked)}
