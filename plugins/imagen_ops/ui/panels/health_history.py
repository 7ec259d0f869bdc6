"""What health has seen: each look, as the page needs it of the record that health has left."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from croniter import croniter  # type: ignore[import-untyped]

from imagen_ops.health.assessment.verdict import Verdict
from imagen_ops.ui.untrusted import flag, mapping, moment, number, numbers, text

_READINGS = ("system_lag", "watermark_age", "backlog_age", "backlog_size")
# So many looks that did not come make a gap.
_MISSED = 3
_USUAL = timedelta(minutes=5)
FAILURES = "failures_"


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """One look at the stream.

    `totals` are the job's counters so far, by name: those of the job `job_id`, which is None when
    none was active.
    """

    run_id: str
    at: datetime
    wanted: bool | None
    status: str | None
    headline: str
    reasons: tuple[Mapping[str, str | None], ...]
    job_id: str | None
    job_state: str | None
    readings: Mapping[str, float | int]
    canary_seconds: float | int | None
    totals: Mapping[str, float | int]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Look | None":
        """Read a health record; None if it is something else."""
        at, run_id = moment(record.get("at")), text(record.get("run_id"))
        if at is None or run_id is None:
            return None
        verdict, job = mapping(record.get("verdict")), mapping(record.get("job"))
        readings = numbers(record.get("readings"))
        return cls(
            run_id=run_id,
            at=at,
            wanted=flag(record.get("wanted")),
            status=text(verdict.get("status")),
            headline=_headline(verdict),
            reasons=tuple(_reasons(verdict)),
            job_id=text(job.get("id")),
            job_state=text(job.get("state")),
            readings={name: readings[name] for name in _READINGS if name in readings},
            canary_seconds=number(record.get("canary_seconds")),
            totals=numbers(record.get("totals")),
        )


def looks(records: Iterator[dict[str, Any]]) -> list[Look]:
    """Return the looks that a day's records tell of."""
    return [look for record in records if (look := Look.of(record))]


def in_order(days: list[list[Look]]) -> list[Look]:
    """Return the looks of several days, oldest first; a run that looked twice counts once."""
    looked = sorted(itertools.chain.from_iterable(days), key=lambda look: look.at)
    by_run = {look.run_id: look for look in looked}
    return sorted(by_run.values(), key=lambda look: look.at)


def overdue_at(at: datetime, schedule: str) -> datetime:
    """Return when a look at `at` is old: when the third after it should have begun.

    Args:
        at: of the look.
        schedule: of health, crontab in UTC. One that cannot be read is taken for the usual.
    """
    return _Due(schedule).after(at)


class _Due:
    """When looks are old, one after the other: a walk over the schedule, once for all of them.

    Each by itself takes croniter a millisecond, and a day has hundreds.
    """

    def __init__(self, schedule: str) -> None:
        self._schedule = schedule
        self._walk: Any = None
        self._next: collections.deque[datetime] = collections.deque()

    def after(self, at: datetime) -> datetime:
        """Return when a look at `at` is old; `at` is never earlier than the one before."""
        while self._next and self._next[0] <= at:
            self._next.popleft()
        try:
            if not self._next:  # a gap is not walked through
                self._walk = croniter(self._schedule, at)
            while len(self._next) < _MISSED:
                self._next.append(self._walk.get_next(datetime))
        except (ValueError, KeyError):
            return at + _MISSED * _USUAL
        return self._next[-1]


def points(looked: list[Look], schedule: str) -> list[dict[str, Any]]:
    """Return what is plotted of each look. What nobody knows is None.

    Args:
        looked: oldest first.
        schedule: of health; between looks further apart than three of its intervals nobody knows.
    """
    due = _Due(schedule)
    return [
        _point(look, _rates(before, look, due))
        for before, look in zip([None, *looked], looked, strict=False)
    ]


def _point(look: Look, rates: "Mapping[str, float] | None") -> dict[str, Any]:
    def rate(name: str) -> float | None:
        # A counter is not there before it has counted something.
        return None if rates is None else rates.get(name, 0.0)

    return {
        "at": look.at.isoformat(),
        "status": look.status,
        **{name: look.readings.get(name) for name in _READINGS},
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


def _rates(before: Look | None, now: Look, due: _Due) -> dict[str, float] | None:
    """Return how much each counter grew per minute, or None if that cannot be told."""
    if before is None or now.job_id is None or before.job_id != now.job_id:
        return None
    minutes = (now.at - before.at).total_seconds() / 60
    if minutes <= 0 or now.at > due.after(before.at):
        return None
    grown = {name: value - before.totals.get(name, 0) for name, value in now.totals.items()}
    # Counters only go up: one that went back, or away, has begun anew.
    if any(value < 0 for value in grown.values()) or before.totals.keys() - now.totals.keys():
        return None
    return {name: round(value / minutes, 3) for name, value in grown.items()}


def _reasons(verdict: Mapping[str, Any]) -> Iterator[dict[str, str | None]]:
    given = verdict.get("reasons")
    for reason in given if isinstance(given, list) else []:
        reason = mapping(reason)
        yield {
            "code": text(reason.get("code")) or "OTHER",
            "status": text(reason.get("status")),
            "text": text(reason.get("text")) or "",
        }


def _headline(verdict: Mapping[str, Any]) -> str:
    try:
        return Verdict.from_json(verdict).headline
    except ValueError:
        return text(verdict.get("status")) or ""
