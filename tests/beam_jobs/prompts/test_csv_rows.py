"""Rows of CSV, between lines that are none."""

import time

import pytest

from beam_jobs.prompts.body import MAX_BODY_BYTES
from beam_jobs.prompts.csv_rows import CsvRows


def rows(content, columns=2):
    found = CsvRows(content.splitlines(keepends=True) if isinstance(content, bytes) else content)
    found.columns = columns
    return list(found)


def read(content, columns=2):
    """Return each row's cells, or the raw bytes of a line that is none."""
    return [row.raw if row.cells is None else row.cells for row in rows(content, columns)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'a,b\n\n"c",d\n', [["a", "b"], ["c", "d"]]),
        (b'"a\nb",c\r\nd,e\r\n', [["a\nb", "c"], ["d", "e"]]),
        (b'"a\r\nb\rc",d\r\n', [["a\nb\rc", "d"]]),
        (b'"a ""b""\n\n",c\n', [['a "b"\n\n', "c"]]),
        (b'a 8" b,c\n', [['a 8" b', "c"]]),
        (b'"a\nb",8" c\n', [["a\nb", '8" c']]),
        (b'"a\nb",c,d\ne,f\n', [["a\nb", "c", "d"], ["e", "f"]]),
        (b"a,b\rc,d\r", [["a", "b"], ["c", "d"]]),
    ],
)
def test_what_is_csv_is_read_as_csv(content, expected):
    assert read(content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'"a,1\nb,2\nc,3\n', [b'"a,1', ["b", "2"], ["c", "3"]]),
        (b'"a,1\nb,2\n"c, d",3\n', [b'"a,1', ["b", "2"], ["c, d", "3"]]),
        (b'"a,1\n"b,2\nc,3\n', [b'"a,1', b'"b,2', ["c", "3"]]),
        (b'"a,1\nb,""\n"c",3\n', [b'"a,1', ["b", ""], ["c", "3"]]),
        (b'"a,1\n", and b",2\nc,3\n', [b'"a,1', [", and b", "2"], ["c", "3"]]),
        (b'"a" 1,1\r\nb,2\r\n', [b'"a" 1,1', ["b", "2"]]),
        (b'a,"1\nb,2\n', [b'a,"1', ["b", "2"]]),
    ],
)
def test_a_line_that_is_no_row_costs_that_line(content, expected):
    assert read(content) == expected


def test_each_row_has_the_number_of_its_last_line_and_its_own_bytes():
    found = rows(b'a,b\n"c\nd",e\n"f,1\ng,2\n')
    assert [row.line for row in found] == [1, 3, 4, 5]
    assert [row.raw for row in found] == [b"a,b", b'"c\nd",e', b'"f,1', b"g,2"]


def test_a_byte_order_mark_begins_a_file_and_is_in_no_cell():
    mark = b"\xef\xbb\xbf"
    found = rows(mark + b'"a",b\n' + mark + mark + b"c,d\ne,f\n")
    assert [row.cells for row in found] == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert [row.begins_a_file for row in found] == [True, True, False]


def test_lines_that_were_looked_ahead_at_are_not_lost_when_the_file_breaks_off():
    def lines():
        yield from (b'"a,1\n', b"b,2\n", b"c,3\n")
        raise EOFError("cut")

    found = []
    with pytest.raises(EOFError):
        found.extend(row.cells or row.raw for row in CsvRows(lines()))
    assert found == [b'"a,1', ["b", "2"], ["c", "3"]]


def test_looking_ahead_is_bounded():
    taken = 0

    def lines():
        nonlocal taken
        yield b'"begun\n'
        while True:
            taken += 1
            yield b"x" * 999 + b"\n"

    first = next(iter(CsvRows(lines())))
    assert first.cells is None
    assert taken <= MAX_BODY_BYTES // 1000 + 2


@pytest.mark.slow
def test_a_file_of_nothing_but_open_quotes_takes_no_longer_than_others():
    started = time.thread_time()
    assert len(read(b'"a,1\nb,""\n' * 50_000)) == 100_000
    assert time.thread_time() - started < 5
