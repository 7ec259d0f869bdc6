"""Object contents as files, each written once under a name of its own.

A content becomes visible only when the index points to it, which happens after the file is
complete. So an unfinished file is never an object, whatever stopped its writer, and `sweep` removes
it at the next start. File names are random: no part of an object's name reaches the file system.
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
    """Writes one content. Not thread-safe.

    CRC32C and MD5 are computed during writing, except for what was in a reopened file.

    Args:
        content_id: the content's id.
        path: the content's file.
        reopen: continue a file that exists, instead of creating one.
        md5: whether to compute an MD5.
    """

    def __init__(
        self, content_id: str, path: Path, *, reopen: bool = False, md5: bool = True
    ) -> None:
        self.id = content_id
        self._path = path
        # Unbuffered: bodies come in chunks large enough for a system call each, and appended bytes
        # must be in the file when a client asks how far an interrupted upload got.
        self._file = path.open("r+b" if reopen else "x+b", buffering=0)
        self.size = self._file.seek(0, os.SEEK_END)
        self._hashed = 0
        self._crc32c = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    @property
    def undigested(self) -> int:
        """The bytes that `finish` still has to read, because the file was reopened."""
        return self.size - self._hashed

    def append(self, chunks: Iterable[bytes]) -> None:
        """Write `chunks` at the end. Large ones are written without holding the GIL."""
        self._catch_up()
        # A failed write may have left a part of its chunk behind, which `size` does not count.
        self._file.seek(self.size)
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._digest(chunk)
            self.size += len(chunk)

    def finish(self) -> Content:
        """Close the file and return its content."""
        self._catch_up()
        self._file.truncate(self.size)
        self._file.close()
        crc32c = base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()
        md5 = base64.b64encode(self._md5.digest()).decode() if self._md5 else None
        return Content(self.id, self.size, crc32c, md5)

    def discard(self) -> None:
        """Delete the file. Safe to call twice, or while a thread still appends."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file but keep it, so that it can be reopened after a restart."""
        self._file.close()

    def _digest(self, chunk: bytes) -> None:
        self._crc32c = google_crc32c.extend(self._crc32c, chunk)
        if self._md5:
            self._md5.update(chunk)
        self._hashed += len(chunk)

    def _catch_up(self) -> None:
        """Hash what a reopened file contains, because digests do not survive a restart."""
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
        """Create an empty content; without `md5`, no MD5 is computed."""
        content_id = secrets.token_hex(16)
        return ContentWriter(content_id, self._path(content_id), md5=md5)

    def reopen(self, content_id: str) -> ContentWriter:
        """Open the unfinished content of a resumable upload.

        Raises:
            FileNotFoundError: the content does not exist.
        """
        return ContentWriter(content_id, self._path(content_id), reopen=True)

    def open(self, content_id: str) -> BinaryIO:
        """Open a content for reading. The open file stays readable after `remove`.

        Raises:
            FileNotFoundError: the content does not exist.
        """
        return self._path(content_id).open("rb", buffering=0)

    def link(self, content: Content) -> Content:
        """Return a copy with an id of its own, made as a hard link if the file system has them."""
        content_id = secrets.token_hex(16)
        source, target = self._path(content.id), self._path(content_id)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
        return Content(content_id, content.size, content.crc32c, content.md5, content.components)

    def concatenate(self, contents: Iterable[Content]) -> Content:
        """Return a composed content: as in the service, without MD5 but with a component count."""
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
        composed = writer.finish()
        return Content(composed.id, composed.size, composed.crc32c, None, components)

    def remove(self, content_id: str) -> None:
        """Delete a content that nothing points to. Does nothing if it does not exist."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(content_id))

    def sweep(self, keep: Set[str]) -> None:
        """Delete the contents whose ids are not in `keep`. Other files are kept."""
        for shard in range(256):
            with os.scandir(self._root / f"{shard:02x}") as files:
                for file in files:
                    if _ID.fullmatch(file.name) and file.name not in keep:
                        os.unlink(file.path)

    def _path(self, content_id: str) -> Path:
        return self._root / content_id[:2] / content_id
