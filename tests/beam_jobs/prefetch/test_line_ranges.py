"""Each line of a file is read once, whatever the ranges, the pieces and the damage."""

import asyncio
import random

import pytest

from beam_jobs.prefetch.line_ranges import FileRange, Line, lines_in, ranges_of


class Object:
    """Bytes in storage, and how many of them are held by whoever reads them."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reads = 0

    async def read(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.content)
        self.reads += end - start
        await asyncio.sleep(0)
        return self.content[start:end]

    async def lines(self, part: FileRange, **limits: int) -> list[Line]:
        found = []
        async for line in lines_in(part, self.read, **limits):
            found.append(line)
            await asyncio.sleep(0)  # as whoever stores something
        return found


def lines_of(content: bytes, range_bytes: int, piece_bytes: int, **limits: int) -> list[Line]:
    """Read a file range by range."""

    async def read() -> list[Line]:
        stored = Object(content)
        found = []
        for part in ranges_of("gs://b/o", len(content), range_bytes):
            found += await stored.lines(part, piece_bytes=piece_bytes, **limits)
        return found

    return asyncio.run(read())


def texts(lines: list[Line]) -> list[bytes | None]:
    return [None if line.data is None else bytes(line.data) for line in lines]


def test_each_line_is_read_once_however_a_file_is_cut():
    chance = random.Random(1)
    for _ in range(300):
        written = [bytes(chance.choices(b"abc", k=chance.choice((0, 1, 3, 20)))) for _ in range(9)]
        content = b"\n".join(written) + chance.choice((b"", b"\n"))
        expected = content.split(b"\n")
        if not expected[-1]:
            del expected[-1]
        found = lines_of(content, chance.randint(1, 40), chance.randint(1, 15))
        assert texts(found) == expected
        for line, text in zip(found, expected, strict=True):
            assert content[line.at :].startswith(text)
        assert [line.is_ended for line in found] == [
            content[line.at + len(text) : line.at + len(text) + 1] == b"\n"
            for line, text in zip(found, expected, strict=True)
        ]


def test_an_empty_file_has_no_lines():
    assert lines_of(b"", 10, 10) == []


def test_a_line_that_breaks_off_is_told_from_one_that_ends():
    assert lines_of(b"whole\nbroken o", 100, 100) == [
        Line(b"whole", 0, True),
        Line(b"broken o", 6, False),
    ]


@pytest.mark.parametrize("range_bytes", [3, 7, 1000])
def test_a_byte_order_mark_is_no_part_of_the_first_line_alone(range_bytes):
    content = "\ufeffone\n\ufefftwo\n".encode()
    assert texts(lines_of(content, range_bytes, 4)) == [b"one", "\ufefftwo".encode()]


@pytest.mark.parametrize("range_bytes", [5, 16, 1000])
def test_a_line_beyond_the_limit_is_read_past_and_the_next_one_is_found(range_bytes):
    content = b"a\n" + b"x" * 50 + b"\nb\n" + b"y" * 50
    found = lines_of(content, range_bytes, 7, max_line_bytes=20)
    assert texts(found) == [b"a", None, b"b", None]
    assert [line.at for line in found] == [0, 2, 53, 55]
    assert [line.is_ended for line in found] == [True, True, True, False]


def test_a_line_of_just_the_limit_is_read():
    assert texts(lines_of(b"x" * 20 + b"\n", 100, 7, max_line_bytes=20)) == [b"x" * 20]


@pytest.mark.asyncio
async def test_a_range_reads_little_beyond_its_end():
    stored = Object(b"".join(b"%09d\n" % number for number in range(1000)))
    part = FileRange("gs://b/o", len(stored.content), 4000, 6000)
    lines = await stored.lines(part, piece_bytes=100)
    assert texts(lines) == [b"%09d" % number for number in range(400, 600)]
    # From the byte before the range, to the end of the last line that starts in it.
    assert stored.reads == 2000 + 100


@pytest.mark.asyncio
async def test_whoever_stops_early_leaves_no_request_behind():
    stored = Object(b"one\ntwo\nthree\n" * 100)
    lines = lines_in(FileRange("gs://b/o", 1400, 0, 1400), stored.read, piece_bytes=20)
    assert (await anext(lines)).data == b"one"
    await lines.aclose()
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


def test_ranges_cover_a_file_without_gaps():
    ranges = list(ranges_of("gs://b/o", 25, 10))
    assert [(part.start, part.end) for part in ranges] == [(0, 10), (10, 20), (20, 25)]
    assert {part.size for part in ranges} == {25}
