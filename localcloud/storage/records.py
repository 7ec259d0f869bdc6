"""The store's records: buckets, objects, and the contents that objects point to."""

import base64
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.storage import errors

MAX_NAME_BYTES = 1024
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Content:
    """Completely received bytes. Immutable: overwriting an object creates another content.

    Attributes:
        id: the name of the content's file.
        size: the size in bytes.
        crc32c: in base64, as in the API.
        md5: in base64, as in the API; None for composed objects.
        components: the number of objects that a composed object consists of.
    """

    id: str
    size: int
    crc32c: str
    md5: str | None
    components: int | None = None


@dataclass(frozen=True, slots=True)
class Checksums:
    """The checksums that a client sent, in base64; None if it did not."""

    crc32c: str | None = None
    md5: str | None = None

    def verify(self, content: Content) -> None:
        """Compare the checksums with those of `content`.

        Raises:
            StorageError: 400; a checksum differs.
        """
        if self.crc32c is not None and self.crc32c != content.crc32c:
            raise errors.checksum_mismatch("CRC32C", self.crc32c, content.crc32c)
        if self.md5 is not None and content.md5 is not None and self.md5 != content.md5:
            raise errors.checksum_mismatch("MD5 hash", self.md5, content.md5)

    def overlaid(self, later: "Checksums") -> "Checksums":
        """Return these checksums, replaced by those that `later` has."""
        return Checksums(later.crc32c or self.crc32c, later.md5 or self.md5)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A live object. `attributes` are the API's writable fields, as clients have set them.

    Times are RFC 3339 in UTC with milliseconds.
    """

    bucket: str
    name: str
    content: Content
    generation: int
    metageneration: int
    created: str
    updated: str
    attributes: Mapping[str, Any]

    @property
    def etag(self) -> str:
        """The entity tag, which changes with every change of content or metadata."""
        return _etag(self.generation, self.metageneration)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket. `fields` are labels, lifecycle and all other fields, as clients have set them."""

    name: str
    metageneration: int
    created: str
    updated: str
    fields: Mapping[str, Any]

    generation = 0
    """Buckets have no generation, but preconditions compare with this."""

    @property
    def etag(self) -> str:
        """The entity tag, which changes with every change of the bucket's fields."""
        return _etag(0, self.metageneration)


def _etag(generation: int, metageneration: int) -> str:
    return base64.b64encode(struct.pack(">QL", generation, metageneration)).decode()


def check_bucket_name(name: object) -> str:
    """Return a valid bucket name.

    Raises:
        StorageError: 400; the name is invalid.
    """
    if not isinstance(name, str) or not _BUCKET_NAME.fullmatch(name) or ".." in name:
        raise errors.invalid(f"Invalid bucket name: '{name}'")
    if max(map(len, name.split("."))) > 63:
        raise errors.invalid(f"Invalid bucket name: '{name}'")
    return name


def check_object_name(name: object) -> str:
    """Return a valid object name: up to 1,024 bytes of UTF-8 without line breaks, not `.` or `..`.

    Raises:
        StorageError: 400; the name is invalid.
    """
    if not isinstance(name, str) or not name:
        raise errors.required("name")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise errors.invalid(f"Invalid object name, not UTF-8: {name!r}") from None
    if length > MAX_NAME_BYTES:
        raise errors.invalid(
            f"The maximum object length is {MAX_NAME_BYTES} characters, "
            f"but got a name with {length} characters: '{name[:64]}...'"
        )
    acme = name.startswith(".well-known/acme-challenge/")
    if name in (".", "..") or "\n" in name or "\r" in name or acme:
        raise errors.invalid(f"Invalid object name: {name!r}")
    return name
