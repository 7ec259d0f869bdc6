"""Fills the page's index of images from what the jobs write, in the background while it is wanted.

The first pass takes a while: it reads days of the jobs' index, the newest first, and a search that
comes meanwhile is answered from what is there. Each pass after it reads only what is new.
"""

import dataclasses
import logging
import threading
import time
from datetime import UTC, datetime, timedelta

from beam_jobs.images.location import PREDICTIONS, countdown, day_folder, index_folder
from imagen_ops.ui.image_index import ImageIndex
from imagen_ops.ui.panels.images import folder_of
from imagen_ops.ui.sharing import ReadError
from imagen_ops.ui.storage import Deadline, Storage, StoredObject

_log = logging.getLogger(__name__)

# As long as `composer.tf` keeps the index by day.
KEPT_DAYS = 62
# Each pass lists three folders, which costs $0.09 a day as long as somebody has the page open.
PASS_EVERY_S = 15.0
# All is read anew after this time, so that what was erased in the bucket is not shown for longer.
ANEW_EVERY = timedelta(days=1)
# How long passes go on after the last question.
_WANTED_S = 120.0
# A worker writes an object of the index by day every two minutes, and later if storage fails.
_LATE = timedelta(minutes=15)
# The newest outcomes are not in the index by day yet.
_RECENT = timedelta(minutes=5)
_MAX_RECENT = 2_000
_MAX_OBJECTS_OF_A_DAY = 20_000
# Objects of one read, each of up to 1,000 prompts.
_BATCH = 16
_READ_TIMEOUT_S = 60.0
# Threads that parse what is read compete with the event loop for Python's global lock.
_AT_ONCE = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """What is in the index.

    Attributes:
        prompts: how many.
        since: the time of the oldest; None if there is none.
        complete: whether all that the jobs have written is in it, back to `since`.
        error: why the last pass failed; None if it did not.
    """

    prompts: int
    since: datetime | None
    complete: bool
    error: str | None


class IndexReader:
    """Keeps an index up to date for as long as somebody asks for it.

    Args:
        storage: the deployment's. It is read with threads and connections of its own.
        index: to fill.
    """

    def __init__(self, storage: Storage, index: ImageIndex) -> None:
        self._storage = storage.apart(reads=8 // _AT_ONCE, cached_characters=0)
        self._index = index
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._passed = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._wanted_until = 0.0
        self._passes = 0
        self._passed_at = float("-inf")
        self._error: str | None = None
        # Everything that was written before this time has been read; None before the first pass.
        self._through: datetime | None = None
        self._began_at = datetime.min.replace(tzinfo=UTC)
        self._read_names: set[str] = set()

    def progress(self, patience_s: float) -> Progress:
        """Ask for the index, and return what is in it.

        Args:
            patience_s: how long to wait for a pass, unless the last one is recent.
        """
        with self._lock:
            self._wanted_until = time.monotonic() + _WANTED_S
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="imagen-ui-index_0", daemon=True
                )
                self._thread.start()
            if time.monotonic() - self._passed_at > 2 * PASS_EVERY_S:
                self._wake.set()
                before = self._passes
                self._passed.wait_for(lambda: self._passes > before, patience_s)
            complete, error = self._through is not None, self._error
        prompts, since = self._index.extent()
        return Progress(prompts, since, complete, error)

    def _run(self) -> None:
        while True:
            error = self._pass()
            with self._lock:
                self._error, self._passed_at = error, time.monotonic()
                self._passes += 1
                self._passed.notify_all()
                if time.monotonic() > self._wanted_until:
                    self._thread = None
                    return
            self._wake.wait(PASS_EVERY_S)
            self._wake.clear()

    def _pass(self) -> str | None:
        """Read what is new; return why that failed, or None."""
        try:
            self._read_new(datetime.now(UTC))
        except ReadError as error:
            return str(error)
        except Exception as error:
            _log.exception("Cannot read the index of images for the page")
            return f"internal error ({type(error).__name__}). See the log of Airflow's API server"
        return None

    def _read_new(self, now: datetime) -> None:
        if now - self._began_at > ANEW_EVERY:
            self._index.clear()
            self._read_names.clear()
            self._through, self._began_at = None, now
        since = None if self._through is None else self._through - _LATE
        folder = folder_of(self._storage)
        self._read(f"{folder}{index_folder(PREDICTIONS)}", now - _RECENT, _MAX_RECENT)
        first = now - timedelta(days=KEPT_DAYS) if since is None else since
        # A worker's clock may be ahead.
        day = (now + timedelta(minutes=5)).date()
        full = False
        while day >= first.date() and not full:
            self._read(f"{folder}{day_folder(day)}", since, _MAX_OBJECTS_OF_A_DAY)
            full = self._index.drop_oldest() and since is None
            day -= timedelta(days=1)
        if self._through is None:
            # What workers of an older version wrote, and what killed workers did not come to write.
            self._read(f"{folder}{index_folder(PREDICTIONS)}", None, _MAX_RECENT)
        self._through = now
        late = countdown(int((now - _LATE).timestamp() * 1000))
        self._read_names = {
            name for name in self._read_names if name.rpartition("/")[2][: len(late)] <= late
        }

    def _read(self, prefix: str, since: datetime | None, limit: int) -> None:
        """Read the objects under `prefix` that are new since then, the newest first."""
        end = f"{prefix}{countdown(int(since.timestamp() * 1000))}" if since else ""
        listed, _ = self._storage.list_objects(prefix, limit, Deadline(_READ_TIMEOUT_S), end=end)
        new = [stored for stored in listed if stored.name not in self._read_names]
        for start in range(0, len(new), _BATCH):
            batch: list[StoredObject] = new[start : start + _BATCH]
            self._storage.read(batch, self._index.add, Deadline(_READ_TIMEOUT_S))
            self._read_names.update(stored.name for stored in batch)
