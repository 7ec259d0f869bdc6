"""The newest outcomes by time, for people who look: images have names that tell nothing of when.

Lines of JSON in objects under `<location>/recent/`, whose names put the newest first: one page of
a listing has them, however many images there are. A convenience, written beside the work by a
thread of its own: a line may be lost with its worker, but no prompt waits for one, or fails by it.
"""

import atexit
import collections
import contextlib
import datetime
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import storage

from beam_jobs.images.store import Location
from beam_jobs.outcomes import Outcome, Prediction

_log = logging.getLogger(__name__)

RECENT_SCHEMA = "imagen.recent/1"
PREDICTIONS, FAILURES = KINDS = ("predictions", "failures")
# Of a prompt and of a detail; whole they are in the record and in the dead letter.
MAX_CHARS = 500
MAX_LINES = 200
# Of each kind; when storage does not take them, the oldest go.
MAX_WAITING = 2000
# Cloud Storage charges for each object that is written: 0.43 $ for a day of one a second
# (cloud.google.com/storage/pricing: class A, 0.005 $ for 1,000).
BETWEEN_OBJECTS_S = 1.0
AFTER_ERROR_S = 10.0
ERRORS_EVERY_S = 60.0
REQUEST_TIMEOUT_S = 10.0
# How long a process that ends may be held up for its last lines.
AT_EXIT_S = 3.0
# The most names that Cloud Storage puts on a page.
PAGE_NAMES = 1000

# Names count down from here, in milliseconds: 13 digits until the year 2286.
_END_OF_TIME_MS = 9_999_999_999_999


def folder(location: Location, kind: str) -> str:
    """Return what the names of a kind's objects begin with."""
    return f"{location.prefix}recent/{kind}/"


def note(outcome: Outcome, location: Location) -> None:
    """Have one ended prompt written to the index of `location`, soon. Never blocks nor raises."""
    if isinstance(outcome, Prediction) and outcome.canary:
        return
    _index_of(location).add(outcome)


def line(outcome: Outcome) -> dict[str, Any]:
    """Return what the index says of an outcome that has just come about."""
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    told: dict[str, Any] = {"schema": RECENT_SCHEMA, "at": at, "prompt_id": outcome.prompt_id}
    if isinstance(outcome, Prediction):
        return told | {
            "prompt": outcome.prompt[:MAX_CHARS],
            "model": outcome.model,
            "images": list(outcome.images),
            "source": outcome.source,
            "reused": outcome.reused,
            "latency_ms": outcome.latency_ms,
        }
    # A character has four bytes at most; a body may have ten million.
    body = outcome.body[: 4 * MAX_CHARS].decode("utf-8", "replace")
    return told | {
        "prompt": body[:MAX_CHARS],
        "reason": outcome.reason.value,
        "detail": outcome.detail[:MAX_CHARS],
        "retryable": outcome.retryable,
        "source": outcome.source,
    }


def read(
    client: storage.Client, location: Location, kind: str, most_objects: int
) -> Iterator[dict[str, Any]]:
    """Yield the lines of the newest objects, newest first; one page of a listing at most.

    What is no line is passed over. Google's exceptions pass through.
    """
    blobs = client.list_blobs(
        location.bucket,
        prefix=folder(location, kind),
        max_results=min(most_objects, PAGE_NAMES),
        fields="items(name),nextPageToken",
    )
    for blob in list(blobs):
        with contextlib.suppress(api_exceptions.NotFound):  # its days were over just now
            for text in reversed(blob.download_as_bytes().splitlines()):
                with contextlib.suppress(ValueError):
                    told = json.loads(text)
                    if isinstance(told, dict) and told.get("schema") == RECENT_SCHEMA:
                        yield told


