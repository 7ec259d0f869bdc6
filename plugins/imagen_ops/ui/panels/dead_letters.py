"""The dead letters of the last 24 hours by reason, with samples, and the latest replays.

Counts come from the newest part of the index of failures that the jobs write. If a day has more
than the page reads, the counts cover fewer hours, and the answer says how many.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from beam_jobs.images.location import END_OF_TIME_MS, FAILURES, index_folder
from imagen_ops.records.folders import REPLAY_RECORDS
from imagen_ops.ui.panels.steps import run_url
from imagen_ops.ui.storage import Deadline, Storage, StoredObject
from imagen_ops.ui.untrusted import flag, moment, number, numbers, text

DAG_ID = "imagen_dead_letters_replay"
INDEX = index_folder(FAILURES)
HOURS = 24
_MAX_SAMPLES = 3
# Objects of the index, which have up to 200 dead letters each.
MAX_OBJECTS = 100
_REPLAYS_SHOWN_FOR = timedelta(days=14)
_MAX_REPLAYS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """The dead letters in an object of the index.

    Attributes:
        counts: number of dead letters by reason.
        samples: the newest few by reason, newest first.
    """

    counts: Counter[str]
    samples: dict[str, list[dict[str, Any]]]


def tally(records: Iterator[dict[str, Any]]) -> Tally:
    """Count the dead letters in an object of the index. Skips records without a reason."""
    result = Tally(Counter(), {})
    for record in reversed(list(records)):
        reason = text(record.get("reason"))
        if reason is None:
            continue
        result.counts[reason] += 1
        samples = result.samples.setdefault(reason, [])
        if len(samples) < _MAX_SAMPLES:
            names = ("prompt_id", "prompt", "detail", "at", "source")
            sample: dict[str, Any] = {name: text(record.get(name)) for name in names}
            samples.append({**sample, "retryable": flag(record.get("retryable"))})
    return result


def replays(records: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the page shows of each replay in a day's records. Skips those without a time."""
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
    """Read the dead letters of the last 24 hours and the latest replays.

    Returns:
        `{"hours", "by_reason", "replays"}`: hours are those that the counts cover.

    Raises:
        ReadError: they cannot be read.
    """
    settings, deadline, now = storage.settings(), Deadline(), now or datetime.now(UTC)
    location = settings.images_location.removeprefix(f"gs://{settings.bucket}/")
    prefix = f"{location}/{INDEX}"
    since = now - timedelta(hours=HOURS)
    end = f"{prefix}{END_OF_TIME_MS - int(since.timestamp() * 1000):013d}"
    objects, more = storage.list_objects(prefix, MAX_OBJECTS, deadline, end=end)
    tallies = storage.read(objects, tally, deadline)
    days = storage.list_days(REPLAY_RECORDS, now - _REPLAYS_SHOWN_FOR, deadline)
    # The record of a retry includes the counts of earlier tries, so the last one per run counts.
    by_run = {
        replay["run_id"]: replay for day in storage.read(days, replays, deadline) for replay in day
    }
    newest = sorted(by_run.values(), key=lambda replay: moment(replay["at"]) or now, reverse=True)
    return {
        "hours": _hours_since(objects[-1], prefix, now) if more else HOURS,
        "by_reason": list(_by_reason(tallies)),
        "replays": newest[:_MAX_REPLAYS],
    }


def _by_reason(tallies: list[Tally]) -> Iterator[dict[str, Any]]:
    counts = sum((each.counts for each in tallies), Counter())
    for reason, count in counts.most_common():
        samples = [sample for each in tallies for sample in each.samples.get(reason, [])]
        yield {"reason": reason, "count": count, "samples": samples[:_MAX_SAMPLES]}


def _hours_since(oldest: StoredObject, prefix: str, now: datetime) -> float:
    """Return the hours since an object of the index was written, which its name tells."""
    try:
        written_ms = END_OF_TIME_MS - int(oldest.name.removeprefix(prefix)[:13])
    except ValueError:
        return HOURS
    return max(0.1, round((now.timestamp() - written_ms / 1000) / 3600, 1))
