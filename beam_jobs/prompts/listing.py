"""The objects that a glob matches, each with its current generation.

A backfill's plan and its job list files with this module, so that they cannot see different ones.
Must not import Google's client: whoever lists brings one.
"""

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from beam_jobs.prompts.globs import PromptGlob

if TYPE_CHECKING:
    from google.cloud.storage import Client


@dataclasses.dataclass(frozen=True, slots=True)
class ListedFile:
    """An object as the listing shows it; `size` in bytes as stored."""

    name: str
    size: int
    generation: int
    updated: datetime | None = None


def list_files(client: "Client", glob: PromptGlob, **patience: Any) -> Iterator[ListedFile]:
    """Yield the objects that `glob` matches, sorted by name, page by page.

    Lists only what begins with the glob's prefix, never the whole bucket. Google's exceptions pass
    through; `NotFound` means that there is no such bucket. `patience` is `retry` and `timeout` of
    each request, if not the library's.
    """
    blobs = client.list_blobs(
        glob.bucket,
        prefix=glob.prefix,
        # Without a wildcard, only the object of this very name, not every longer one: "!" is the
        # first printable character after the space.
        end_offset=f"{glob.pattern}!" if glob.is_one_object else None,
        match_glob=glob.storage_pattern,
        fields="items(name,size,generation,updated),nextPageToken",
        **patience,
    )
    for blob in blobs:
        if glob.matches(blob.name):
            yield ListedFile(
                name=blob.name,
                size=int(blob.size or 0),
                generation=int(blob.generation),
                updated=blob.updated,
            )
