"""What a worker process has spent of a budget: noted before each call, and closed after its end.

A process notes what it spends before it pays, in objects whose names count up. Each is only ever
created, so that a process which only seemed dead can note nothing more once another one has created
the next object, to close the log. What it had leased and not noted comes back to the budget.

Calls that wait at the same moment share one request.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from gcloud.aio.storage import Storage

from beam_jobs.engine.backoff import backoff
from beam_jobs.engine.this_process import has_ended, process_name
from beam_jobs.images.dated import dated_page, iso_time
from beam_jobs.images.requests import REQUEST_TIMEOUT_S, StoreError, answer_of, upload_if

# A process that has noted nothing for so long, by storage's clock, and still has something leased
# is dead: a living one gives back what it doesn't use after `lease.IDLE_S`.
DEAD_AFTER_S = 15.0
# Older notes are deleted so many at a time.
DELETE_AT_ONCE = 20
_SPENT, _CLOSED, _PROCESS = "spent", "closed", "process"


class LogClosedError(Exception):
    """Another process has closed this one's log."""


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """The newest note of a log.

    Args:
        number: of the note, from 1.
        spent: how much the process had spent, or was about to.
        closed: whether nothing can be noted any more.
        process: which one it is, as `this_process` names it.
        age_s: how many seconds old it is, by storage's clock.
    """

    number: int
    spent: int
    closed: bool = False
    process: str = ""
    age_s: float = 0.0

    @property
    def is_of_the_dead(self) -> bool:
        """Whether its process does not need what it has leased."""
        return self.closed or self.age_s > DEAD_AFTER_S or has_ended(self.process)


class SpendingLogs:
    """The logs of all processes that spend one budget. Use it from one event loop only.

    Args:
        storage: sends the requests.
        bucket: where they are.
        ledger: the name of the budget's ledger, beside which they are.
    """

    def __init__(self, storage: Storage, bucket: str, ledger: str) -> None:
        self._storage = storage
        self._bucket = bucket
        self._folder = f"{ledger.removesuffix('.json')}/"

    async def newest(self) -> Mapping[str, Note]:
        """Return the newest note of each process.

        Raises:
            StoreError: storage fails.
        """
        return await self._newest(self._folder)

    async def close(self, worker: str, last: Note) -> bool:
        """Close a process's log after its last note; return False if it has noted more.

        Raises:
            StoreError: it is not known whether it is closed.
        """
        if last.closed:
            return True
        note = dataclasses.replace(last, number=last.number + 1, closed=True)
        if not await self.create(worker, note):
            return False
        # The process may have noted more meanwhile, and deleted the note of this number.
        newest = (await self._newest(f"{self._folder}{worker}/")).get(worker)
        if newest is None or newest.number == note.number:
            return True
        await self.delete(worker, [note.number])
        return False

    async def create(self, worker: str, note: Note) -> bool:
        """Write a note; return False if there is one with its number already.

        Raises:
            StoreError: it was not written, or it is not known whether it was.
        """
        name = self._name(worker, note.number)
        texts = {
            _SPENT: str(note.spent),
            _CLOSED: "yes" if note.closed else "",
            _PROCESS: note.process,
        }
        stored = await upload_if(
            self._storage,
            self._bucket,
            name,
            b"",
            generation="0",
            content_type="text/plain",
            metadata=texts,
            paid=True,
        )
        return stored is not None

    async def read(self, worker: str, number: int) -> Note:
        """Return a note.

        Raises:
            StoreError: it cannot be read.
        """
        name = self._name(worker, number)
        found = await answer_of(
            self._storage.download_metadata(self._bucket, name, timeout=REQUEST_TIMEOUT_S),
            self._bucket,
            paid=True,
        )
        return _note(number, found, 0.0)

    async def delete(self, worker: str, numbers: "range | list[int]") -> None:
        """Delete notes that are not the newest. Raises nothing: what stays does no harm."""

        async def delete(number: int) -> None:
            with contextlib.suppress(StoreError):
                await answer_of(
                    self._storage.delete(
                        self._bucket, self._name(worker, number), timeout=REQUEST_TIMEOUT_S
                    ),
                    self._bucket,
                )

        await asyncio.gather(*map(delete, numbers))

    def _name(self, worker: str, number: int) -> str:
        return f"{self._folder}{worker}/{number:08}"

    async def _newest(self, prefix: str) -> Mapping[str, Note]:
        notes: dict[str, Note] = {}
        params = {"prefix": prefix, "fields": "items(name,timeCreated,metadata),nextPageToken"}
        while True:
            page, now = await dated_page(
                self._storage, self._bucket, params, timeout_s=REQUEST_TIMEOUT_S
            )
            # In the order of their names, so that the newest of a process comes last.
            for name, resource in zip(page.names, page.resources, strict=True):
                worker, _, number = name.removeprefix(self._folder).partition("/")
                created_at = iso_time(resource.get("timeCreated"))
                if number.isascii() and number.isdigit() and created_at:
                    age_s = (now - created_at).total_seconds()
                    notes[worker] = _note(int(number), resource, age_s)
            if not page.next_token:
                return notes
            params = {**params, "pageToken": page.next_token}


