"""The health checks of the stream, as the page needs them from the records of each check."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from croniter import croniter  # type: ignore[import-untyped]

from imagen_ops.ui.untrusted import flag, mapping, moment, number, numbers, text

_READINGS = ("system_lag", "watermark_age", "backlog_age", "backlog_size", "dead_letters")
# After this many missed checks the last one is overdue, and the plots have a gap.
_MISSED_CHECKS = 3
_USUAL_INTERVAL = timedelta(minutes=5)
FAILURES = "failures_"
# Of a day's checks, those that may be its last one.
_WHOLE = 3


@dataclasses.dataclass(frozen=True, slots=True)
class HealthCheck:
    """What one health check of the stream recorded.

    Attributes:
        run_id: the DAG run of the check.
        at: when it was made, in UTC.
        wanted: whether the stream should be running.
        wanted_by: who decided that: a DAG run, and the user who triggered it.
        wanted_since: when that was decided.
        form: the form of the stream's last start.
        status: the verdict: HEALTHY, DEGRADED or DOWN.
        reasons: of the verdict, each `{"code", "status", "text"}`.
        job: the active job, `{"id", "state", "since"}`; None if no job was active.
        last_job: the newest job that has ended, if no job was active.
        limits: by reading, the limit from which on the verdict is not HEALTHY.
        readings: lags and ages in seconds, sizes in messages, by name.
        canary_seconds: how long the canary took through the stream.
        totals: the job's counters since it started, by name.
        counted_job_id: the job whose counters were read last: the active one, or one before; empty
            if there was none yet, None if unknown.
        counted: the counters of that job.
        grown: how much each counter has grown since the check before, over all jobs; None if that
            is not known, or the record is of an earlier version.
    """

    run_id: str
    at: datetime
    wanted: bool | None
    wanted_by: str | None
    wanted_since: datetime | None
    form: Mapping[str, Any]
    status: str | None
    reasons: tuple[Mapping[str, str | None], ...]
    job: Mapping[str, str | None] | None
    last_job: Mapping[str, str | None] | None
    limits: Mapping[str, float | int]
    readings: Mapping[str, float | int]
    canary_seconds: float | int | None
    totals: Mapping[str, float | int]
    counted_job_id: str | None
    counted: Mapping[str, float | int]
    grown: Mapping[str, float | int] | None

    @property
    def job_id(self) -> str | None:
        """The id of the active job."""
        return self.job["id"] if self.job else None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "HealthCheck | None":
        """Read a health record. Returns None if it has no time or no run id."""
        at, run_id = moment(record.get("at")), text(record.get("run_id"))
        if at is None or run_id is None:
            return None
        verdict, job = mapping(record.get("verdict")), job_of(record.get("job"))
        readings, job_id = numbers(record.get("readings")), job["id"] if job else None
        totals, counted = numbers(record.get("totals")), mapping(record.get("counted"))
        return cls(
            run_id=run_id,
            at=at,
            wanted=flag(record.get("wanted")),
            wanted_by=text(record.get("wanted_by")),
            wanted_since=moment(record.get("wanted_since")),
            form=mapping(record.get("form")),
            status=text(verdict.get("status")),
            reasons=tuple(_reasons(verdict)),
            job=job,
            last_job=job_of(record.get("last_job")),
            limits=numbers(record.get("limits")),
            readings={name: readings[name] for name in _READINGS if name in readings},
            canary_seconds=number(record.get("canary_seconds")),
            totals=totals,
            counted_job_id=text(counted.get("job_id")) if counted else job_id,
            counted=numbers(counted.get("totals")) if counted else totals,
            grown=numbers(record["grown"]) if isinstance(record.get("grown"), Mapping) else None,
        )


def job_of(value: Any) -> dict[str, str | None] | None:
    """Return the id of a job in a record, its state and since when; None if there is no id."""
    job = mapping(value)
    if (job_id := text(job.get("id"))) is None:
        return None
    since = moment(job.get("since"))
    return {
        "id": job_id,
        "state": text(job.get("state")) or "UNKNOWN",
        "since": since.isoformat() if since else None,
    }


def health_checks(records: Iterator[dict[str, Any]]) -> list[HealthCheck]:
    """Return the health checks in a day's records. Skips records that are none.

    Only the last few keep their reasons and form: nothing shows those of the others.
    """
    checks = [check for record in records if (check := HealthCheck.from_record(record))]
    for index, check in enumerate(checks[:-_WHOLE]):
        checks[index] = dataclasses.replace(check, form={}, reasons=())
    return checks


def in_order(days: list[list[HealthCheck]]) -> list[HealthCheck]:
    """Return the checks of several days, oldest first. Of each run only the last check counts."""
    by_time = sorted(itertools.chain.from_iterable(days), key=lambda check: check.at)
    by_run = {check.run_id: check for check in by_time}
    return sorted(by_run.values(), key=lambda check: check.at)


def overdue_at(at: datetime, schedule: str) -> datetime:
    """Return when a health check is stale: when the third check after it should have started.

    Args:
        at: when the check was made.
        schedule: of the health DAG, as crontab in UTC. If it cannot be read, every 5 minutes.
    """
    return _Overdue(schedule).after(at)


class _Overdue:
    """Tells when each of many health checks is stale, with one walk over the schedule.

    To start a walk takes croniter a millisecond, and a day has hundreds of checks.
    """

    def __init__(self, schedule: str) -> None:
        self._schedule = schedule
        self._walk: Any = None
        self._upcoming: collections.deque[datetime] = collections.deque()

    def after(self, at: datetime) -> datetime:
        """Return when a check made at `at` is stale. Never call it with an earlier time again."""
        while self._upcoming and self._upcoming[0] <= at:
            self._upcoming.popleft()
        try:
            if not self._upcoming:  # start anew rather than walk through a gap
                self._walk = croniter(self._schedule, at)
            while len(self._upcoming) < _MISSED_CHECKS:
                self._upcoming.append(self._walk.get_next(datetime))
        except (ValueError, KeyError):
            return at + _MISSED_CHECKS * _USUAL_INTERVAL
        return self._upcoming[-1]


def spent(checks: list[HealthCheck], since: datetime) -> dict[str, float | int | None]:
    """Return what the stream's model calls cost from `since` on, as far as checks counted it.

    What a job spends after its last health check is not in it.

    Args:
        checks: oldest first. Each counts from the one before it on.
        since: the checks that are older don't count.

    Returns:
        `{"usd", "unpriced_calls"}`; None where no two checks with counters follow each other.
    """
    grown = done(checks, since)
    if grown is None:
        return {"usd": None, "unpriced_calls": None}
    micro_usd, unpriced = grown.get("cost_micro_usd", 0), grown.get("unpriced_calls", 0)
    known = micro_usd or not unpriced
    return {"usd": micro_usd / 1e6 if known else None, "unpriced_calls": unpriced}


def done(checks: list[HealthCheck], since: datetime) -> dict[str, float | int] | None:
    """Return how much each counter grew from `since` on, over all jobs.

    Args:
        checks: oldest first. Each counts from the one before it on.
        since: the checks that are older don't count.

    Returns:
        The sums by counter; None where no two checks with counters follow each other.
    """
    grown = [
        growth
        for previous, check in itertools.pairwise(checks)
        if check.at >= since and (growth := _growth(previous, check)) is not None
    ]
    names = {name for growth in grown for name in growth}
    return {name: sum(each.get(name, 0) for each in grown) for name in names} if grown else None


def _growth(previous: HealthCheck, check: HealthCheck) -> dict[str, float | int] | None:
    """Return how much the counters grew between two checks; None if that is not known."""
    if check.grown is not None:
        return dict(check.grown)
    if previous.counted_job_id is None or check.counted_job_id is None:
        return None
    before = previous.counted if previous.counted_job_id == check.counted_job_id else {}
    growth = {name: value - before.get(name, 0) for name, value in check.counted.items()}
    # Counters only grow. If one shrank, they were reset.
    return dict(check.counted) if any(value < 0 for value in growth.values()) else growth


def points(checks: list[HealthCheck], schedule: str) -> list[dict[str, Any]]:
    """Return what the page plots of each health check. A value that is not known is None.

    Args:
        checks: oldest first.
        schedule: of the health DAG, as crontab in UTC. There are no rates between checks that are
            further apart than three of its intervals.
    """
    overdue = _Overdue(schedule)
    return [
        _point(check, _rates(previous, check, overdue))
        for previous, check in zip([None, *checks], checks, strict=False)
    ]


def _point(check: HealthCheck, rates: "Mapping[str, float] | None") -> dict[str, Any]:
    def rate(name: str) -> float | None:
        # A counter is missing until it has counted something.
        return None if rates is None else rates.get(name, 0.0)

    return {
        "at": check.at.isoformat(),
        "status": check.status,
        **{name: check.readings.get(name) for name in _READINGS},
        "prompts_per_minute": rate("prompts"),
        "images_per_minute": rate("images"),
        "failures_per_minute": None
        if rates is None
        else {
            name.removeprefix(FAILURES): value
            for name, value in rates.items()
            if name.startswith(FAILURES)
        },
        "quota_refusals_per_minute": rate("quota_refusals"),
    }


def _rates(
    previous: HealthCheck | None, check: HealthCheck, overdue: _Overdue
) -> dict[str, float] | None:
    """Return how much each counter grew per minute, or None if that is not known.

    The counters of a job that is new since the previous check have grown from nothing.
    """
    if previous is None:
        return None
    minutes = (check.at - previous.at).total_seconds() / 60
    if minutes <= 0 or check.at > overdue.after(previous.at):
        return None
    if check.grown is not None:
        return {name: round(value / minutes, 3) for name, value in check.grown.items()}
    if check.job_id is None or previous.counted_job_id is None:
        return None
    if check.counted_job_id != check.job_id:
        return None  # its counters could not be read
    before = previous.counted if previous.counted_job_id == check.job_id else {}
    growth = {name: value - before.get(name, 0) for name, value in check.totals.items()}
    # Counters only grow. If one shrank or disappeared, they were reset.
    if any(value < 0 for value in growth.values()) or before.keys() - check.totals.keys():
        return None
    return {name: round(value / minutes, 3) for name, value in growth.items()}


def _reasons(verdict: Mapping[str, Any]) -> Iterator[dict[str, str | None]]:
    reasons = verdict.get("reasons")
    for reason in reasons if isinstance(reasons, list) else []:
        reason = mapping(reason)
        yield {
            "code": text(reason.get("code")) or "OTHER",
            "status": text(reason.get("status")),
            "text": text(reason.get("text")) or "",
        }
