"""Dead letters: how many wait, those of the last days one by one, and the latest replays.

Those that wait are counted by the health check. Their texts come from the newest part of the index
of failures that the jobs write. If a day has more than the page reads, the counts by reason cover
fewer hours, and the answer says how many.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from beam_jobs.images.location import END_OF_TIME_MS, FAILURES, index_folder
from beam_jobs.names import ARCHIVE_FOLDER
from imagen_ops.records.folders import HEALTH_RECORDS, REPLAY_RECORDS
from imagen_ops.settings import Settings
from imagen_ops.ui.panels.health_history import health_checks, in_order
from imagen_ops.ui.panels.steps import run_url
from imagen_ops.ui.storage import Deadline, Storage, StoredObject
from imagen_ops.ui.untrusted import flag, moment, number, numbers, text

DAG_ID = "imagen_dead_letters_replay"
INDEX = index_folder(FAILURES)
HOURS = 24
# Objects of the index, which have up to 200 dead letters each.
MAX_OBJECTS = 100
MAX_LIMIT = 100
MAX_WORDS = 200
REASON = r"^[A-Z][A-Z0-9_]{0,63}$"
# Where a page starts: an object of the index, and how many of its dead letters to skip.
CURSOR = r"^\d{13}-[0-9a-f]{8}\.\d{1,6}$"
_FIELDS = ("prompt_id", "prompt", "reason", "detail", "at", "source")
_SEARCHED = ("prompt_id", "prompt", "detail", "source")
# An object of the index has 1 to 200 lines. Read a few first, then twice as many each time.
_FIRST_BATCH = 8
_SHOWN_FOR = timedelta(days=14)
_MAX_REPLAYS = 10

Letter = dict[str, Any]


def letters(records: Iterator[dict[str, Any]]) -> list[Letter]:
    """Return the dead letters in an object of the index, newest first: the lines with a reason."""
    return [
        {
            **{name: text(record.get(name)) for name in _FIELDS},
            "retryable": flag(record.get("retryable")),
        }
        for record in reversed(list(records))
        if text(record.get("reason")) is not None
    ]


def tally(records: Iterator[dict[str, Any]]) -> Counter[tuple[str, bool]]:
    """Count the dead letters in an object of the index, by reason and whether to replay them."""
    return Counter((letter["reason"], letter["retryable"] is True) for letter in letters(records))


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
    """Read how many dead letters there are, and the latest replays.

    Returns:
        `{"waiting", "hours", "by_reason", "replays", "archive"}`: how many wait, and when that was
        counted; the hours that the counts by reason cover, each with how many may be replayed; the
        address of the archive.

    Raises:
        ReadError: they cannot be read.
    """
    settings, deadline, now = storage.settings(), Deadline(), now or datetime.now(UTC)
    prefix = _prefix(settings)
    since = now - timedelta(hours=HOURS)
    end = f"{prefix}{END_OF_TIME_MS - int(since.timestamp() * 1000):013d}"
    objects, more = storage.list_objects(prefix, MAX_OBJECTS, deadline, end=end)
    counts = sum(storage.read(objects, tally, deadline), Counter())
    days = storage.list_days(REPLAY_RECORDS, now - _SHOWN_FOR, deadline)
    # The record of a retry includes the counts of earlier tries, so the last one per run counts.
    by_run = {
        replay["run_id"]: replay for day in storage.read(days, replays, deadline) for replay in day
    }
    newest = sorted(by_run.values(), key=lambda replay: moment(replay["at"]) or now, reverse=True)
    return {
        "waiting": _waiting(storage, deadline, now),
        "hours": _hours_since(objects[-1], prefix, now) if more else HOURS,
        "by_reason": list(_by_reason(counts)),
        "replays": newest[:_MAX_REPLAYS],
        "archive": f"{settings.console_url}/storage/browser/{settings.bucket}/{ARCHIVE_FOLDER}"
        f"?project={quote(settings.project)}",
    }


def read_letters(
    storage: Storage, limit: int, before: str | None, reason: str | None, words: str
) -> dict[str, Any]:
    """Read one page of dead letters, newest first, of those that have a reason and all words.

    Args:
        storage: the deployment's.
        limit: maximum number, 1 to `MAX_LIMIT`.
        before: the previous page's `next`; None: start at the newest.
        reason: only those with it; None: any.
        words: separated by white space, in any case. Not a regular expression.

    Returns:
        `{"letters", "next", "until"}`: the cursor of the next page, None on the last one; and how
        far back this page has looked, where there may be more.

    Raises:
        ReadError: they cannot be read.
    """
    deadline, prefix = Deadline(), _prefix(storage.settings())
    first_object, _, skip = (before or "").partition(".")
    start = f"{prefix}{first_object}.jsonl" if first_object else ""
    objects, more = storage.list_objects(prefix, MAX_OBJECTS, deadline, start=start)
    wanted = words.casefold().split()
    found: list[Letter] = []
    batch_size, remaining = _FIRST_BATCH, objects
    while remaining:
        batch, remaining = remaining[:batch_size], remaining[batch_size:]
        batch_size *= 2
        for stored, its in zip(batch, storage.read(batch, letters, deadline), strict=True):
            name = stored.name.removeprefix(prefix).removesuffix(".jsonl")
            first = int(skip) if name == first_object else 0
            for index, letter in enumerate(its[first:], first):
                if not _has(letter, reason, wanted):
                    continue
                if len(found) == limit:
                    return {"letters": found, "next": f"{name}.{index}", "until": letter["at"]}
                found.append(letter)
    if not more:
        return {"letters": found, "next": None, "until": None}
    last = objects[-1].name.removeprefix(prefix).removesuffix(".jsonl")
    return {"letters": found, "next": f"{last}.999999", "until": _written_at(objects[-1], prefix)}


def _prefix(settings: Settings) -> str:
    return f"{settings.images_location.removeprefix(f'gs://{settings.bucket}/')}/{INDEX}"


def _has(letter: Letter, reason: str | None, words: list[str]) -> bool:
    if reason is not None and letter["reason"] != reason:
        return False
    if not words:
        return True
    searched = "\n".join(letter[name] or "" for name in _SEARCHED).casefold()
    return all(word in searched for word in words)


def _waiting(storage: Storage, deadline: Deadline, now: datetime) -> dict[str, Any] | None:
    """Return how many dead letters waited at the last health check; None if that is not known."""
    days = storage.list_days(HEALTH_RECORDS, now - timedelta(days=1), deadline)
    for check in reversed(in_order(storage.read(days, health_checks, deadline))):
        if (count := check.readings.get("dead_letters")) is not None:
            return {"count": count, "at": check.at.isoformat()}
    return None


def _by_reason(counts: Counter[tuple[str, bool]]) -> Iterator[dict[str, Any]]:
    totals: Counter[str] = Counter()
    for (reason, _), count in counts.items():
        totals[reason] += count
    for reason, count in totals.most_common():
        yield {"reason": reason, "count": count, "retryable": counts[reason, True]}


def _written_at(stored: StoredObject, prefix: str) -> str | None:
    """Return when an object of the index was written, which its name tells."""
    digits = re.match(r"\d{13}", stored.name.removeprefix(prefix))
    if not digits:
        return None
    return datetime.fromtimestamp((END_OF_TIME_MS - int(digits[0])) / 1000, UTC).isoformat()


def _hours_since(oldest: StoredObject, prefix: str, now: datetime) -> float:
    """Return the hours since an object of the index was written."""
    written = moment(_written_at(oldest, prefix))
    return max(0.1, round((now - written).total_seconds() / 3600, 1)) if written else HOURS
