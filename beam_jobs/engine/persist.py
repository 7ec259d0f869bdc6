"""Retries requests to storage until they succeed or the time for retries is over."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from beam_jobs.engine.backoff import backoff
from beam_jobs.images.refusals import Meaning
from beam_jobs.images.requests import StoreError
from beam_jobs.images.write_gate import WriteGate

T = TypeVar("T")


class Persist:
    """Sends requests to storage.

    Args:
        writes: holds requests back while storage refuses every write.
        max_retry_s: how many seconds a failing request is retried, from its first failure.
    """

    def __init__(self, writes: WriteGate, max_retry_s: float) -> None:
        self._writes = writes
        self._max_retry_s = max_retry_s

    async def __call__(
        self,
        request: Callable[[], Awaitable[T]],
        *,
        paid: bool = True,
        failed: Callable[[], None] = lambda: None,
    ) -> T:
        """Retry a storage request until it succeeds or the time for retries is over.

        Args:
            request: sends the request.
            paid: whether it is about images that are paid for. If it is not, there is no limit to
                the time while storage refuses every write: the prompt waits as backlog.
            failed: called before each retry.
        """
        failing_since: float | None = None
        attempts = 0
        while True:
            try:
                return await request()
            except StoreError as error:
                failing_since = failing_since or time.monotonic()
                remaining_s = failing_since + self._max_retry_s - time.monotonic()
                # What is paid for is tried once more at the end, whatever the service asks for.
                requested_s = min(error.retry_after_s or 0.0, remaining_s if paid else math.inf)
                pause = backoff(attempts, requested_s, remaining_s) if error.transient else None
                if pause is None:
                    passing = error.transient or error.meaning is Meaning.OPERATOR
                    if paid or not passing or not self._writes.closed:
                        raise
                    await self._writes.wait()
                    failing_since, attempts = None, 0
                    continue
                attempts += 1
                failed()
                await asyncio.sleep(pause)
