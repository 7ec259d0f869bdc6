"""Splits a file into lines, in bounded memory.

A line ends with LF, CR LF, or CR alone. Nothing else ends a line: VT, FF, U+0085 and U+2028 can be
part of a prompt.
"""

from collections.abc import Iterable, Iterator

from beam_jobs.prompts.body import MAX_BODY_BYTES

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield the lines with their line ends, and None in place of a line that is too long.

    Args:
        chunks: the content of the file. If it raises, the lines before are yielded first.
    """
    rest = b""  # a line whose end has not been seen; it may end with a CR before an LF
    skipping = False  # the rest belongs to a line that is too long
    for chunk in chunks:
        lines = (rest + chunk).splitlines(keepends=True)
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        for line in lines:
            yield None if skipping or _too_long(line) else line
            skipping = False
        if _too_long(rest):
            skipping = True
            rest = b"\r" if rest.endswith(b"\r") else b""
    if rest or skipping:
        yield None if skipping else rest


def without_mark(line: bytes) -> bytes:
    """Return a line without the byte order marks that it begins with.

    Where files were put together, not only the first line has one.
    """
    while line.startswith(BYTE_ORDER_MARK):
        line = line[len(BYTE_ORDER_MARK) :]
    return line


def _too_long(line: bytes) -> bool:
    return len(line) > MAX_BODY_BYTES and len(line.rstrip(b"\r\n")) > MAX_BODY_BYTES
