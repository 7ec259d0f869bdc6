"""The objects that a glob names, each with the generation that it has now."""

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from imagen_ops.plans.globs import PromptGlob

if TYPE_CHECKING:
    from google.cloud.storage import Client


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """An object as the listing shows it; `size` in bytes as stored."""

    name: str
    size: int
    generation: int
    updated: datetime | None


def list_files(client: "Client", glob: PromptGlob) -> Iterator[Listed]:
    """Yield the objects that `glob` names, by name, page by page.

    Lists what begins with the glob's prefix, never the whole bucket. Google's exceptions pass
    through: `NotFound` is a bucket that is not there.
    """
    blobs = client.list_blobs(
        glob.bucket,
        prefix=glob.prefix,
        # Of what begins with a name only the name itself: "!" is the first printable character
        # after the space.
        end_offset=f"{glob.pattern}!" if glob.one_name else None,
        match_glob=glob.for_storage,
        fields="items(name,size,generation,updated),nextPageToken",
    )
    for blob in blobs:
        if glob.matches(blob.name):
            yield Listed(blob.name, int(blob.size or 0), int(blob.generation), blob.updated)
