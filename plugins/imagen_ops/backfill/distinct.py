"""Counting every prompt once: the digests of a whole night, in 18 bytes each.

They are kept in 256 parts by their first byte, which is also the folder that an image is stored
in, and deduplicated part by part: a set of a million strings would take ten times the memory.
"""

from collections.abc import Iterable

from imagen_ops.backfill.file_count import PriceGroup

_DIGEST_BYTES = 16
_GROUP_BYTES = 2
_ENTRY_BYTES = _DIGEST_BYTES + _GROUP_BYTES
PARTS = range(256)


class Digests:
    """Digests of prompts, each with its price group."""

    def __init__(self) -> None:
        self._parts = [bytearray() for _ in PARTS]
        self._groups: dict[PriceGroup, int] = {}

    def add(self, group: PriceGroup, digests: bytes) -> None:
        """Add digests of one price group, 16 bytes each, one after the other."""
        index = self._groups.setdefault(group, len(self._groups))
        group_index = index.to_bytes(_GROUP_BYTES, "big")
        for start in range(0, len(digests), _DIGEST_BYTES):
            digest = digests[start : start + _DIGEST_BYTES]
            self._parts[digest[0]] += digest + group_index

    def distinct(self, part: int) -> list[tuple[str, PriceGroup]]:
        """Return the digests of one of `PARTS` in hex, each once, sorted."""
        groups = list(self._groups)
        return [
            (
                entry[:_DIGEST_BYTES].hex(),
                groups[int.from_bytes(entry[_DIGEST_BYTES:], "big")],
            )
            for entry in sorted(set(_entries(self._parts[part])))
        ]


def _entries(part: bytearray) -> Iterable[bytes]:
    for start in range(0, len(part), _ENTRY_BYTES):
        yield bytes(part[start : start + _ENTRY_BYTES])
