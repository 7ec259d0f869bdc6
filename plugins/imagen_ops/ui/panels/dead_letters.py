"""The dead letters of the last day by reason, with samples, and what was replayed.

By the index that the jobs leave of failures: the newest of it. When a day has more, what is told is
told of as many hours as were read.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from imagen_ops.records.folders import REPLAY_RECORDS
from imagen_ops.ui.panels.backfills import run_url
from imagen_ops.ui.storage import Deadline, Storage, Stored
from imagen_ops.ui.untrusted import flag, moment, number, numbers, text

DAG_ID = "imagen_dead_letters_replay"
INDEX = "recent/failures/"
HOURS = 24
_SAMPLES = 3
# Of the index, at up to 200 dead letters each.
MAX_OBJECTS = 100
_REPLAYS_WITHIN = timedelta(days=14)
_MAX_REPLAYS = 10
# As beam_jobs/images/recent_index.py names them.
_END_OF_TIME_MS = 9_999_999_999_999


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """What an object of the index tells: how many of each reason, and the newest of them."""

    counts: Counter[str]
    samples: dict[str, list[dict[str, Any]]]


def tally(records: Iterator[dict[str, Any]]) -> Tally:
    """Count what an object of the index tells of."""
    found = Tally(Counter(), {})
    for record in reversed(list(records)):
        reason = text(record.get("reason"))
        if reason is None:
            continue
        found.counts[reason] += 1
        samples = found.samples.setdefault(reason, [])
        if len(samples) < _SAMPLES:
            names = ("prompt_id", "prompt", "detail", "at", "source")
            sample: dict[str, Any] = {name: text(record.get(name)) for name in names}
            samples.append({**sample, "retryable": flag(record.get("retryable"))})
    return found


def replays(records: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is shown of the replays that a day's records tell of."""
    return [
        {
            "run_id": (run_id := text(record.get("run_id")) or ""),
            "at": text(record.get("at")),
            "dry_run": flag(record.get("dry_run")),
            "finished": flag(record.get("finished")),
            **{name: numbers(record.get(name)) for name in ("replayed", "archived", "left")},
            "unreadable": number(record.get("unreadable")) or 0,
            "url": run_url(DAG_ID, run_id),
        }
        for record in records
        if moment(record.get("at"))
    ]


def read_dead_letters(storage: Storage, now: datetime | None = None) -> dict[str, Any]:
    """Read the last day's.

    Raises:
        TroubleError: they cannot be read.
    """
    settings, deadline, now = storage.settings(), Deadline(), now or datetime.now(UTC)
    location = settings.images_location.removeprefix(f"gs://{settings.bucket}/")
    prefix = f"{location}/{INDEX}"
    since = now - timedelta(hours=HOURS)
    end = f"{prefix}{_END_OF_TIME_MS - int(since.timestamp() * 1000):013d}"
    objects, more = storage.listed(prefix, MAX_OBJECTS, deadline, end=end)
    tallies = storage.read(objects, tally, deadline)
    days = storage.days(REPLAY_RECORDS, now - _REPLAYS_WITHIN, deadline)
    # A try that came later says what those before it did, too.
    by_run = {one["run_id"]: one for day in storage.read(days, replays, deadline) for one in day}
    newest = sorted(by_run.values(), key=lambda one: moment(one["at"]) or now, reverse=True)
    return {
        "hours": _hours(objects[-1], prefix, now) if more else HOURS,
        "by_reason": list(_by_reason(tallies)),
        "replays": newest[:_MAX_REPLAYS],
    }


def _by_reason(tallies: list[Tally]) -> Iterator[dict[str, Any]]:
    counts = sum((one.counts for one in tallies), Counter())
    for reason, count in counts.most_common():
        samples = [sample for one in tallies for sample in one.samples.get(reason, [])]
        yield {"reason": reason, "count": count, "samples": samples[:_SAMPLES]}


def _hours(oldest: Stored, prefix: str, now: datetime) -> float:
    """Return the hours since an object of the index was written."""
    try:
        written = _END_OF_TIME_MS - int(oldest.name.removeprefix(prefix)[:13])
    except ValueError:
        return HOURS
    return max(0.1, round((now.timestamp() - written / 1000) / 3600, 1))
