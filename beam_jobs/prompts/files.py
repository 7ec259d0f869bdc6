"""Prompt files wherever Beam's file systems reach: a local path, or Cloud Storage."""

from collections.abc import Iterator

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.rows import PromptFile


def read_prompts(path: str, *, source: str) -> Iterator[RawPrompt | Failure]:
    """Yield what is in the file at `path`, row by row. Raises nothing."""
    # Beam would decompress by itself, and neither bound a row nor say where a file breaks off.
    yield from PromptFile(path, source).read(
        lambda: FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    )
