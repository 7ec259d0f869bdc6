"""Decodes a row of output, and leaves the base64 of its pictures where it is. Pure.

Making a text of what is nearly all of a row took half of the import's CPU, and a copy of it.
"""

import re
from typing import Any

import orjson

# Shorter texts are not worth it.
MIN_BYTES = 1024
_FIELD = re.compile(rb'"data"\s*:\s*"')
_NAME = b'"data"'


def decoded(line: bytes | bytearray) -> Any:
    """Return what a line of JSON holds; a long text named `data` is a view of the line.

    Raises:
        ValueError: it is no JSON. What such a text consists of is not looked at.
    """
    view, kept_from, at = memoryview(line), 0, 0
    pieces: list[bytes | memoryview] = []
    cut: list[memoryview] = []
    # Within a text, a quotation mark has a backslash before it, and `"data"` would have two.
    while (at := line.find(_NAME, at)) >= 0:
        match = _FIELD.match(line, at)
        at += len(_NAME)
        if match is None:
            continue
        start = match.end()
        end = line.find(b'"', start)
        # Cut off, or with characters that only a decoder knows.
        if end - start < MIN_BYTES or line.find(b"\\", start, end) >= 0:
            continue
        pieces += [view[kept_from:start], _mark(len(cut))]
        cut.append(view[start:end])
        kept_from = at = end
    if not cut:
        return orjson.loads(line)
    row = orjson.loads(b"".join([*pieces, view[kept_from:]]))
    _put_back(row, {f"\0{number}": text for number, text in enumerate(cut)})
    return row


def _mark(number: int) -> bytes:
    return rb"\u0000%d" % number


def _put_back(row: Any, texts: dict[str, memoryview]) -> None:
    # Not recursive: JSON can be nested deeper than Python's calls.
    remaining = [row]
    while remaining:
        value = remaining.pop()
        if isinstance(value, dict):
            data = value.get("data")
            if isinstance(data, str) and data in texts:
                value["data"] = texts[data]
            remaining += value.values()
        elif isinstance(value, list):
            remaining += value
