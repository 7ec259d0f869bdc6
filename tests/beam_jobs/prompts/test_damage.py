"""Lines up to binary, and files of another encoding; test_rows.py has whole files."""

import gzip

import pytest

from beam_jobs.prompts.damage import BinaryError, OtherEncoding, until_binary

BINARY = [b"\x00\xff\x01\xfe\n" * 40, b"N\n", b"\x02\xfd\x03\xfc\n" * 80]


def read(lines):
    """Return the lines that are read, and what ended reading."""
    found = []
    try:
        found.extend(until_binary(iter(lines)))
    except (BinaryError, EOFError) as error:
        return found, str(error)
    return found, None


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [None, b"a\n", None],
        [b"c\xe9sar\n", b"na\xefve\n"],
        [b"a\x00b\n", b"\x1b[1m\n"],
        [b"a\n", b"\x00\xff\n"],
        [b"\x00\xff\n", *[b"an owl\n"] * 9],
        ["雪の中の柴犬\n".encode("shift_jis")] * 9,
    ],
    ids=ascii,
)
def test_damaged_lines_do_not_end_a_text(lines):
    assert read(lines) == (lines, None)


def test_binary_ends_it_before_a_line_of_it_that_is_text_by_chance():
    found, said = read([b"a\n", None, *BINARY])
    assert found == [b"a\n", None]
    assert said.startswith("binary begins in line 3; nothing from there on was read")


def test_gzip_ends_it_wherever_it_begins_in_a_line():
    found, said = read([b"a\n", b"b" + gzip.compress(b"c")])
    assert found == [b"a\n"]
    assert said.startswith("a gzip file begins in line 2")


def test_the_lines_before_an_error_come_first_though_they_were_looked_at():
    def torn():
        yield b"\xff\n"
        yield b"a\n"
        raise EOFError("torn")

    assert read(torn()) == ([b"\xff\n", b"a\n"], "torn")


@pytest.mark.parametrize("size", [50, 1000, 10_000])
def test_an_encoding_is_told_wherever_chunks_end(size):
    for encoding, doubtful in (("gbk", True), ("utf-8", False)):
        content = ("雪地里的狐狸, a fox\n熊猫在竹林, a panda\n" * 50).encode(encoding)
        watched = OtherEncoding()
        chunks = [content[at : at + size] for at in range(0, len(content), size)]
        assert list(watched.watch(iter(chunks))) == chunks
        assert watched.is_doubtful("山".encode("gbk")) is doubtful
        assert not watched.is_doubtful(b"a fox")
