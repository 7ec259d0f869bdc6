"""Rows of prompt files between two steps, many in one compressed element.

A runner in one process keeps what is spread in memory, some 1,100 bytes for a short prompt by
itself: a thousand times as many prompts would take a gigabyte. In blocks it is some 80.
"""

import zlib
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.coders import PickleCoder
from typing_extensions import override

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.incoming import RawPrompt

Row = RawPrompt | Failure

# The most rows of a block: as many as a worker has in flight at the start.
MOST_ROWS = 64
# The most bytes of their bodies. A row can have 256 KB.
MOST_BYTES = 1 << 18
# Few rows are spread one by one, so that all workers get some: after so many of them, each block
# has one more than before.
ROWS_TO_GROW = 16
# Short prompts shrink to a fifth. Higher levels take three times as long for a tenth less.
_LEVEL = 1
_coder = PickleCoder()


class Packer:
    """Puts rows into blocks, which become larger with the rows that it has packed."""

    def __init__(self) -> None:
        self._packed = 0

    def blocks(self, rows: Iterable[Row]) -> Iterator[bytes]:
        """Yield blocks of all `rows`, in their order."""
        block: list[Row] = []
        size = 0
        for row in rows:
            block.append(row)
            size += len(row.body)
            if len(block) >= self._rows() or size >= MOST_BYTES:
                yield self._pack(block)
                block, size = [], 0
        if block:
            yield self._pack(block)

    def _rows(self) -> int:
        return min(MOST_ROWS, 1 + self._packed // ROWS_TO_GROW)

    def _pack(self, block: list[Row]) -> bytes:
        self._packed += len(block)
        return zlib.compress(_coder.encode(block), _LEVEL)


def rows_of(block: bytes) -> list[Row]:
    """Return the rows of a block."""
    rows: list[Row] = _coder.decode(zlib.decompress(block))
    return rows


class SpreadRows(beam.PTransform):
    """Spreads the blocks over all workers, and takes the rows out of them."""

    @override
    def expand(self, blocks: beam.PCollection[bytes]) -> beam.PCollection[Row]:
        return blocks | beam.Reshuffle() | beam.FlatMap(rows_of)
