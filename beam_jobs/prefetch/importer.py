"""Stores the images in the output of batch jobs, and the records of the prompts they are for.

One event loop for each process reads and stores for all of Beam's threads, so that what is in
memory is bounded whatever their number. Names and preconditions are those of the backfill's own
job: whatever is done again after a crash finds what is there.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import math
import threading
from collections.abc import Collection, Iterator, Sequence

import aiohttp
from gcloud.aio.storage import Storage

from beam_jobs.engine.event_loop import EventLoopThread
from beam_jobs.engine.persist import Persist
from beam_jobs.engine.process_memory import bound_arenas
from beam_jobs.engine.references import References
from beam_jobs.engine.storage_lane import lanes_of
from beam_jobs.images.requests import REQUEST_TIMEOUT_S, StoreError, answer_of
from beam_jobs.images.store import ImageStore, Kept
from beam_jobs.images.thumbnails import Thumbnails
from beam_jobs.prefetch.import_config import ImportConfig
from beam_jobs.prefetch.line_ranges import FileRange, Line, lines_in
from beam_jobs.prefetch.manifest_index import ManifestIndex, Manifests, manifest_lines
from beam_jobs.prefetch.output_row import RowEnd, Unusable, Usable, check_line
from beam_jobs.prefetch.row_receipt import RowReceipt, Settlement, settled
from beam_jobs.prefetch.tally import Tally, added

# Ranges that a process reads at once. Each holds up to two pieces and a line, some 7 MB.
RANGES_AT_ONCE = 3
# Images that are in memory at once, each as a line and decoded: some 5 MB for one of 2 MB. If an
# upload takes 0.15 s, so many store 80 images a second.
IMAGES_AT_ONCE = 12
RECORDS_AT_ONCE = 32
# A line of so many bytes at most may be one of white space.
MAX_BLANK_BYTES = 100
# How long the end of a range waits for its thumbnails, which are a convenience.
MAX_THUMBNAILS_WAIT_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class OutputRange:
    """A range of a part's output.

    Attributes:
        file: the range.
        manifest: gs:// path of the part's manifest.
    """

    file: FileRange
    manifest: str


@dataclasses.dataclass(frozen=True, slots=True)
class Imported:
    """What became of the rows of a range.

    Attributes:
        receipts: of those whose image is known.
        tally: of the others.
    """

    receipts: list[RowReceipt]
    tally: Tally


class Importer:
    """Imports for one process. Call it from any of its threads.

    Args:
        config: the job's checked options.
    """

    def __init__(self, config: ImportConfig) -> None:
        # On a Dataflow worker, this is the first code of the package that runs.
        bound_arenas()
        self._config = config
        self._manifests = Manifests(manifest_lines)
        # No prompt waits for a model here, so thumbnails may take all the time that they need.
        self._thumbnails = (
            Thumbnails(config.images_location, max_share=1.0) if config.thumbnails else None
        )
        self._loop = EventLoopThread("imagen-import")
        self._loop.run(self._start())

    def import_range(self, part: OutputRange) -> Imported:
        """Store the images of a range.

        Raises:
            StoreError: storage refuses for longer than requests are retried.
            google.api_core.exceptions.GoogleAPICallError: the manifest cannot be read.
        """
        index = self._manifests.index(part.manifest)
        imported = self._loop.run(self._import_range(part.file, index))
        if self._thumbnails:
            # Images come faster than thumbnails are made: without a pause, most would be missed.
            self._thumbnails.wait(MAX_THUMBNAILS_WAIT_S)
        return imported

    def record(self, prompts: Sequence[Collection[RowReceipt]]) -> Tally:
        """Settle the rows of some prompts, and store the records of those that have all images.

        Args:
            prompts: for each prompt, the receipts of all its rows.

        Raises:
            StoreError: storage refuses for longer than requests are retried.
        """
        return self._loop.run(self._record_all(prompts))

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._storage = Storage(session=self._session)
        self._store = ImageStore(
            self._session, self._config.images_location, self._thumbnails, lanes_of(0, lambda: 0)
        )
        self._persist = Persist(self._store.writes, self._config.max_retry_s)
        # All answers are there, so what a reference holds is looked up once.
        self._references = References(self._session, refresh_s=math.inf)
        self._ranges = asyncio.Semaphore(RANGES_AT_ONCE)
        self._images = asyncio.Semaphore(IMAGES_AT_ONCE)
        self._records = asyncio.Semaphore(RECORDS_AT_ONCE)

    async def _import_range(self, file: FileRange, index: ManifestIndex) -> Imported:
        receipts: list[RowReceipt] = []
        tallies: list[Tally] = []

        async def store(usable: Usable) -> None:
            try:
                receipts.append(await self._stored(usable, file))
            finally:
                self._images.release()

        lines = lines_in(file, lambda start, end: self._read(file, start, end))
        with _first_error():
            async with self._ranges, asyncio.TaskGroup() as storing, contextlib.aclosing(lines):
                async for line in lines:
                    checked = _checked(line, index)
                    if isinstance(checked, Usable):
                        await self._images.acquire()
                        storing.create_task(store(checked))
                    elif checked is not None:
                        problem = f"{_place(file, line)}: {checked.detail}"
                        if checked.row is None:
                            tallies.append(Tally.of_row(checked.end, problem))
                        else:
                            receipts.append(_receipt_of(checked, problem))
        return Imported(receipts, added(tallies))

    async def _read(self, file: FileRange, start: int, end: int) -> bytes:
        bucket, _, name = file.url.removeprefix("gs://").partition("/")

        async def request() -> bytes:
            data: bytes = await answer_of(
                self._storage.download(
                    bucket,
                    name,
                    # A new one each time: the client adds to it.
                    headers={"Range": f"bytes={start}-{end - 1}"},
                    timeout=REQUEST_TIMEOUT_S,
                ),
                bucket,
                paid=True,
            )
            if len(data) != end - start:
                raise StoreError(
                    f"storage sent {len(data):,} bytes of {file.url} instead of {end - start:,}",
                    transient=True,
                )
            return data

        return await self._persist(request)

    async def _stored(self, usable: Usable, file: FileRange) -> RowReceipt:
        row, image = usable.row, usable.image
        receipt = RowReceipt(row, RowEnd.STORED, usable.told_by, usable.bill)
        if row.references and (
            changed := await self._persist(lambda: self._references.changed(row.references))
        ):
            return dataclasses.replace(
                receipt,
                end=RowEnd.REFERENCE_CHANGED,
                problem=f"image {row.image}: reference {changed[0]} was replaced or deleted since "
                "its request was written",
            )
        try:
            path, kept = await self._persist(
                lambda: self._store.offer_image(row.digest, row.index, image)
            )
        except StoreError as error:
            if error.transient:
                raise
            problem = f"image {row.image}: {error}"
            return dataclasses.replace(receipt, end=RowEnd.NOT_STORED, problem=problem)
        if kept is Kept.OTHER:
            problem = f"image {row.image}: another one is in the store"
            return dataclasses.replace(
                receipt, end=RowEnd.ALREADY_THERE, path=path, problem=problem
            )
        return dataclasses.replace(receipt, path=path, bytes=len(image.data))

    async def _record_all(self, prompts: Sequence[Collection[RowReceipt]]) -> Tally:
        with _first_error():
            async with asyncio.TaskGroup() as storing:
                tasks = [storing.create_task(self._recorded(receipts)) for receipts in prompts]
        return added(task.result() for task in tasks)

    async def _recorded(self, receipts: Collection[RowReceipt]) -> Tally:
        first = next(iter(receipts)).row
        settlement = settled(receipts)
        if not settlement.is_whole:
            return settlement.tally
        created_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        async with self._records:
            try:
                record = await self._persist(
                    lambda: self._store.put_record(
                        first.digest,
                        [path for _, path in sorted(settlement.images.items())],
                        deciding=first.deciding,
                        created_at=created_at,
                        receipt=settlement.receipt,
                    )
                )
            except StoreError as error:
                if error.transient:
                    raise
                return added([settlement.tally, Tally(problems=((RowEnd.NOT_STORED, str(error)),))])
        return added([settlement.tally, _recorded_as(settlement, record.get("paid_by"))])


def _checked(line: Line, index: ManifestIndex) -> Usable | Unusable | None:
    """Return what a line holds; None if it is empty."""
    if line.data is None:
        return Unusable(RowEnd.TOO_LONG, "this row has more bytes than any answer with an image")
    # Stripped, a row of megabytes would be copied.
    if len(line.data) <= MAX_BLANK_BYTES and not line.data.strip():
        return None
    return check_line(line.data, index.find, is_ended=line.is_ended)


def _place(file: FileRange, line: Line) -> str:
    return f"{file.url}, byte {line.at:,}"


def _receipt_of(unusable: Unusable, problem: str) -> RowReceipt:
    assert unusable.row is not None
    return RowReceipt(
        unusable.row,
        unusable.end,
        unusable.told_by,
        unusable.bill,
        code=unusable.code,
        problem=problem,
    )


def _recorded_as(settlement: Settlement, paid_by: object) -> Tally:
    """Return what a stored record adds to the counts, which may be another delivery's."""
    if paid_by != settlement.receipt.paid_by:
        return Tally({"records_of_others": 1})
    return Tally({"records": 1, "recorded_nano_usd": settlement.receipt.work.nano_usd})


@contextlib.contextmanager
def _first_error() -> Iterator[None]:
    """Raise the first error of a group as itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


_importers: dict[ImportConfig, Importer] = {}
_importers_lock = threading.Lock()


def importer_for(config: ImportConfig) -> Importer:
    """Return this process's importer for `config`, and make it at the first call."""
    with _importers_lock:
        if config not in _importers:
            _importers[config] = Importer(config)
        return _importers[config]
