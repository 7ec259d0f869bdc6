"""What was found and done over time: JSON Lines in Cloud Storage, one object per day.

`<folder>/ds=YYYY-MM-DD.jsonl`, days in UTC, one line per look, oldest first. A bucket is what there
is in every environment, and `ds=` is what BigQuery's external tables partition by. Knows nothing of
what a record says beyond its `schema`, `run_id` and `at`, so that each kind, such as
`imagen.health/1`, has a folder of its own.
"""

import json
import logging
import math
import random
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.cloud.storage import Client

# 288 looks a day at one every 5 minutes, of 1 to 3 kB: far more than that is an accident, and each
# look reads and writes the whole object.
MAX_LINES_PER_DAY = 5_000
MAX_BYTES_PER_DAY = 16 << 20
MAX_BYTES_PER_RECORD = 64 << 10

# Each time that somebody else was quicker, one record has arrived: so many writers at once are
# served in the worst case. Cloud Storage takes about one write per second to the same object.
_TRIES = 24
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 4.0

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_SCHEMA = re.compile(r"imagen\.[a-z_]+/\d+")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]*(?:/[A-Za-z0-9][A-Za-z0-9_.=-]*)*")

_log = logging.getLogger(__name__)


class History:
    """Records of one kind in one folder of a bucket.

    Google's exceptions pass through; only a day without an object is simply a day without records.
    """

    def __init__(self, client: "Client", bucket: str, folder: str = "health") -> None:
        """Use `client`, which must be able to read, list and write objects below `folder`.

        Raises:
            ValueError: `bucket` or `folder` is no name of one.
        """
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"expected a bucket's name without gs://, got {bucket!r}")
        if not _FOLDER.fullmatch(folder):
            raise ValueError(
                f"expected a folder such as 'health' or 'ops/health', without slashes at its ends, "
                f"got {folder!r}"
            )
        self._bucket = client.bucket(bucket)
        self._prefix = f"{folder}/ds="

    def put(self, record: Mapping[str, Any]) -> None:
        """Add `record` to its day, in place of the one of the same `run_id` if there is one.

        A record has `schema` (such as `imagen.health/1`), `run_id`, `at` (ISO 8601 with a zone),
        and whatever else JSON can hold; numbers that JSON cannot hold become null. Safe with any
        number of writers; past `MAX_LINES_PER_DAY` or `MAX_BYTES_PER_DAY` the oldest lines go.

        Raises:
            ValueError: it is no such record, or is larger than `MAX_BYTES_PER_RECORD`.
            google.api_core.exceptions.PreconditionFailed: others kept being quicker.
            google.api_core.exceptions.NotFound: there is no such bucket.
        """
        from google.api_core.exceptions import PreconditionFailed

        moment = _moment(record)
        line = json.dumps(_finite(record)).encode()
        if len(line) > MAX_BYTES_PER_RECORD:
            raise ValueError(
                f"the record of run {record['run_id']!r} has {len(line):,} bytes, expected at most "
                f"{MAX_BYTES_PER_RECORD:,}: shorten what it quotes"
            )
        name = self._name(moment)
        for tried in range(1, _TRIES + 1):
            try:
                content, generation = self._current(name)
                self._bucket.blob(name).upload_from_string(
                    _with(content, line, moment, record["run_id"]),
                    content_type="application/x-ndjson",
                    if_generation_match=generation,
                )
                return
            except PreconditionFailed:
                if tried == _TRIES:
                    raise
            pause = min(_FIRST_PAUSE_S * 2**tried, _LONGEST_PAUSE_S)
            time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, no secret

    def since(self, at: datetime) -> list[dict[str, Any]]:
        """Return the records at or after `at` (with a zone), oldest first; one per `run_id`."""
        at = _utc(at)
        found: dict[str, tuple[datetime, dict[str, Any]]] = {}
        for name in self._days(at, None):
            for moment, record in self._read(name):
                if moment >= at:
                    # A task retried past midnight has a line in both days: the later one counts.
                    found[record["run_id"]] = (moment, record)
        return [record for _, record in sorted(found.values(), key=lambda item: item[0])]

    def last(self, before: datetime, within_days: int = 7) -> dict[str, Any] | None:
        """Return the newest record strictly before `before` (with a zone), or None.

        None too when it is more than `within_days` older: a week-old look tells nothing of today.
        """
        before = _utc(before)
        oldest = before - timedelta(days=within_days)
        for name in reversed(self._days(oldest, before)):
            candidates = [item for item in self._read(name) if oldest <= item[0] < before]
            if candidates:
                return max(candidates, key=lambda item: item[0])[1]
        return None

    def _name(self, day: datetime) -> str:
        return f"{self._prefix}{day.date().isoformat()}.jsonl"

    def _days(self, first: datetime, last: datetime | None) -> list[str]:
        """Return the names of the objects from one day to another, both included, in order."""
        pattern = re.compile(re.escape(self._prefix) + r"\d{4}-\d\d-\d\d\.jsonl")
        blobs = self._bucket.list_blobs(
            prefix=self._prefix,
            start_offset=self._name(first),
            # The end itself is left out.
            end_offset=None if last is None else self._name(last + timedelta(days=1)),
            fields="items(name),nextPageToken",
        )
        return sorted(blob.name for blob in blobs if pattern.fullmatch(blob.name))

    def _current(self, name: str) -> tuple[bytes, int]:
        """Return an object's content and generation; of none, no content and 0.

        Raises:
            google.api_core.exceptions.PreconditionFailed: it has changed in between.
        """
        from google.api_core.exceptions import NotFound, PreconditionFailed

        blob = self._bucket.get_blob(name)
        if blob is None:
            return b"", 0
        try:
            return blob.download_as_bytes(if_generation_match=blob.generation), blob.generation
        except NotFound as error:
            raise PreconditionFailed(f"{name} was deleted while it was read") from error

    def _read(self, name: str) -> Iterator[tuple[datetime, dict[str, Any]]]:
        from google.api_core.exceptions import NotFound

        try:
            content = self._bucket.blob(name).download_as_bytes()
        except NotFound:
            return
        broken = 0
        for line in _lines(content):
            parsed = _parse(line)
            if parsed is None:
                broken += 1
            else:
                yield parsed
        if broken:
            _log.warning(
                "gs://%s/%s: skipped %d lines that are no record", self._bucket.name, name, broken
            )


