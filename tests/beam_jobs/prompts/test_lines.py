"""Lines, wherever the chunks of a file end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.prompts.body import MAX_BODY_BYTES
from beam_jobs.prompts.lines import lines_of, without_mark


@given(pieces=st.lists(st.sampled_from([b"a", b"bc", b"\r", b"\n", b"\r\n", b"\x0b"]), max_size=12))
def test_lines_do_not_depend_on_where_chunks_end(pieces):
    whole = b"".join(pieces)
    assert list(lines_of(piece for piece in pieces)) == whole.splitlines(keepends=True)


def test_only_line_feeds_and_carriage_returns_end_a_line():
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g\n".encode()
    assert list(lines_of([text])) == [text]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b""])
@pytest.mark.parametrize("chunk", [1000, 65536, 10_000_000])
def test_a_line_that_is_too_long_is_left_out_and_takes_no_memory(end, chunk):
    def chunks(content):
        return (content[at : at + chunk] for at in range(0, len(content), chunk))

    longest = b"x" * MAX_BODY_BYTES + end
    assert list(lines_of(chunks(longest))) == [longest]
    for size in (MAX_BODY_BYTES + 1, MAX_BODY_BYTES + 3, 3 * MAX_BODY_BYTES):
        content = b"a\n" + b"x" * size + end + (b"b\n" if end else b"")
        after = [b"b\n"] if end else []
        assert list(lines_of(chunks(content))) == [b"a\n", None, *after]


def test_the_lines_before_an_error_come_first():
    def chunks():
        yield b"a\nb"
        raise EOFError

    lines = lines_of(chunks())
    assert next(lines) == b"a\n"
    with pytest.raises(EOFError):
        next(lines)


def test_every_mark_before_a_line_is_taken_away_and_nothing_else():
    mark = b"\xef\xbb\xbf"
    assert without_mark(mark + mark + "！".encode()) == "！".encode()
    assert without_mark(b"a" + mark) == b"a" + mark
