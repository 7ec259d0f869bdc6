"""Records over time: JSON Lines in Cloud Storage, one object per day.

Objects are called `<folder>/ds=YYYY-MM-DD.jsonl`, with days in UTC and one line per record, oldest
first. Every deployment has a bucket, and BigQuery's external tables can partition by `ds=`. This
module knows only a record's `schema`, `run_id` and `at`, so each kind of record, such as
`imagen.health/1`, has its own folder.
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

from imagen_ops.records.patience import storage_patience

if TYPE_CHECKING:
    from google.cloud.storage import Client

# A health check every 5 minutes makes 288 records a day, of 1 to 3 kB each. Far more than that is
# an accident, and each `put` reads and writes the whole object.
MAX_LINES_PER_DAY = 5_000
MAX_BYTES_PER_DAY = 16 << 20
MAX_BYTES_PER_RECORD = 64 << 10

# Each lost race means that another writer stored its record, so this many concurrent writers all
# succeed in the worst case. Cloud Storage accepts about one write per second to the same object.
_MAX_TRIES = 24
_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 4.0

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_SCHEMA = re.compile(r"imagen\.[a-z_]+/\d+")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]*(?:/[A-Za-z0-9][A-Za-z0-9_.=-]*)*")

_log = logging.getLogger(__name__)


class History:
    """Records of one kind in one folder of a bucket.

    Google's exceptions pass through, except that a day without an object has no records.
    """

    def __init__(self, client: "Client", bucket: str, folder: str = "health") -> None:
        """Open a folder of records.

        Args:
            client: must be allowed to read, list and write objects under `folder`.
            bucket: the name, without gs://.
            folder: without slashes at either end.

        Raises:
            ValueError: `bucket` or `folder` is not a valid name.
        """
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"expected a bucket name without gs://, got {bucket!r}")
        if not _FOLDER.fullmatch(folder):
            raise ValueError(
                "expected a folder such as 'health' or 'ops/health', without slashes at either "
                f"end, got {folder!r}"
            )
        self._bucket = client.bucket(bucket)
        self._prefix = f"{folder}/ds="

    def put(self, record: Mapping[str, Any]) -> None:
        """Add a record to its day. It replaces a record of the same `run_id` on that day.

        Safe with concurrent writers. Beyond `MAX_LINES_PER_DAY` or `MAX_BYTES_PER_DAY`, the oldest
        lines of the day are dropped.

        Args:
            record: a JSON object with `schema` (such as `imagen.health/1`), `run_id`, `at` (ISO
                8601 with a time zone) and any other fields. NaN and infinities become null.

        Raises:
            ValueError: the record lacks one of these fields or exceeds `MAX_BYTES_PER_RECORD`.
            google.api_core.exceptions.PreconditionFailed: other writers won every race.
            google.api_core.exceptions.NotFound: the bucket does not exist.
        """
        from google.api_core.exceptions import PreconditionFailed

        recorded_at = _recorded_at(record)
        line = json.dumps(_finite(record)).encode()
        if len(line) > MAX_BYTES_PER_RECORD:
            raise ValueError(
                f"expected a record of at most {MAX_BYTES_PER_RECORD:,} bytes, got {len(line):,} "
                f"bytes for run {record['run_id']!r}: shorten the texts in it"
            )
        name = self._name(recorded_at)
        for attempt in range(1, _MAX_TRIES + 1):
            try:
                content, generation = self._current(name)
                self._bucket.blob(name).upload_from_string(
                    _with_line(content, line, recorded_at, record["run_id"]),
                    content_type="application/x-ndjson",
                    if_generation_match=generation,
                    **storage_patience(),
                )
                return
            except PreconditionFailed:
                if attempt == _MAX_TRIES:
                    raise
            pause = min(_FIRST_PAUSE_S * 2**attempt, _MAX_PAUSE_S)
            time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret

    def since(self, at: datetime) -> list[dict[str, Any]]:
        """Return the records at or after `at`, oldest first, one per `run_id`.

        Args:
            at: a time with a time zone.
        """
        at = _utc(at)
        records: dict[str, tuple[datetime, dict[str, Any]]] = {}
        for name in self._days(at, None):
            for recorded_at, record in self._read(name):
                if recorded_at >= at:
                    # A task that is retried past midnight has a line on both days. The later one
                    # counts.
                    records[record["run_id"]] = (recorded_at, record)
        return [record for _, record in sorted(records.values(), key=lambda item: item[0])]

    def last(self, before: datetime, within_days: int = 7) -> dict[str, Any] | None:
        """Return the newest record strictly before `before`, or None.

        Args:
            before: a time with a time zone.
            within_days: the maximum age of the record, in days. An older one says nothing about
                today.
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
        """Return the object names from one day to another, both inclusive, in order."""
        pattern = re.compile(re.escape(self._prefix) + r"\d{4}-\d\d-\d\d\.jsonl")
        blobs = self._bucket.list_blobs(
            prefix=self._prefix,
            start_offset=self._name(first),
            # The end offset is exclusive.
            end_offset=None if last is None else self._name(last + timedelta(days=1)),
            fields="items(name),nextPageToken",
            **storage_patience(),
        )
        return sorted(blob.name for blob in blobs if pattern.fullmatch(blob.name))

    def _current(self, name: str) -> tuple[bytes, int]:
        """Return an object's content and generation; empty and 0 if there is no object.

        Raises:
            google.api_core.exceptions.PreconditionFailed: it changed while it was read.
        """
        from google.api_core.exceptions import NotFound, PreconditionFailed

        blob = self._bucket.get_blob(name, **storage_patience())
        if blob is None:
            return b"", 0
        try:
            content = blob.download_as_bytes(
                if_generation_match=blob.generation, **storage_patience()
            )
            return content, blob.generation
        except NotFound as error:
            raise PreconditionFailed(f"{name} was deleted while it was read") from error

    def _read(self, name: str) -> Iterator[tuple[datetime, dict[str, Any]]]:
        from google.api_core.exceptions import NotFound

        try:
            content = self._bucket.blob(name).download_as_bytes(**storage_patience())
        except NotFound:
            return
        invalid = 0
        for line in _lines(content):
            parsed = _parse(line)
            if parsed is None:
                invalid += 1
            else:
                yield parsed
        if invalid:
            _log.warning(
                "gs://%s/%s: skipped %d invalid %s",
                self._bucket.name,
                name,
                invalid,
                "line" if invalid == 1 else "lines",
            )


