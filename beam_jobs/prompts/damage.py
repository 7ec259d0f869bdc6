"""Where a text file stops being text: lines that are no UTF-8 text, and binary after text.

Everything here is decided by content, by these rules:

- A line is clean if it is UTF-8 without control characters. It is binary if it is neither.
- Reading ends before a line that is not clean if a gzip file begins in it, or if more than 90% of
  it and the next 512 bytes is binary lines. A line of random bytes can be clean by chance, and
  would be drawn. A line that stands alone costs itself only.
- If most of the lines that are not ASCII are not UTF-8, the file has another encoding, such as GBK
  or Windows-1252. Then those that happen to be UTF-8 are refused too. ASCII lines are the same in
  each of these encodings.

Must not import Beam or a file system: see `beam_jobs.prompts.rows`.
"""

from collections import deque
from collections.abc import Iterable, Iterator

GZIP_MEMBER = b"\x1f\x8b\x08"
_AHEAD_BYTES = 512
# In a file with fewer lines that are not UTF-8, they are damaged rows.
_MIN_NOT_UTF_8 = 3
# The control characters that no text has, in any encoding that has one byte for a line end.
_CONTROLS = bytes({*range(9), *range(14, 27), *range(28, 32), 127})


class BinaryError(ValueError):
    """Binary begins in this line. The message says where, and what is expected."""


class OtherEncoding:
    """Tells the files that are not UTF-8 from those with a few damaged lines."""

    def __init__(self) -> None:
        self._utf_8 = self._not_utf_8 = 0

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks of a file, each after its whole lines have been counted."""
        begun = b""  # a line whose beginning was in another chunk is not counted
        for chunk in chunks:
            if not chunk.isascii():
                self._count(chunk.splitlines(keepends=True), is_begun=bool(begun))
            begun = b"" if chunk.endswith((b"\n", b"\r")) else chunk[-1:]
            yield chunk

    def _count(self, lines: list[bytes], *, is_begun: bool) -> None:
        for line in lines[is_begun:]:
            if line.isascii():
                continue
            if is_utf_8(line):
                self._utf_8 += 1
            elif line.endswith((b"\n", b"\r")):  # and not cut within a character
                self._not_utf_8 += 1

    def is_doubtful(self, row: bytes) -> bool:
        """Whether a row is UTF-8 by chance only."""
        return (
            self._not_utf_8 >= _MIN_NOT_UTF_8
            and self._not_utf_8 > self._utf_8
            and not row.isascii()
            and is_utf_8(row)
        )


def until_binary(lines: Iterable[bytes | None]) -> Iterator[bytes | None]:
    """Yield the lines of a file up to the place where binary begins.

    Args:
        lines: of the file, with None in place of a line that is too long.

    Raises:
        BinaryError: binary begins here.
    """
    unread = _LookAhead(lines)
    for number, line in enumerate(unread, start=1):
        if line and not is_clean(line):
            if GZIP_MEMBER in line:
                raise BinaryError(_message("a gzip file", number))
            following = unread.peek(_AHEAD_BYTES)
            if following and is_mostly_binary([line, *following]):
                raise BinaryError(_message("binary", number))
        yield line


class _LookAhead:
    """Lines that can be looked at before they are taken."""

    def __init__(self, lines: Iterable[bytes | None]) -> None:
        self._unread = iter(lines)
        self._ahead: deque[bytes | None] = deque()
        self._error: Exception | None = None

    def peek(self, size: int) -> list[bytes]:
        """Return the next lines, of at least `size` bytes if there are so many."""
        size -= sum(len(line or b"") for line in self._ahead)
        while size > 0 and self._error is None:
            try:
                line = next(self._unread)
            except StopIteration:
                break
            except Exception as error:
                self._error = error  # comes after the lines before it
                break
            self._ahead.append(line)
            size -= len(line or b"") or 1
        return [line for line in self._ahead if line]

    def __iter__(self) -> Iterator[bytes | None]:
        while True:
            if self._ahead:
                yield self._ahead.popleft()
            elif self._error is not None:
                raise self._error
            else:
                try:
                    line = next(self._unread)
                except StopIteration:
                    return
                yield line


def _message(what: str, number: int) -> str:
    return (
        f"{what} begins in line {number}; nothing from there on was read; expected text in UTF-8 "
        "up to the end"
    )


def is_mostly_binary(lines: list[bytes]) -> bool:
    """Whether nine tenths of the bytes are in lines that are no text in any encoding."""
    binary = sum(len(line) for line in lines if _is_binary(line))
    return binary * 10 > sum(map(len, lines)) * 9


def is_clean(part: bytes) -> bool:
    """Whether a part of a file is text in UTF-8."""
    return not _has_controls(part) and is_utf_8(part)


def is_utf_8(part: bytes) -> bool:
    """Whether a part of a file can be decoded."""
    try:
        part.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_binary(line: bytes) -> bool:
    """Whether a line is neither UTF-8 nor text in an old encoding with a byte per letter."""
    return _has_controls(line) and not is_utf_8(line)


def _has_controls(part: bytes) -> bool:
    return len(part.translate(None, _CONTROLS)) < len(part)
