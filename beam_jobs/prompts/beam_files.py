"""Reads prompt files from any of Beam's file systems: local paths or Cloud Storage."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.gcp.gcsio import GcsIO, parse_gcs_path
from google.api_core.exceptions import NotFound
from typing_extensions import override

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.contents import Stored, text_chunks
from beam_jobs.prompts.file_error import FileError
from beam_jobs.prompts.globs import PromptGlob
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.limits import NO_LIMITS, FileLimits
from beam_jobs.prompts.lines import lines_of
from beam_jobs.prompts.listing import ListedFile, list_files
from beam_jobs.prompts.plan_file import as_planned, planned_files
from beam_jobs.prompts.rows import PromptFileReader
from beam_jobs.prompts.stored_object import StoredObject


def read_prompts(
    path: str, *, source: str, limits: FileLimits = NO_LIMITS, templated: bool = False
) -> Iterator[RawPrompt | Failure]:
    """Yield the rows of the file at `path`; an unreadable row is a `Failure`. Never raises.

    Args:
        path: a local path or `gs://` URL; its suffix and the first bytes tell the format.
        source: the source that the failures name, such as `backfill:RUN`.
        limits: how much of the file is read.
        templated: whether its prompts have a template even if they name none.
    """
    reader = PromptFileReader(path, source, limits, templated=templated)
    yield from reader.read(lambda: _opened(path))


def read_planned(
    file: ListedFile,
    bucket: str,
    *,
    source: str,
    limits: FileLimits = NO_LIMITS,
    templated: bool = False,
) -> Iterator[RawPrompt | Failure]:
    """Yield the rows of an object in the generation that was planned, as `read_prompts` does.

    Args:
        file: the object's name, generation and size.
        bucket: where it is.
        source: the source that the failures name, such as `backfill:RUN`.
        limits: how much of the file is read.
        templated: whether its prompts have a template even if they name none.
    """
    blob = _client().bucket(bucket).blob(file.name, generation=file.generation)
    path = f"gs://{bucket}/{file.name}"
    reader = PromptFileReader(path, source, limits, templated=templated)
    yield from reader.read(lambda: _PlannedObject(blob, file.size))


def files_as_planned(plan: str, prompts: str, *, source: str) -> Iterator[ListedFile | Failure]:
    """Yield the files of a plan that are still there; any other file is a failure.

    Args:
        plan: gs:// path of the plan, which `beam_jobs.prompts.plan_file` describes.
        prompts: gs:// path or glob that was planned.
        source: the source that the failures name, such as `backfill:RUN`.

    Raises:
        ValueError: the plan cannot be understood.
        google.api_core.exceptions.GoogleAPICallError: it cannot be read, or files not be listed.
    """
    glob = PromptGlob.parse(prompts)
    try:
        planned = planned_files(lines_of(text_chunks(_stored_object(plan))))
        found = list_files(_client(), glob)
        yield from as_planned(planned, found, bucket=glob.bucket, source=source)
    except ValueError as error:
        raise ValueError(f"--plan: {plan}: {error}") from error


class _PlannedObject(StoredObject):
    """An object whose planned generation may be deleted before it is read to its end."""

    @override
    def read(self, size: int) -> bytes:
        try:
            return super().read(size)
        except NotFound:
            raise FileError(
                "is gone in the generation that was planned: it was replaced or deleted after the "
                "plan; nothing from here on is read or paid for: run the backfill again"
            ) from None


def _client() -> Any:
    return GcsIO(pipeline_options=FileSystems._pipeline_options).client


def _opened(path: str) -> AbstractContextManager[Stored]:
    """Open the file at `path` for reading its bytes as stored."""
    if path.startswith("gs://"):
        return _stored_object(path)
    # Beam could decompress the file itself, but would not limit the row size or say where a damaged
    # file ends.
    opened: AbstractContextManager[Stored] = FileSystems.open(
        path, compression_type=CompressionTypes.UNCOMPRESSED
    )
    return opened


def _stored_object(path: str) -> StoredObject:
    """Return the object that is at `path` now.

    Beam's own reader of objects (Beam 2.77, `BeamBlobReader`) does not keep to one generation, and
    refuses an object whose Content-Encoding is gzip and whose Content-Type says so too.
    """
    bucket, name = parse_gcs_path(path)
    client = _client()
    current = client.bucket(bucket).blob(name)
    current.reload()
    return StoredObject(
        client.bucket(bucket).blob(name, generation=current.generation), current.size
    )
