"""An index of outcomes, for people: the names of images do not tell when they were made.

Entries are lines of JSON. Those of the newest outcomes are in objects under `<location>/recent/`, a
second after the outcome, or later if there are many workers. Object names sort newest first, so one
page of a listing has the newest, however many images there are. Predictions are under
`<location>/index/` too, by day, in so few objects that a reader can search weeks of them.

The index is a convenience that a background thread writes: an entry may be lost with its worker,
but no prompt waits for the index or fails because of it.
"""

import atexit
import contextlib
import datetime
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import storage

from beam_jobs.images.index_lines import IndexLines, gather_s
from beam_jobs.images.location import FAILURES, KINDS, PREDICTIONS, Location
from beam_jobs.images.refusals import Refusal
from beam_jobs.outcomes import Outcome, Prediction

_log = logging.getLogger(__name__)

RECENT_SCHEMA = "imagen.recent/1"
# Characters of a prompt and of a detail. The record and the dead letter hold all of them.
MAX_CHARS = 500
# Characters of all attributes of a message. An entry has all of them or none, because erasure finds
# what is meant by them.
MAX_ATTRIBUTE_CHARS = 2000
# Entries per object.
MAX_LINES = 200
# Entries per kind that may wait. While storage fails, the oldest are dropped.
MAX_WAITING = 2000
# Seconds between two objects of a kind. Cloud Storage charges for each write: one per second costs
# $0.43 a day (cloud.google.com/storage/pricing: class A, $0.005 per 1,000).
BETWEEN_OBJECTS_S = 1.0
# The same of the index by day. A worker that is killed takes so many seconds of it along, and a
# reader reads up to 720 objects of each worker and day.
DAY_EVERY_S = 120.0
DAY_MAX_LINES = 500
DAY_MAX_WAITING = 2000
# Seconds until the next attempt after an error, and between two log lines about errors.
AFTER_ERROR_S = 10.0
ERRORS_EVERY_S = 60.0
REQUEST_TIMEOUT_S = 10.0
# How many seconds the last entries may delay the exit of a process.
AT_EXIT_S = 3.0
# Maximum names on one page of a Cloud Storage listing.
PAGE_NAMES = 1000


def record_outcome(outcome: Outcome, location: Location, workers: int = 1) -> None:
    """Queue one outcome for the index of `location`. Never blocks or raises; skips canaries.

    Args:
        outcome: what is queued.
        location: the image folder.
        workers: how many processes write to it, at most.
    """
    if isinstance(outcome, Prediction) and outcome.canary:
        return
    _index_of(location, workers).add(outcome)


def index_entry(outcome: Outcome) -> dict[str, Any]:
    """Return the index entry for an outcome, with the current time."""
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    entry: dict[str, Any] = {"schema": RECENT_SCHEMA, "at": at, "prompt_id": outcome.prompt_id}
    if isinstance(outcome, Prediction):
        return (
            entry
            | {
                "digest": outcome.digest,
                "prompt": outcome.prompt[:MAX_CHARS],
                "model": outcome.model,
                "images": list(outcome.images),
                "source": outcome.source,
                "reused": outcome.reused,
                "latency_ms": outcome.latency_ms,
                "cost_usd": outcome.work.cost()["cost_usd"],
                "parameters": {
                    name: value[:MAX_CHARS] if isinstance(value, str) else value
                    for name, value in outcome.parameters.items()
                },
            }
            | _bounded(outcome.attributes)
            | ({"template": outcome.template} if outcome.template else {})
        )
    # A character has at most 4 bytes; a body may have ten million.
    body = outcome.body[: 4 * MAX_CHARS].decode("utf-8", "replace")
    return (
        entry
        | {
            "prompt": body[:MAX_CHARS],
            "reason": outcome.reason.value,
            "detail": outcome.detail[:MAX_CHARS],
            "retryable": outcome.retryable,
            "source": outcome.source,
        }
        | _bounded(outcome.attributes)
    )


def read_newest(
    client: storage.Client, location: Location, kind: str, max_objects: int, **patience: Any
) -> Iterator[dict[str, Any]]:
    """Yield the entries of the newest objects, newest first. Lines that are no entries are skipped.

    Args:
        client: reads Cloud Storage; its exceptions pass through.
        location: the image folder.
        kind: `PREDICTIONS` or `FAILURES`.
        max_objects: how many objects to read, at most one page of a listing.
        patience: `retry` and `timeout` of each request, if not the library's.
    """
    blobs = client.list_blobs(
        location.bucket,
        prefix=location.index(kind),
        max_results=min(max_objects, PAGE_NAMES),
        fields="items(name),nextPageToken",
        **patience,
    )
    for blob in list(blobs):
        with contextlib.suppress(api_exceptions.NotFound):  # expired since the listing
            for text in reversed(blob.download_as_bytes(**patience).splitlines()):
                with contextlib.suppress(ValueError):
                    entry = json.loads(text)
                    if isinstance(entry, dict) and entry.get("schema") == RECENT_SCHEMA:
                        yield entry


