"""Whether the files of a backfill are still those of its plan."""

import hashlib
from typing import TYPE_CHECKING

from beam_jobs.prompts.globs import PromptGlob
from beam_jobs.prompts.listing import ListedFile, list_files

if TYPE_CHECKING:
    from google.cloud.storage import Client


class Fingerprint:
    """A digest of a listing: the same for the same names and generations in the same order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, file: ListedFile) -> None:
        """Add the next file of the listing."""
        self._digest.update(f"{file.generation} {file.name}\n".encode())

    def __str__(self) -> str:
        return self._digest.hexdigest()


def fingerprint_files(client: "Client", glob: PromptGlob) -> str:
    """Return the fingerprint of what `glob` matches now; raises what `list_files` does."""
    fingerprint = Fingerprint()
    for file in list_files(client, glob):
        fingerprint.add(file)
    return str(fingerprint)
