"""Splits the lines of a CSV file into rows, and finds its way back after a row that is none.

A row that is not CSV costs its first line only: reading goes on with the next line. So does a row
whose quote is not closed within `MAX_BODY_BYTES`, which is what is looked ahead and kept in memory.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_jobs.prompts.body import MAX_BODY_BYTES
from beam_jobs.prompts.lines import BYTE_ORDER_MARK, without_mark

TOO_LONG = f"row is longer than {MAX_BODY_BYTES:,} bytes"
_ADVICE = "close each quoted cell, and double the quotes inside it"
# A record as RFC 4180 has it, with any line ends in quoted cells.
_CELL = r'(?:"(?:[^"]|"")*+"|[^",\r\n]*+)'
_RECORD = re.compile(rf"{_CELL}(?:,{_CELL})*+(?:\r\n|\n|\r)?")


class CsvRow(NamedTuple):
    """A row, or a line that is none.

    Attributes:
        line: the number of its last line.
        raw: as in the file, without the line end; empty for a line that is too long.
        cells: None for a line that is no row.
        problem: why it is no row; empty for a row.
        begins_a_file: whether it has a byte order mark before it.
    """

    line: int
    raw: bytes
    cells: list[str] | None
    problem: str
    begins_a_file: bool


class CsvRows:
    """The rows of one CSV file, blank ones left out.

    Bytes that are not UTF-8 become lone surrogates in the cells, as `surrogateescape` has them.

    Args:
        lines: of the file, with their ends, and None in place of a line that is too long.

    Attributes:
        columns: how many cells a row has, once that is known. It decides whether several lines with
            dubious quotes are one row.
    """

    def __init__(self, lines: Iterable[bytes | None]) -> None:
        self.columns: int | None = None
        self._lines = _Lines(lines)

    def __iter__(self) -> Iterator[CsvRow]:
        """Yield the rows, and the lines that are none. Raises what the lines raise, at that place.

        This may be in the middle of a row; the lines before it are yielded all the same.
        """
        lines = self._lines
        reader = csv.reader(lines, strict=True)
        csv.field_size_limit(MAX_BODY_BYTES)
        while True:
            lines.start_row()
            cells: list[str] | None = None
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, _TooLongError) as error:
                problem = str(error)
            else:
                problem = "a quoted cell begins here and does not end as one"
                if len(lines.of_row) > 1 and not self._is_one_row(cells):
                    cells = None
            if cells is None:
                lines.give_back_all_but_first()
                if lines.of_row[0][1] is None:
                    problem = TOO_LONG
                else:
                    problem = f"not CSV: {problem}; {_ADVICE}"
            if cells != []:
                yield CsvRow(
                    line=lines.of_row[-1][0],
                    raw=lines.raw,
                    cells=cells,
                    problem="" if cells else problem,
                    begins_a_file=lines.marked,
                )

    def _is_one_row(self, cells: list[str]) -> bool:
        """Whether several lines are one row, and not a quote without its end and good rows."""
        text = "".join(map(_decoded, (line or b"" for _, line in self._lines.of_row)))
        return len(cells) == self.columns or _RECORD.fullmatch(text) is not None


class _TooLongError(ValueError):
    """A row, or a line of it, is too long to be kept."""


class _Lines:
    """Lines for the csv module, which can be given back.

    Attributes:
        of_row: the lines that were taken since `start_row`, with their numbers.
    """

    def __init__(self, lines: Iterable[bytes | None]) -> None:
        self._unread = enumerate(lines, start=1)
        self._given_back: deque[tuple[int, bytes | None]] = deque()
        self._error: Exception | None = None
        self.of_row: list[tuple[int, bytes | None]] = []
        self._row_bytes = 0

    def start_row(self) -> None:
        self.of_row = []
        self._row_bytes = 0

    def give_back_all_but_first(self) -> None:
        self._given_back.extendleft(reversed(self.of_row[1:]))
        del self.of_row[1:]

    @property
    def raw(self) -> bytes:
        text = b"".join(line or b"" for _, line in self.of_row)
        return without_mark(text).rstrip(b"\r\n")

    @property
    def marked(self) -> bool:
        return (self.of_row[0][1] or b"").startswith(BYTE_ORDER_MARK)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        taken = self._given_back.popleft() if self._given_back else self._read()
        self.of_row.append(taken)
        number, line = taken
        if line is not None:
            self._row_bytes += len(line)
        if line is None or self._row_bytes > MAX_BODY_BYTES + 2:
            raise _TooLongError(f"no end of the row up to line {number}")
        return _decoded(line)

    def _read(self) -> tuple[int, bytes | None]:
        if self._error is not None:
            raise self._error
        try:
            return next(self._unread)
        except StopIteration:
            raise
        except Exception as error:
            self._error = error
            if self.of_row:
                # First comes what was taken for a row that has no end now.
                raise StopIteration from None
            raise


def _decoded(line: bytes) -> str:
    text = without_mark(line).decode("utf-8", "surrogateescape")
    return text[:-2] + "\n" if text.endswith("\r\n") else text
