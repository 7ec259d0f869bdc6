"""Getting the journal written from an event loop without holding it up.

One thread writes. Whatever is recorded while it writes goes into the next transaction together, so
many small requests at once cost few transactions.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from localcloud.pubsub.journal import Journal

_log = logging.getLogger(__name__)


class Committer:
    """Writes a journal, or does nothing when there is none. To be used from one event loop."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._thread = ThreadPoolExecutor(1, "pubsub-journal")
        self._next: asyncio.Future[None] | None = None
        self._in_flight: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def durable(self) -> None:
        """Return once everything recorded so far is on disk. Raises what the write raised."""
        covering = self._covering()
        if covering is not None:
            await asyncio.shield(covering)

    def soon(self) -> None:
        """Have everything recorded so far written, without waiting for it."""
        self._covering()

    async def close(self) -> None:
        """Write what is left and close the journal."""
        while self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])
        if self._journal is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.close)
        self._thread.shutdown()

    def _covering(self) -> asyncio.Future[None] | None:
        """The transaction that holds what is recorded by now; None when it has been written."""
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
                _log.exception("The Pub/Sub journal could not be written; it is kept for later.")
                covered.set_exception(error)
                covered.exception()
            else:
                covered.set_result(None)
            self._in_flight = None
