"""Finds where files were put together without a line end between them, as `cat` does.

A byte order mark begins a file (RFC 3629, section 6). So one in the middle of a line is a seam,
unless it was pasted into a cell or a JSON string. These are the rules:

- In a `.csv` file it is one if the names of columns follow, and `prompt` is among them.
- After JSON it is one if another object follows.
- In other lines of a `.txt` file it is one if there is text on both sides of it.
"""

from collections.abc import Callable, Iterable, Iterator

from beam_jobs.prompts.lines import BYTE_ORDER_MARK, without_mark


def divided(lines: Iterable[bytes | None], suffix: str) -> Iterator[bytes | None]:
    """Yield the lines of a file, and those with a seam as two or more.

    Args:
        lines: of the file, with None in place of a line that is too long.
        suffix: tells the format, such as `.csv`.
    """
    is_seam = _before_a_header if suffix == ".csv" else _between_rows
    for line in lines:
        # Most lines have none, and what begins with a mark needs no division.
        if line is None or line.find(BYTE_ORDER_MARK, 1) < 0:
            yield line
        else:
            yield from _divided(line, is_seam)


def _divided(line: bytes, is_seam: Callable[[bytes, bytes], bool]) -> Iterator[bytes]:
    begin = 0
    at = line.find(BYTE_ORDER_MARK, 1)
    while at >= 0:
        if is_seam(without_mark(line[begin:at]).strip(), without_mark(line[at:]).strip()):
            yield line[begin:at]
            begin = at
        at = line.find(BYTE_ORDER_MARK, at + 1)
    yield line[begin:]


def _before_a_header(_: bytes, after: bytes) -> bool:
    names = [name.strip(b'" \t').lower() for name in after.split(b",")]
    return b"prompt" in names


def _between_rows(before: bytes, after: bytes) -> bool:
    if before.startswith(b"{"):
        return before.endswith(b"}") and after.startswith(b"{")
    return bool(before and after)