def _with_line(content: bytes, line: bytes, recorded_at: datetime, run_id: str) -> bytes:
    """Return a day's `content` with `line` added, sorted by time and within the limits.

    Invalid lines stay, sorted first, so that somebody can still repair them.
    """
    rows = []
    for existing in _lines(content):
        parsed = _parse(existing)
        if parsed is None:
            rows.append((datetime.min.replace(tzinfo=UTC), existing))
        elif parsed[1]["run_id"] != run_id:
            rows.append((parsed[0], existing))
    rows.append((recorded_at, line))
    rows.sort(key=lambda row: row[0])
    newest: list[bytes] = []
    size = 0
    for _, row in reversed(rows[-MAX_LINES_PER_DAY:]):
        size += len(row) + 1
        if size > MAX_BYTES_PER_DAY:
            break
        newest.append(row)
    if dropped := len(rows) - len(newest):
        _log.warning(
            "dropped the %d oldest %s of %s: a day holds at most %d records and %d MiB",
            dropped,
            "record" if dropped == 1 else "records",
            recorded_at.date().isoformat(),
            MAX_LINES_PER_DAY,
            MAX_BYTES_PER_DAY >> 20,
        )
    return b"".join(row + b"\n" for row in reversed(newest))


def _lines(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if line.strip()]


def _parse(line: bytes) -> tuple[datetime, dict[str, Any]] | None:
    """Return the time and the record in a line, or None if the line is invalid."""
    try:
        record = json.loads(line.decode("utf-8"))
        return _recorded_at(record), record
    except (ValueError, RecursionError):
        return None


def _recorded_at(record: Any) -> datetime:
    """Return the time of a record, in UTC.

    Raises:
        ValueError: it is not a valid record; the message says why.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"expected a record, which is a JSON object, got {type(record).__name__}")
    schema, run_id, at = record.get("schema"), record.get("run_id"), record.get("at")
    if not isinstance(schema, str) or not _SCHEMA.fullmatch(schema):
        raise ValueError(f"expected a record with a schema such as imagen.health/1, got {schema!r}")
    if not isinstance(run_id, str) or not run_id:
        raise ValueError(f"expected a record whose run_id is a non-empty string, got {run_id!r}")
    if not isinstance(at, str):
        raise ValueError(f"expected a record whose `at` is an ISO 8601 time, got {at!r}")
    return _utc(datetime.fromisoformat(at))


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError(f"expected a time with a zone, such as …+00:00, got {at.isoformat()!r}")
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(
            f"expected a time between the years 1 and 9999 in UTC, got {at.isoformat()}"
        ) from error


def _finite(value: Any) -> Any:
    """Return `value` with None for NaN and infinities, which are not valid JSON."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