class SpendingLog:
    """The log of this process. Use it from one event loop only.

    Args:
        logs: of all processes.
        worker: names this one in the ledger.
        spent: returns how much it has spent, or is about to.
        max_retry_s: how many seconds a failing request is retried.
    """

    def __init__(
        self, logs: SpendingLogs, worker: str, spent: Callable[[], int], max_retry_s: float
    ) -> None:
        self._logs = logs
        self._worker = worker
        self._spent = spent
        self._max_retry_s = max_retry_s
        self._process = process_name()
        self._number = 0
        self._deleted = 0
        # How many notes were begun, and how many are written: whoever comes before one is begun is
        # in it.
        self._begun = self._written = 0
        self._writing: asyncio.Task[None] | None = None
        self._deleting: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything was noted."""
        return self._number > 0

    async def note(self) -> None:
        """Note what is spent, and return when that is written.

        Raises:
            LogClosedError: another process has closed the log; what was not noted must not be paid.
            StoreError: storage fails for longer than requests are retried.
        """
        wanted = self._begun + 1
        while self._written < wanted:
            if self._writing is None or self._writing.done():
                self._writing = asyncio.create_task(self._write())
                self._writing.add_done_callback(mark_as_retrieved)
            # All who wait get what one request brings, or its error.
            await asyncio.shield(self._writing)

    async def _write(self) -> None:
        self._begun += 1
        begun = self._begun
        number = self._number + 1
        failing_since: float | None = None
        attempts = 0
        while True:
            note = Note(number, self._spent(), process=self._process)
            try:
                if not await self._logs.create(self._worker, note):
                    # An earlier try may have written it, with less.
                    there = await self._logs.read(self._worker, number)
                    if there.closed or there.process != self._process:
                        raise LogClosedError
                    if there.spent != note.spent:
                        self._number = number
                        number += 1
                        continue
                break
            except StoreError as error:
                failing_since = failing_since or time.monotonic()
                remaining_s = failing_since + self._max_retry_s - time.monotonic()
                pause = backoff(attempts, error.retry_after_s, remaining_s)
                if pause is None or not error.transient:
                    raise StoreError(
                        f"nothing is paid for while it cannot be noted what is spent: {error}",
                        transient=error.transient,
                    ) from error
                attempts += 1
                await asyncio.sleep(pause)
        self._number, self._written = number, begun
        if number - self._deleted > 2 * DELETE_AT_ONCE and (
            self._deleting is None or self._deleting.done()
        ):
            old = range(self._deleted + 1, number - DELETE_AT_ONCE)
            self._deleted = old[-1]
            self._deleting = asyncio.create_task(self._logs.delete(self._worker, old))


def mark_as_retrieved(task: asyncio.Task[None]) -> None:
    """Keep asyncio from logging the error of a task that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def _note(number: int, resource: Mapping[str, Any], age_s: float) -> Note:
    try:
        texts = resource["metadata"]
        return Note(
            number, int(texts[_SPENT]), texts[_CLOSED] == "yes", str(texts[_PROCESS]), age_s
        )
    except (LookupError, TypeError, ValueError) as error:
        raise StoreError(
            f"{resource.get('name')} is no note of what is spent of a budget ({error!r:.100})",
            transient=False,
        ) from error