def _always(folder: str) -> Callable[[int], str]:
    return lambda _: folder


def _bounded(attributes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    chars = sum(len(name) + len(value) for name, value in attributes.items())
    return {"attributes": dict(attributes)} if chars <= MAX_ATTRIBUTE_CHARS else {}


class _Index:
    """Writes this process's entries for one location, from a thread of its own."""

    def __init__(self, location: Location, every_s: float) -> None:
        self._location = location
        self._recent = {
            kind: IndexLines(
                _always(location.index(kind)),
                max_lines=MAX_LINES,
                max_waiting=MAX_WAITING,
                every_s=every_s,
            )
            for kind in KINDS
        }
        self._days = IndexLines(
            location.day_index,
            max_lines=DAY_MAX_LINES,
            max_waiting=DAY_MAX_WAITING,
            every_s=DAY_EVERY_S,
        )
        self._lines = (*self._recent.values(), self._days)
        self._bucket: storage.Bucket | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._work = threading.Event()
        self._closing = threading.Event()
        self._reported_at = float("-inf")

    def add(self, outcome: Outcome) -> None:
        """Queue the entry of one outcome."""
        kind = PREDICTIONS if isinstance(outcome, Prediction) else FAILURES
        try:
            line = f"{json.dumps(index_entry(outcome))}\n".encode("ascii")
            self._recent[kind].add(line)
            if kind == PREDICTIONS:
                self._days.add(line)
            if self._thread is None:
                self._start()
            if not self._work.is_set():
                self._work.set()
        except Exception as error:  # such as no more threads
            self._report(error)

    def close(self) -> None:
        """Start writing all waiting entries at once, and stop afterwards."""
        self._closing.set()
        self._work.set()

    def join(self, seconds: float) -> None:
        """Wait up to `seconds` until a closed index has stopped."""
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="imagen-recent", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        pause, closing = BETWEEN_OBJECTS_S, False
        while not closing:
            self._work.wait(self._due_in_s())
            closing = self._closing.wait(pause)
            # Cleared before the entries are taken, so that an entry added meanwhile sets it again.
            self._work.clear()
            pause = BETWEEN_OBJECTS_S
            try:
                self._write(everything=closing)
            except Exception as error:
                self._report(error)
                pause = AFTER_ERROR_S
            if self._due_in_s() == 0:
                self._work.set()

    def _due_in_s(self) -> float | None:
        """Return in how many seconds an object is due; None if nothing waits."""
        return min(
            (s for lines in self._lines if (s := lines.due_in_s()) is not None), default=None
        )

    def _write(self, *, everything: bool) -> None:
        """Write one object of each kind that is due, or all waiting entries."""
        for lines in self._lines:
            while (everything or lines.due_in_s() == 0) and (next_object := lines.next()):
                self._create(*next_object)
                lines.written()
                if not everything:
                    break

    def _create(self, name: str, content: bytes) -> None:
        if self._bucket is None:
            # Access to objects depends on the bucket, so no project is needed.
            self._bucket = storage.Client(project=None).bucket(self._location.bucket)
        try:
            self._bucket.blob(name).upload_from_string(
                content,
                content_type="application/jsonl",
                if_generation_match=0,
                timeout=REQUEST_TIMEOUT_S,
                retry=None,
            )
        except (api_exceptions.PreconditionFailed, api_exceptions.Forbidden) as error:
            refusal = Refusal(error.code, "", str(error))
            # An earlier attempt may have succeeded although its answer was lost.
            if not (refusal.status == 412 or refusal.is_about_replacing):
                raise

    def _report(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._reported_at < ERRORS_EVERY_S:
            return
        self._reported_at = now
        known = (api_exceptions.GoogleAPIError, auth_exceptions.GoogleAuthError, OSError)
        # The text of any other error might quote a prompt.
        detail = f": {str(error)[:200]}" if isinstance(error, known) else ""
        _log.warning(
            "cannot write the index of recent outcomes in %s; prompts are not affected: %s%s",
            self._location.url(self._location.prefix),
            type(error).__name__,
            detail,
        )


_indexes: dict[Location, _Index] = {}
_indexes_lock = threading.Lock()


def flush(seconds: float = AT_EXIT_S) -> None:
    """Write all waiting entries and stop. Returns after `seconds` at the latest."""
    deadline = time.monotonic() + seconds
    with _indexes_lock:
        indexes = list(_indexes.values())
        _indexes.clear()
    for index in indexes:
        index.close()
    for index in indexes:
        index.join(deadline - time.monotonic())


def _index_of(location: Location, workers: int) -> _Index:
    index = _indexes.get(location)
    if index is None:
        with _indexes_lock:
            index = _indexes.setdefault(location, _Index(location, gather_s(workers)))
    return index


atexit.register(flush)
