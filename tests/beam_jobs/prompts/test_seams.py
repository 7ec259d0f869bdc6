"""Seams between files; test_rows.py has what becomes of their rows."""

import pytest

from beam_jobs.prompts.seams import divided

MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("suffix", "line", "parts"),
    [
        (".txt", b"a|b|c\n", [b"a", b"|b", b"|c\n"]),
        (".txt", b"||a|\n", [b"||a|\n"]),
        (".txt", b"a||b\n", [b"a", b"||b\n"]),
        (".jsonl", b'{"a": "|"}|{"b": 1}\n', [b'{"a": "|"}', b'|{"b": 1}\n']),
        (".csv", b'1,a|"id","prompt"\n', [b"1,a", b'|"id","prompt"\n']),
        (".csv", b"1,a|b prompt,2\n", [b"1,a|b prompt,2\n"]),
    ],
)
def test_a_line_is_divided_where_another_file_begins(suffix, line, parts):
    line, *parts = [one.replace(b"|", MARK) for one in (line, *parts)]
    assert list(divided([None, line, b"z\n"], suffix)) == [None, *parts, b"z\n"]
    assert b"".join(parts) == line
