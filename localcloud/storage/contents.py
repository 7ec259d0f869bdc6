"""Object contents as files, each written once under a name of its own.

A content becomes visible only when the index points to it, which happens after the file is whole;
so a file that was never finished is not an object, whatever stopped its writer, and `sweep` removes
it at the next start. Names are random: no part of an object's name reaches the file system.
"""

import base64
import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Set
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from localcloud.storage.records import Content

_COPY_BYTES = 1024 * 1024
_ID = re.compile(r"[0-9a-f]{32}")


class ContentWriter:
    """One content on its way in. Not for use by two threads at once.

    CRC32C and MD5 are worked out as the bytes pass, except over what was in the file before.
    """

    def __init__(
        self, content_id: str, path: Path, *, reopen: bool = False, md5: bool = True
    ) -> None:
        self.id = content_id
        self._path = path
        # Unbuffered: bodies come in pieces worth a system call each, and what was appended must be
        # in the file when an interrupted upload is asked how far it got.
        self._file = path.open("r+b" if reopen else "x+b", buffering=0)
        self.size = self._file.seek(0, os.SEEK_END)
        self._hashed = 0
        self._crc32c = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    @property
    def undigested(self) -> int:
        """How many bytes `finish` has yet to read, because they were there when it was reopened."""
        return self.size - self._hashed

    def append(self, chunks: Iterable[bytes]) -> None:
        """Write `chunks` at the end. Large ones spend their time outside the GIL."""
        self._catch_up()
        # A write that failed may have left a part of its chunk, which is not counted.
        self._file.seek(self.size)
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._digest(chunk)
            self.size += len(chunk)

    def finish(self) -> Content:
        """Close the file and say what it holds."""
        self._catch_up()
        self._file.truncate(self.size)
        self._file.close()
        crc32c = base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()
        md5 = base64.b64encode(self._md5.digest()).decode() if self._md5 else None
        return Content(self.id, self.size, crc32c, md5)

    def discard(self) -> None:
        """Remove what was written. Harmless when repeated, or when a thread still appends."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file but keep it, for a later start to reopen."""
        self._file.close()

    def _digest(self, chunk: bytes) -> None:
        self._crc32c = google_crc32c.extend(self._crc32c, chunk)
        if self._md5:
            self._md5.update(chunk)
        self._hashed += len(chunk)

    def _catch_up(self) -> None:
        """Take in what a reopened file held: digests do not survive the process."""
        if self._hashed == self.size:
            return
        self._file.seek(self._hashed)
        while chunk := self._file.read(_COPY_BYTES):
            self._digest(chunk)


class Contents:
    """The folder of content files, spread over 256 subfolders."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for shard in range(256):
            (root / f"{shard:02x}").mkdir(parents=True, exist_ok=True)

    def create(self, *, md5: bool = True) -> ContentWriter:
        """A new, empty content; without `md5` it will have none."""
        content_id = secrets.token_hex(16)
        return ContentWriter(content_id, self._path(content_id), md5=md5)

    def reopen(self, content_id: str) -> ContentWriter:
        """The unfinished content that a resumable upload left behind.

        Raises FileNotFoundError.
        """
        return ContentWriter(content_id, self._path(content_id), reopen=True)

    def open(self, content_id: str) -> BinaryIO:
        """Open for reading; what was opened stays readable after `remove`.

        Raises FileNotFoundError.
        """
        return self._path(content_id).open("rb", buffering=0)

    def link(self, content: Content) -> Content:
        """The same bytes under an id of their own, in no time where the file system has links."""
        content_id = secrets.token_hex(16)
        source, target = self._path(content.id), self._path(content_id)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
        return Content(content_id, content.size, content.crc32c, content.md5, content.components)

    def concatenate(self, contents: Iterable[Content]) -> Content:
        """One composed content: no MD5, and a count of what went into it, as the service has."""
        writer = self.create()
        components = 0
        try:
            for content in contents:
                components += content.components or 1
                with self.open(content.id) as source:
                    while chunk := source.read(_COPY_BYTES):
                        writer.append((chunk,))
        except BaseException:
            writer.discard()
            raise
        whole = writer.finish()
        return Content(whole.id, whole.size, whole.crc32c, None, components)

    def remove(self, content_id: str) -> None:
        """Remove a content that nothing points to. Harmless when it is gone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(content_id))

    def sweep(self, wanted: Set[str]) -> None:
        """Remove the files of ids not in `wanted`. Foreign files stay."""
        for shard in range(256):
            with os.scandir(self._root / f"{shard:02x}") as files:
                for file in files:
                    if _ID.fullmatch(file.name) and file.name not in wanted:
                        os.unlink(file.path)

    def _path(self, content_id: str) -> Path:
        return self._root / content_id[:2] / content_id
