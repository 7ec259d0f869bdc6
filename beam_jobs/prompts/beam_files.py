"""Reads prompt files from any of Beam's file systems: local paths or Cloud Storage."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.gcp.gcsio import GcsIO, parse_gcs_path

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.contents import Stored
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.rows import PromptFileReader
from beam_jobs.prompts.stored_object import StoredObject


def read_prompts(path: str, *, source: str) -> Iterator[RawPrompt | Failure]:
    """Yield the rows of the file at `path`; an unreadable row is a `Failure`. Never raises.

    Args:
        path: a local path or `gs://` URL; its suffix and the first bytes tell the format.
        source: the source that the failures name, such as `backfill:RUN`.
    """
    yield from PromptFileReader(path, source).read(lambda: _opened(path))


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
    client = GcsIO(pipeline_options=FileSystems._pipeline_options).client
    current = client.bucket(bucket).blob(name)
    current.reload()
    return StoredObject(
        client.bucket(bucket).blob(name, generation=current.generation), current.size
    )
