"""Reads prompt files from any of Beam's file systems: local paths or Cloud Storage."""

from collections.abc import Iterator

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.rows import PromptFileReader


def read_prompts(path: str, *, source: str) -> Iterator[RawPrompt | Failure]:
    """Yield the rows of the file at `path`; an unreadable row is a `Failure`. Never raises.

    Args:
        path: a local path or `gs://` URL; the suffix tells the format.
        source: the source that the failures name, such as `backfill:RUN`.
    """
    # Beam could decompress the file itself, but would not limit the row size or say where a damaged
    # file ends.
    yield from PromptFileReader(path, source).read(
        lambda: FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    )
