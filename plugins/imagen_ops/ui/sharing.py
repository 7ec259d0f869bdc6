"""What many pages ask for at once, read once.

Readings run in a few threads of their own. While one is under way, whoever wants the same waits for
it without holding a thread: storage that hangs takes nothing from the rest of Airflow's server.
"""

import asyncio
import dataclasses
import logging
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cachetools  # type: ignore[import-untyped]

_log = logging.getLogger(__name__)

# TroubleError is told for so long before it is looked for again.
TROUBLE_S = 3.0
_MAX_KEPT = 256


class TroubleError(Exception):
    """Something cannot be shown; the message says to a person what, and what to do about it."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What was read, or the trouble in words."""

    data: Any = None
    error: str | None = None


class Shared:
    """Answers by key, kept for a while, each read by one thread at a time.

    Args:
        patience_s: after so long whoever asks is told that it takes too long. What was begun goes
            on, and is there for the next one.
        threads: how many readings at once.
    """

    def __init__(self, patience_s: float, threads: int = 4) -> None:
        self._patience_s = patience_s
        self._threads = started_threads(threads, "imagen-ui")
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[Answer]] = {}
        self._kept: cachetools.TLRUCache[Hashable, tuple[Answer, float]] = cachetools.TLRUCache(
            _MAX_KEPT, ttu=lambda _key, kept, now: float(now + kept[1])
        )

    async def get(self, key: Hashable, for_s: float, read: Callable[[], Any]) -> Answer:
        """Return what `read` gives, or gave less than `for_s` ago, to anybody."""
        with self._lock:
            kept: tuple[Answer, float] | None = self._kept.get(key)
            if kept is not None:
                return kept[0]
            future = self._under_way.get(key)
            if future is None:
                future = self._threads.submit(self._read, key, for_s, read)
                self._under_way[key] = future
        # Shielded: who leaves does not take the answer away from the others.
        waiting = asyncio.shield(asyncio.wrap_future(future))
        try:
            return await asyncio.wait_for(waiting, self._patience_s)
        except TimeoutError:
            return Answer(error=f"Cloud Storage has not answered within {self._patience_s:g} s")

    def _read(self, key: Hashable, for_s: float, read: Callable[[], Any]) -> Answer:
        try:
            answer = Answer(read())
        except TroubleError as trouble:
            answer, for_s = Answer(error=str(trouble)), TROUBLE_S
        except Exception as error:
            _log.exception("the page's part %r cannot be read", key)
            answer = Answer(error=f"{error!r}: this is a fault; the API server's log has more")
            for_s = TROUBLE_S
        with self._lock:
            self._kept[key] = (answer, for_s)
            del self._under_way[key]
        return answer


def started_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Return a pool whose threads run already: who starts one waits for it, be it an event loop."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    together = threading.Barrier(count)
    for future in [pool.submit(together.wait) for _ in range(count)]:
        future.result()
    return pool
