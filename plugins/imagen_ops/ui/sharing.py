"""Reads once what many open pages ask for at the same time.

Reads run in a few threads of their own. Requests that need a read which is already in progress wait
for it without holding a thread, so storage that hangs does not slow down Airflow's API server. A
read that nobody awaits any more is dropped, if it has not begun.
"""

import asyncio
import dataclasses
import logging
import threading
from collections.abc import Callable, Hashable
from typing import Any

import cachetools  # type: ignore[import-untyped]

from imagen_ops.ui.turns import Busy, Place, Turns

_log = logging.getLogger(__name__)

# Whose reads they are, for `Turns`. The panels: so few different reads that no user can fill the
# queue.
PANEL_PLACES = {"threads": 4, "user_threads": 4, "waiting": 16, "user_waiting": 16}
# What a user chooses to read, such as older images; and how much of it is kept.
CHOSEN_PLACES = {"threads": 4, "user_threads": 2, "waiting": 64, "user_waiting": 16}
CHOSEN_ANSWERS = 64
CHOSEN_CACHED_CHARACTERS = 2_000_000
# How long an error is reported before the read is tried again.
ERROR_TTL_S = 3.0


class ReadError(Exception):
    """Something cannot be read. The message tells the operator why and what to do.

    Args:
        text: the message.
        cause: what all sections with the same cause lack: `storage` or `settings`.
    """

    def __init__(self, text: str, cause: str = "storage") -> None:
        super().__init__(text)
        self.cause = cause


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a read returned, or why it failed.

    Attributes:
        data: what the read returned; None also means that there is nothing yet.
        error: the reason as a sentence for the operator; None if the read succeeded.
        cause: what a `ReadError` says that is lacking; None for other errors.
    """

    data: Any = None
    error: str | None = None
    cause: str | None = None


class SharedReads:
    """Answers by key, cached for a while. Only one thread at a time reads a key.

    Args:
        timeout_s: seconds after which a request gives up waiting. A read that has begun continues,
            and its answer is cached for the next request.
        turns: whose read is next.
        answers: maximum number of cached answers.
    """

    def __init__(self, timeout_s: float, turns: Turns, answers: int = 256) -> None:
        self._timeout_s = timeout_s
        self._turns = turns
        self._lock = threading.Lock()
        self._in_progress: dict[Hashable, _SharedRead] = {}
        # Each answer comes with its time to live in seconds.
        self._cache: cachetools.TLRUCache[Hashable, tuple[Answer, float]] = cachetools.TLRUCache(
            answers, ttu=lambda _key, cached, now: float(now + cached[1])
        )

    async def get(
        self, key: Hashable, ttl_s: float, read: Callable[[], Any], user: str = ""
    ) -> Answer:
        """Return the cached answer for a key, or read it.

        Args:
            key: identifies what is read.
            ttl_s: seconds for which a successful answer is cached.
            read: reads the data; runs in a thread. A `ReadError` becomes the answer's error.
            user: whose turn it takes, where users have shares.

        Raises:
            Busy: the read cannot be queued, or has not begun in time.
        """
        with self._lock:
            cached: tuple[Answer, float] | None = self._cache.get(key)
            if cached is not None:
                return cached[0]
            shared = self._in_progress.get(key)
            if shared is None:
                place = self._turns.take(user, lambda: self._read(key, ttl_s, read))
                shared = self._in_progress[key] = _SharedRead(place)
            shared.awaited_by += 1
        future = shared.place.future
        try:
            # Shielded: a request that is cancelled must not cancel the read for the others.
            waiting = asyncio.shield(asyncio.wrap_future(future))
            return await asyncio.wait_for(waiting, self._timeout_s)
        except TimeoutError:
            if not future.running() and not future.done():
                raise Busy.after(self._timeout_s) from None
            text = f"Cloud Storage has not answered within {self._timeout_s:g} s"
            return Answer(error=text, cause="storage")
        finally:
            self._await_no_more(key, shared)

    def _await_no_more(self, key: Hashable, shared: "_SharedRead") -> None:
        with self._lock:
            shared.awaited_by -= 1
            # The lock keeps others from joining a read that is about to be dropped.
            if not shared.awaited_by and shared.place.future.cancel():
                self._in_progress.pop(key, None)

    def _read(self, key: Hashable, ttl_s: float, read: Callable[[], Any]) -> Answer:
        try:
            answer = Answer(read())
        except ReadError as error:
            answer, ttl_s = Answer(error=str(error), cause=error.cause), ERROR_TTL_S
        except Exception as error:
            _log.exception("Cannot read %r for the page", key)
            answer = Answer(
                error=f"internal error ({type(error).__name__}: {error}). "
                "See the log of Airflow's API server"
            )
            ttl_s = ERROR_TTL_S
        with self._lock:
            self._cache[key] = (answer, ttl_s)
            del self._in_progress[key]
        return answer


@dataclasses.dataclass
class _SharedRead:
    """A read in the queue or under way, and how many requests wait for it."""

    place: Place[Answer]
    awaited_by: int = 0
