"""Reads once what many open pages ask for at the same time.

Reads run in a few threads of their own. Requests that need a read which is already in progress wait
for it without holding a thread, so storage that hangs does not slow down Airflow's API server.
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

# How long an error is reported before the read is tried again.
ERROR_TTL_S = 3.0
_MAX_CACHED_ANSWERS = 256


class ReadError(Exception):
    """Something cannot be read. The message tells the operator why and what to do."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a read returned, or why it failed.

    Attributes:
        data: what the read returned; None also means that there is nothing yet.
        error: the reason as a sentence for the operator; None if the read succeeded.
    """

    data: Any = None
    error: str | None = None


class SharedReads:
    """Answers by key, cached for a while. Only one thread at a time reads a key.

    Args:
        timeout_s: seconds after which a request gives up waiting. The read itself continues, and
            its answer is cached for the next request.
        threads: maximum number of reads at the same time.
    """

    def __init__(self, timeout_s: float, threads: int = 4) -> None:
        self._timeout_s = timeout_s
        self._threads = start_thread_pool(threads, "imagen-ui")
        self._lock = threading.Lock()
        self._in_progress: dict[Hashable, Future[Answer]] = {}
        # Each answer comes with its time to live in seconds.
        self._cache: cachetools.TLRUCache[Hashable, tuple[Answer, float]] = cachetools.TLRUCache(
            _MAX_CACHED_ANSWERS, ttu=lambda _key, cached, now: float(now + cached[1])
        )

    async def get(self, key: Hashable, ttl_s: float, read: Callable[[], Any]) -> Answer:
        """Return the cached answer for a key, or read it.

        Args:
            key: identifies what is read.
            ttl_s: seconds for which a successful answer is cached.
            read: reads the data; runs in a thread. A `ReadError` becomes the answer's error.
        """
        with self._lock:
            cached: tuple[Answer, float] | None = self._cache.get(key)
            if cached is not None:
                return cached[0]
            future = self._in_progress.get(key)
            if future is None:
                future = self._threads.submit(self._read, key, ttl_s, read)
                self._in_progress[key] = future
        # Shielded: a request that is cancelled must not cancel the read for the others.
        waiting = asyncio.shield(asyncio.wrap_future(future))
        try:
            return await asyncio.wait_for(waiting, self._timeout_s)
        except TimeoutError:
            return Answer(error=f"Cloud Storage has not answered within {self._timeout_s:g} s")

    def _read(self, key: Hashable, ttl_s: float, read: Callable[[], Any]) -> Answer:
        try:
            answer = Answer(read())
        except ReadError as error:
            answer, ttl_s = Answer(error=str(error)), ERROR_TTL_S
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


def start_thread_pool(count: int, name: str) -> ThreadPoolExecutor:
    """Return a pool whose threads are already running.

    A pool starts threads when work is submitted, and the submitter waits for each start. Here the
    submitter would be the event loop.

    Args:
        count: number of threads.
        name: prefix of their names.
    """
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    barrier = threading.Barrier(count)
    for future in [pool.submit(barrier.wait) for _ in range(count)]:
        future.result()
    return pool
