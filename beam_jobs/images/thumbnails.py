"""Small copies of images, for people who look at many: `thumbnails/` beside the images.

A background thread makes them after the images are stored. They are a convenience, as the index is:
one may be missing, but no prompt waits for it or fails because of it. What waits are names alone,
so that a burst of images takes no memory; the thread reads each image again.
"""

import atexit
import collections
import io
import logging
import threading
import time
from typing import Any, NamedTuple

from google.api_core import exceptions as api_exceptions
from google.cloud import storage
from PIL import Image

from beam_jobs.images.location import Location
from beam_jobs.images.refusals import Refusal

_log = logging.getLogger(__name__)

# Pixels of the longer side: twice what a page of images shows, for screens of high density.
SIDE = 320
# Of an image that is read. The largest that a model makes have 4096 by 4096 pixels, and take four
# bytes each while they are read. A small file can claim to have any number of them.
MAX_PIXELS = 4096 * 4096 * 5 // 4
MAX_BYTES = 64 << 20
_FORMATS = ("PNG", "JPEG", "WEBP")
# Of WebP: from 0 to 100, and from 0 (fast) to 6 (small).
_QUALITY, _EFFORT = 75, 2
# Images that may wait. With more, the oldest get none.
MAX_WAITING = 10_000
# The thread computes for at most this share of the time that the rest of the process leaves of one
# core: prompts come first. At 35 ms for a PNG of 1024 by 1024 pixels these are up to 7 images a
# second; with a model of 15 s, a worker makes 4.
MAX_SHARE = 0.25
# This much of a core counts as left even if nothing is, so that a process that is always busy makes
# some: with these numbers, one in 3.5 s.
MIN_LEFT = 0.04
# While the thread rests, it looks so often whether the rest of the process is as busy as before.
_LOOK_EVERY_S, _LOOK_AGAIN_S = 0.5, 0.1
ERRORS_EVERY_S = 60.0
REQUEST_TIMEOUT_S = 10.0
# How many seconds the last thumbnails may delay the exit of a process.
AT_EXIT_S = 5.0


class _Times(NamedTuple):
    """Seconds that have passed, and that the process and this thread have computed."""

    passed: float
    process: float
    thread: float

    @classmethod
    def now(cls) -> "_Times":
        return cls(time.monotonic(), time.process_time(), time.thread_time())

    def left(self, now: "_Times") -> float:
        """Return how much of a core the other threads have left since then, in seconds."""
        passed = now.passed - self.passed
        others = now.process - self.process - (now.thread - self.thread)
        return max(MIN_LEFT * passed, passed - others)


class NoThumbnailError(ValueError):
    """A file of which no thumbnail can be made. The message says why, and quotes nothing of it."""


def thumbnail_of(data: bytes) -> bytes:
    """Return a small WebP copy of a PNG, JPEG or WebP image: at most `SIDE` pixels on a side.

    Raises:
        NoThumbnailError: `data` is no such image, is damaged, or has over `MAX_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise NoThumbnailError(f"{width} by {height} pixels, over {MAX_PIXELS:,}")
            # Lets a JPEG be read at a smaller size, which takes half the time.
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
            small = io.BytesIO()
            # WebP has both; anything else, such as a palette, becomes one of them.
            mode = "RGBA" if image.has_transparency_data else "RGB"
            image.convert(mode).save(small, "WEBP", quality=_QUALITY, method=_EFFORT)
            return small.getvalue()
    except NoThumbnailError:
        raise
    except Image.DecompressionBombError:
        raise NoThumbnailError(f"far over {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # a damaged file raises nearly anything
        raise NoThumbnailError(f"not a whole image ({type(error).__name__})") from None


class Thumbnails:
    """Makes the thumbnails of this process's images, from a thread of its own.

    Args:
        location: of the images.
        max_share: of the time that other threads leave of a core, for how much this one computes
            at most; 1: it never rests.
    """

    def __init__(self, location: Location, *, max_share: float = MAX_SHARE) -> None:
        self._location = location
        self._max_share = max_share
        self._waiting: collections.deque[tuple[str, str]] = collections.deque()
        self._work = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._closing = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._counts = collections.Counter[str]()
        self._counting = threading.Lock()
        self._bucket: storage.Bucket | None = None
        self._reported_at = float("-inf")
        atexit.register(self.close)

    def add(self, digest: str, index: int, image: str) -> None:
        """Queue the thumbnail of the stored image of that name. Never blocks or raises."""
        try:
            while len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self._count("thumbnails_missed")
            self._idle.clear()
            self._waiting.append((image, self._location.thumbnail(digest, index)))
            self._work.set()
            if self._thread is None:
                self._start()
        except Exception as error:  # such as no more threads
            self._report(error)

    def counted(self) -> dict[str, int]:
        """Return what was counted since the last call: thumbnails made, and missed."""
        with self._counting:
            counts, self._counts = self._counts, collections.Counter()
        return dict(counts)

    def wait(self, seconds: float) -> None:
        """Wait until all that are queued are made, or `seconds` are over. Call from any thread."""
        self._idle.wait(seconds)

    def close(self, seconds: float = AT_EXIT_S) -> None:
        """Make what can be made in `seconds`, and stop."""
        self._closing.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join(seconds)
            # A thread that still runs ends after the image that it is at.
            self._waiting.clear()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="imagen-thumbnails", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            self._work.wait()
            try:
                image, thumbnail = self._waiting.popleft()
            except IndexError:
                if self._closing.is_set():
                    return
                self._work.clear()
                if self._waiting:  # added since
                    self._work.set()
                else:
                    self._idle.set()
                continue
            begun = _Times.now()
            try:
                self._make(image, thumbnail)
                self._count("thumbnails_made")
            except Exception as error:
                self._count("thumbnails_missed")
                self._report(error)
            if self._max_share < 1:
                self._rest(begun)

    def _rest(self, begun: _Times) -> None:
        """Wait until the thread may have computed as much as it has since then."""
        now = _Times.now()
        owed_s = now.thread - begun.thread
        while (owed_s := owed_s - self._max_share * begun.left(now)) > 0:
            rest_s = max(_LOOK_AGAIN_S, min(_LOOK_EVERY_S, owed_s / self._max_share))
            if self._closing.wait(rest_s):
                return
            begun, now = now, _Times.now()

    def _make(self, image: str, thumbnail: str) -> None:
        if self._bucket is None:
            # Access to objects depends on the bucket, so no project is needed.
            self._bucket = storage.Client(project=None).bucket(self._location.bucket)
        patience: dict[str, Any] = {"timeout": REQUEST_TIMEOUT_S, "retry": None}
        # An end beyond the last byte is none: a larger file breaks off, and is no whole image.
        content = self._bucket.blob(image).download_as_bytes(end=MAX_BYTES, **patience)
        try:
            self._bucket.blob(thumbnail).upload_from_string(
                thumbnail_of(content),
                content_type="image/webp",
                if_generation_match=0,
                **patience,
            )
        except (api_exceptions.PreconditionFailed, api_exceptions.Forbidden) as error:
            # Another worker made the same one.
            refusal = Refusal(error.code, "", str(error))
            if not (refusal.status == 412 or refusal.is_about_replacing):
                raise

    def _count(self, name: str) -> None:
        with self._counting:
            self._counts[name] += 1

    def _report(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._reported_at < ERRORS_EVERY_S:
            return
        self._reported_at = now
        _log.warning(
            "cannot make a thumbnail in %s; prompts are not affected: %s: %s",
            self._location.url(self._location.prefix),
            type(error).__name__,
            str(error)[:200],
        )