class _Lines:
    """The lines of one kind: those that wait, and the object that they become."""

    def __init__(self, prefix: str) -> None:
        self.waiting: collections.deque[dict[str, Any]] = collections.deque(maxlen=MAX_WAITING)
        self._prefix = prefix
        self._last_ms = 0
        self._next: tuple[str, bytes] | None = None

    @property
    def left(self) -> bool:
        """Whether there is something to write."""
        return bool(self._next or self.waiting)

    def next(self) -> tuple[str, bytes] | None:
        """Return name and content of the next object, the same until `written`; None if none."""
        if self._next is None and (lines := list(self._taken())):
            content = "".join(f"{json.dumps(told)}\n" for told in lines)
            self._next = self._name(), content.encode("ascii")
        return self._next

    def written(self) -> None:
        """The object is in storage."""
        self._next = None

    def _taken(self) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(IndexError):
            for _ in range(MAX_LINES):
                yield self.waiting.popleft()

    def _name(self) -> str:
        # A clock that is set back, or two objects in a millisecond, must not turn the order round.
        self._last_ms = max(self._last_ms + 1, time.time_ns() // 1_000_000)
        return f"{self._prefix}{_END_OF_TIME_MS - self._last_ms:013d}-{secrets.token_hex(4)}.jsonl"


class _Index:
    """Writes the lines of this process to one location, from a thread of its own."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._lines = {kind: _Lines(folder(location, kind)) for kind in KINDS}
        self._bucket: storage.Bucket | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._work = threading.Event()
        self._closing = threading.Event()
        self._complained_at = float("-inf")

    def add(self, outcome: Outcome) -> None:
        """Let the line of one outcome wait for its object."""
        kind = PREDICTIONS if isinstance(outcome, Prediction) else FAILURES
        try:
            self._lines[kind].waiting.append(line(outcome))
            if self._thread is None:
                self._start()
            if not self._work.is_set():
                self._work.set()
        except Exception as error:  # such as a system that has no thread left for us
            self._complain(error)

    def close(self) -> None:
        """Have all that waits written at once."""
        self._closing.set()
        self._work.set()

    def join(self, seconds: float) -> None:
        """Wait for the end of a closed index, no longer than `seconds`."""
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
            self._work.wait()
            closing = self._closing.wait(pause)
            # Before the lines are taken: what is added meanwhile sets it again.
            self._work.clear()
            pause = BETWEEN_OBJECTS_S
            try:
                self._write(everything=closing)
            except Exception as error:
                self._complain(error)
                pause = AFTER_ERROR_S
            if any(lines.left for lines in self._lines.values()):
                self._work.set()

    def _write(self, *, everything: bool) -> None:
        """Write one object of each kind, or all that there are."""
        for lines in self._lines.values():
            while found := lines.next():
                self._create(*found)
                lines.written()
                if not everything:
                    break

    def _create(self, name: str, content: bytes) -> None:
        if self._bucket is None:
            # Objects belong to their bucket; no project needs to be known.
            self._bucket = storage.Client(project=None).bucket(self._location.bucket)
        # An earlier try may have come through, and only its answer not.
        with contextlib.suppress(api_exceptions.PreconditionFailed):
            self._bucket.blob(name).upload_from_string(
                content,
                content_type="application/jsonl",
                if_generation_match=0,
                timeout=REQUEST_TIMEOUT_S,
                retry=None,
            )

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained_at < ERRORS_EVERY_S:
            return
        self._complained_at = now
        known = (api_exceptions.GoogleAPIError, auth_exceptions.GoogleAuthError, OSError)
        # Nobody knows whether another error's text quotes a prompt.
        detail = f": {str(error)[:200]}" if isinstance(error, known) else ""
        _log.warning(
            "the index of recent outcomes at %s is not written; prompts go on without it: %s%s",
            self._location.url(self._location.prefix),
            type(error).__name__,
            detail,
        )


_indexes: dict[Location, _Index] = {}
_indexes_lock = threading.Lock()


def flush(seconds: float = AT_EXIT_S) -> None:
    """Write what waits, and end. Returns after `seconds` at the latest."""
    deadline = time.monotonic() + seconds
    with _indexes_lock:
        indexes = list(_indexes.values())
        _indexes.clear()
    for index in indexes:
        index.close()
    for index in indexes:
        index.join(deadline - time.monotonic())


def _index_of(location: Location) -> _Index:
    index = _indexes.get(location)
    if index is None:
        with _indexes_lock:
            index = _indexes.setdefault(location, _Index(location))
    return index


def _forget() -> None:
    """In the child of a fork: its parent's lines are its parent's, and so is the thread."""
    global _indexes_lock
    _indexes_lock = threading.Lock()
    _indexes.clear()


atexit.register(flush)
os.register_at_fork(after_in_child=_forget)
