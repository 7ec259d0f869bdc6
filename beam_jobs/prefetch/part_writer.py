"""Writes the parts of a prefetch to Cloud Storage, as a stream.

Must not import Google's client: whoever writes brings one.
"""

import contextlib
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from beam_jobs.catalog import BATCH_FILE_BYTES, BATCH_REQUESTS
from beam_jobs.prefetch.folder import PartFolder, PrefetchFolder
from beam_jobs.prefetch.parts import Part
from beam_jobs.prefetch.request_row import rows_of
from beam_jobs.prompts.parse import Prompt

if TYPE_CHECKING:
    from google.cloud.storage import Client

# Of the service's limits, with a margin for however it may count.
MAX_ROWS = BATCH_REQUESTS * 9 // 10
MAX_BYTES = BATCH_FILE_BYTES * 9 // 10
# What is in memory of a file before it is sent; a multiple of 256 KiB.
_CHUNK_BYTES = 1 << 20
_TYPE = "application/x-ndjson"


class PartWriter:
    """The part of a model that is being written.

    Args:
        client: must be allowed to create objects in the folder.
        folder: of the part. Nothing is there yet.
        model: the model that is asked.
        location: where the batch job is created.
    """

    def __init__(self, client: "Client", folder: PartFolder, *, model: str, location: str) -> None:
        self._folder = folder
        self._model = model
        self._location = location
        self._requests, self._manifest = (
            _opened(client, path) for path in (folder.requests, folder.manifest)
        )
        self._rows = self._bytes = self._prompts = self._micro_usd = 0

    def has_room(self, rows: int, size: int) -> bool:
        """Return whether so many more requests, and bytes of requests, fit in."""
        return self._rows + rows <= MAX_ROWS and self._bytes + size <= MAX_BYTES

    def add(self, lines: list[tuple[bytes, bytes]], likely_micro_usd: int) -> None:
        """Add the images of a prompt.

        Args:
            lines: of each image, its request and its row of the manifest.
            likely_micro_usd: what they are likely to cost, in millionths of a US dollar.
        """
        for request, known in lines:
            self._requests.write(request)
            self._manifest.write(known)
            self._bytes += len(request)
        self._rows += len(lines)
        self._prompts += 1
        self._micro_usd += likely_micro_usd

    def close(self) -> Part:
        """Finish both objects, and return the part."""
        self._requests.close()
        self._manifest.close()
        return Part(
            folder=self._folder,
            model=self._model,
            location=self._location,
            rows=self._rows,
            bytes=self._bytes,
            prompts=self._prompts,
            likely_micro_usd=self._micro_usd,
        )

    def abandon(self) -> None:
        """Send no more. What was not finished is no object."""
        for writer in (self._requests, self._manifest):
            # A session that cannot be cancelled ends by itself within a week.
            with contextlib.suppress(Exception):
                writer.terminate()  # type: ignore[attr-defined]


class PartsWriter:
    """All parts of one try of preparing; a context manager that abandons them after an error.

    Args:
        client: must be allowed to create objects in the folder.
        folder: of the run.
        of_try: names this try. No other one has its name.
    """

    def __init__(self, client: "Client", folder: PrefetchFolder, of_try: str) -> None:
        self._client = client
        self._folder = folder
        self._try = of_try
        self._open: dict[str, PartWriter] = {}
        self._count = 0
        self._done: list[Part] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Abandon what is open."""
        for writer in self._open.values():
            writer.abandon()

    def add(self, prompt: Prompt, run: str, *, location: str, likely_micro_usd: int) -> None:
        """Add the images of a prompt to a part of its model.

        Args:
            prompt: the prompt. Its references have been looked up.
            run: the run whose delivery pays.
            location: where the model's batch jobs are created.
            likely_micro_usd: what they are likely to cost, in millionths of a US dollar.
        """
        lines = [(request, known.to_line()) for request, known in rows_of(prompt, run)]
        writer = self._open.get(prompt.model)
        if writer and not writer.has_room(len(lines), sum(len(request) for request, _ in lines)):
            self._done.append(self._open.pop(prompt.model).close())
            writer = None
        if writer is None:
            part = self._folder.part(self._try, self._count)
            writer = PartWriter(self._client, part, model=prompt.model, location=location)
            self._open[prompt.model] = writer
            self._count += 1
        writer.add(lines, likely_micro_usd)

    def finish(self) -> tuple[Part, ...]:
        """Finish all parts, and return them in the order in which they were begun."""
        while self._open:
            model = next(iter(self._open))
            self._done.append(self._open[model].close())
            del self._open[model]
        return tuple(sorted(self._done, key=lambda part: part.folder.url))


def _opened(client: "Client", path: str) -> IO[bytes]:
    bucket, _, name = path.removeprefix("gs://").partition("/")
    opened: IO[bytes] = (
        client.bucket(bucket)
        .blob(name)
        .open("wb", chunk_size=_CHUNK_BYTES, content_type=_TYPE, if_generation_match=0)
    )
    return opened
