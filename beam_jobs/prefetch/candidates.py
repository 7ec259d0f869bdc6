"""Prompts that wait on the disk until it is known what is stored already.

That is looked up for all of them at once, sorted by digest, which takes far fewer requests than one
after the other.
"""

import dataclasses
import gzip
import pickle
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from beam_jobs.prompts.parse import Prompt


class Candidates:
    """Prompts, each digest once, in their order; a context manager, as its file is.

    In memory is a digest of each prompt: some 100 bytes.
    """

    def __init__(self) -> None:
        # Ordered, as a set is not.
        self._digests: dict[bytes, None] = {}
        self._file = tempfile.TemporaryFile(prefix="imagen-prefetch-")  # noqa: SIM115 - see close
        self._packed = gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=1)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the file."""
        self._packed.close()
        self._file.close()

    def add(self, prompt: Prompt) -> bool:
        """Add a prompt, and return whether it is the first one with its digest.

        Args:
            prompt: the prompt. Its references have been looked up, and its digest covers them.
        """
        digest = bytes.fromhex(prompt.digest)
        if digest in self._digests:
            return False
        self._digests[digest] = None
        # Without what only the outcome of a message needs.
        pickle.dump(dataclasses.replace(prompt, body=b"", attributes={}), self._packed)
        return True

    def digests(self) -> Iterator[list[str]]:
        """Yield the digests, sorted, in a list for each pair of first digits."""
        part: list[str] = []
        for digest in sorted(self._digests):
            name = digest.hex()
            if part and part[0][:2] != name[:2]:
                yield part
                part = []
            part.append(name)
        if part:
            yield part

    def prompts(self) -> Iterator[Prompt]:
        """Yield the prompts in the order in which they were added. Add none afterwards."""
        self._packed.close()
        self._file.seek(0)
        with gzip.GzipFile(fileobj=self._file, mode="rb") as packed:
            for _ in self._digests:
                # The file has no name, so nobody else can have written to it.
                yield pickle.load(packed)  # noqa: S301
