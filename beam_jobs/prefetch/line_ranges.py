"""Reads JSON Lines of megabytes each from a byte range of an object, in bounded memory. Pure.

Beam's `ReadAllFromText` splits files in the same way, but asks for 8 KB at a time, appends each to
what it has of the line, and has no limit to a line: see `bench/prefetch_import.py`.

Of a file that is cut into ranges, a line belongs to the range that its first byte is in, so that
each line is read once, and a line may go on beyond its range.
"""

import asyncio
import codecs
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

from beam_jobs.models.answer_memory import MAX_ANSWER_BYTES

# Reading a range costs up to a line at each end, so few ranges; but enough that a file of 20 GB
# spreads over workers, and that little is done again after a crash.
RANGE_BYTES = 128 << 20
# At 0.1 s per request to Cloud Storage, pieces of 2 MB are 20 MB/s for each range.
PIECE_BYTES = 2 << 20
# A line holds what an answer does, and the request that it is for, which has no pictures in it.
MAX_LINE_BYTES = MAX_ANSWER_BYTES + (1 << 20)

# Takes the first byte to read and the one behind the last, and returns exactly these.
Read = Callable[[int, int], Awaitable[bytes]]


@dataclasses.dataclass(frozen=True, slots=True)
class FileRange:
    """A part of an object in Cloud Storage.

    Attributes:
        url: gs:// path of the object.
        size: of the object, in bytes.
        start: the range's first byte.
        end: the byte behind its last.
    """

    url: str
    size: int
    start: int
    end: int


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A line of a file.

    Attributes:
        data: its bytes without the line end; None if it has more than the limit.
        at: where it starts in its file, in bytes.
        is_ended: whether a line end follows it.
    """

    data: bytes | bytearray | None
    at: int
    is_ended: bool


def ranges_of(url: str, size: int, range_bytes: int = RANGE_BYTES) -> Iterator[FileRange]:
    """Yield the ranges that an object is read in; none of an empty one."""
    for start in range(0, size, range_bytes):
        yield FileRange(url, size, start, min(start + range_bytes, size))


async def lines_in(
    part: FileRange,
    read: Read,
    *,
    piece_bytes: int = PIECE_BYTES,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> AsyncGenerator[Line, None]:
    """Yield the lines that start in a range. Close the iterator if you don't exhaust it.

    Holds two pieces and one line in memory at most.

    Args:
        part: the range.
        read: reads the object.
        piece_bytes: how much to read at once.
        max_line_bytes: of a line. A longer one is read past, and yielded without its bytes.
    """
    # The byte before says whether a line starts with the range's first byte.
    at = max(part.start - 1, 0)
    skipping = part.start > 0
    line, starts_at = bytearray(), at
    too_long = False
    async with contextlib.aclosing(_pieces(part, at, read, piece_bytes)) as pieces:
        async for piece in pieces:
            begin, view = 0, memoryview(piece)
            while (end := piece.find(b"\n", begin)) >= 0:
                if not skipping:
                    too_long = too_long or len(line) + end - begin > max_line_bytes
                    if not too_long:
                        line += view[begin:end]
                    yield Line(
                        None if too_long else _without_mark(line, starts_at), starts_at, True
                    )
                skipping = too_long = False
                line, begin = bytearray(), end + 1
                starts_at = at + begin
                if starts_at >= part.end:
                    return
            if not skipping and not too_long:
                too_long = len(line) + len(piece) - begin > max_line_bytes
                if too_long:
                    line = bytearray()
                else:
                    line += view[begin:]
            at += len(piece)
    if not skipping and (line or too_long):
        yield Line(None if too_long else _without_mark(line, starts_at), starts_at, False)


async def _pieces(part: FileRange, at: int, read: Read, size: int) -> AsyncGenerator[bytes, None]:
    """Yield what follows `at`, to the end of the object; reads ahead within the range."""
    ahead: asyncio.Task[bytes] | None = None
    try:
        while at < part.size:
            piece = await (ahead or read(at, min(at + size, part.size)))
            at += len(piece)
            # Where the last line of the range ends, one piece beyond it is nearly always too much.
            ahead = (
                asyncio.ensure_future(read(at, min(at + size, part.size)))
                if at < part.end
                else None
            )
            yield piece
    finally:
        if ahead is not None:
            ahead.cancel()


def _without_mark(line: bytearray, at: int) -> bytearray:
    """Return a line without the byte order mark that some programs begin a file with."""
    return line.removeprefix(codecs.BOM_UTF8) if at == 0 else line