def _with(content: bytes, line: bytes, moment: datetime, run_id: str) -> bytes:
    """Return a day's `content` with `line` in it, sorted, and within the limits.

    Lines that cannot be read are kept, in case somebody wants to mend them; they go first.
    """
    rows = []
    for other in _lines(content):
        parsed = _parse(other)
        if parsed is None:
            rows.append((datetime.min.replace(tzinfo=UTC), other))
        elif parsed[1]["run_id"] != run_id:
            rows.append((parsed[0], other))
    rows.append((moment, line))
    rows.sort(key=lambda row: row[0])
    kept: list[bytes] = []
    size = 0
    for _, row in reversed(rows[-MAX_LINES_PER_DAY:]):
        size += len(row) + 1
        if size > MAX_BYTES_PER_DAY:
            break
        kept.append(row)
    if len(kept) < len(rows):
        _log.warning("dropped the %d oldest lines of the day of %s", len(rows) - len(kept), moment)
    return b"".join(row + b"\n" for row in reversed(kept))


def _lines(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if line.strip()]


def _parse(line: bytes) -> tuple[datetime, dict[str, Any]] | None:
    """Return the record of a line and its time, None for a line that holds none."""
    try:
        record = json.loads(line.decode("utf-8"))
        return _moment(record), record
    except (ValueError, RecursionError):
        return None


def _moment(record: Any) -> datetime:
    """Return a record's time in UTC.

    Raises:
        ValueError: it is no record; says what is wrong with it.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"expected a record, an object, got {type(record).__name__}")
    schema, run_id, at = record.get("schema"), record.get("run_id"), record.get("at")
    if not isinstance(schema, str) or not _SCHEMA.fullmatch(schema):
        raise ValueError(f"expected a record with a schema such as imagen.health/1, got {schema!r}")
    if not isinstance(run_id, str) or not run_id:
        raise ValueError(f"expected a record with a run_id, a string, got {run_id!r}")
    if not isinstance(at, str):
        raise ValueError(f"expected a record with `at`, an ISO 8601 time, got {at!r}")
    return _utc(datetime.fromisoformat(at))


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(
            f"expected a time with a zone, such as …+00:00, got {moment.isoformat()!r}"
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"expected a time within the calendar, got {moment!r}") from error


def _finite(value: Any) -> Any:
    """Return `value` with null for NaN and infinities, which are no JSON."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
