"""The objects that a glob names, each with the generation that it has now."""

import dataclasses
import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from imagen_ops.backfill.globs import PromptGlob

if TYPE_CHECKING:
    from google.cloud.storage import Client


@dataclasses.dataclass(frozen=True, slots=True)
class ListedFile:
    """An object as the listing shows it; `size` in bytes as stored."""

    name: str
    size: int
    generation: int
    updated: datetime | None


class Fingerprint:
    """Of a listing: the same for the same names and generations, in their order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, file: ListedFile) -> None:
        """Take the next file into account."""
        self._digest.update(f"{file.generation} {file.name}\n".encode())

    def __str__(self) -> str:
        return self._digest.hexdigest()


def fingerprint_of(client: "Client", glob: PromptGlob) -> str:
    """Return the fingerprint of what `glob` names now; see `list_files` for what is raised."""
    fingerprint = Fingerprint()
    for file in list_files(client, glob):
        fingerprint.add(file)
    return str(fingerprint)


def list_files(client: "Client", glob: PromptGlob) -> Iterator[ListedFile]:
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
            yield ListedFile(blob.name, int(blob.size or 0), int(blob.generation), blob.updated)
