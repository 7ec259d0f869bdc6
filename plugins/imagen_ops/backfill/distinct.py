"""Every prompt once: digests of a whole night in 18 bytes each.

Kept in 256 parts by their first byte, which is also the folder that an image is stored in, and
made distinct part by part: a set of a million strings would take ten times the memory.
"""

from collections.abc import Iterable

from imagen_ops.backfill.prompt_files import PriceGroup

_DIGEST_BYTES = 16
_KIND_BYTES = 2
_ENTRY_BYTES = _DIGEST_BYTES + _KIND_BYTES
PARTS = range(256)


class Digests:
    """Digests of prompts, each with the kind that it decides."""

    def __init__(self) -> None:
        self._parts = [bytearray() for _ in PARTS]
        self._kinds: list[PriceGroup] = []

    def add(self, kind: PriceGroup, digests: bytes) -> None:
        """Add digests of one kind, 16 bytes each."""
        if kind not in self._kinds:
            self._kinds.append(kind)
        mark = self._kinds.index(kind).to_bytes(_KIND_BYTES, "big")
        for at in range(0, len(digests), _DIGEST_BYTES):
            self._parts[digests[at]] += digests[at : at + _DIGEST_BYTES] + mark

    def distinct(self, part: int) -> list[tuple[str, PriceGroup]]:
        """Return a part's digests in hex, each once, in order."""
        return [
            (entry[:_DIGEST_BYTES].hex(), self._kinds[int.from_bytes(entry[_DIGEST_BYTES:], "big")])
            for entry in sorted(set(_entries(self._parts[part])))
        ]


def _entries(raw: bytearray) -> Iterable[bytes]:
    for at in range(0, len(raw), _ENTRY_BYTES):
        yield bytes(raw[at : at + _ENTRY_BYTES])
