"""Writes the journal from an event loop without blocking it.

One thread writes. Everything that is recorded during a write goes into the next transaction, so
many small concurrent requests need few transactions.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from localcloud.pubsub.journal import Journal

_log = logging.getLogger(__name__)


class Committer:
    """Writes a journal; does nothing without one. Use it from one event loop."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._thread = ThreadPoolExecutor(1, "pubsub-journal")
        self._next: asyncio.Future[None] | None = None
        self._in_flight: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def durable(self) -> None:
        """Return once everything recorded so far is on disk; raise the error if a write fails."""
        covering = self._covering()
        if covering is not None:
            await asyncio.shield(covering)

    def soon(self) -> None:
        """Start writing everything recorded so far, without waiting for it."""
        self._covering()

    async def close(self) -> None:
        """Write what is still pending, and close the journal."""
        while self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])
        if self._journal is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.close)
        self._thread.shutdown()

    def _covering(self) -> asyncio.Future[None] | None:
        """Return a future for the write that covers everything recorded so far.

        None means that everything has been written.
        """
        if self._journal is None:
            return None
        if self._journal.pending or self._next is not None:
            if self._next is None:
                self._next = asyncio.get_running_loop().create_future()
            if self._writing is None or self._writing.done():
                self._writing = asyncio.create_task(self._write(self._journal))
            return self._next
        return self._in_flight

    async def _write(self, journal: Journal) -> None:
        loop = asyncio.get_running_loop()
        while self._next is not None:
            self._in_flight, self._next = self._next, None
            covered = self._in_flight
            changes = journal.take()
            try:
                await loop.run_in_executor(self._thread, journal.write, changes)
            except Exception as error:
                journal.put_back(changes)
                _log.exception("Cannot write the Pub/Sub journal; the changes are retried later")
                covered.set_exception(error)
                covered.exception()
            else:
                covered.set_result(None)
            self._in_flight = None
