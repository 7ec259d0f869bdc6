"""Decodes the JSON of models' answers; the base64 of pictures can stay where it is. Pure.

A text of what is nearly all of an answer is another copy of it. Making it took half of the CPU of a
row of batch output, and with google-genai's own a fifth of that of a prompt that is sent by itself.
"""

import codecs
import re
from typing import Any

import orjson

# Shorter texts are not worth it.
MIN_BYTES = 1024
_FIELD = re.compile(rb'"data"\s*:\s*"')
_NAME = b'"data"'


def decode(body: bytes | bytearray) -> Any:
    """Return the JSON of an answer, with or without a byte order mark before it.

    Raises:
        ValueError: the body is not JSON.
    """
    # RFC 8259, 8.1: a parser may ignore the mark, which some servers send. orjson does not.
    return orjson.loads(body.removeprefix(codecs.BOM_UTF8))


def decode_around_pictures(body: bytes | bytearray) -> Any:
    """Return the JSON of a Gemini model's answer; a long text named `data` is a view of `body`.

    Args:
        body: of an answer, or a row of batch output that holds one.

    Raises:
        ValueError: the body is not JSON. What such a text consists of is not looked at.
    """
    view, kept_from, at = memoryview(body), 0, 0
    pieces: list[bytes | memoryview] = []
    cut: list[memoryview] = []
    # Within a text, a quotation mark has a backslash before it, and `"data"` would have two.
    while (at := body.find(_NAME, at)) >= 0:
        match = _FIELD.match(body, at)
        at += len(_NAME)
        if match is None:
            continue
        start = match.end()
        end = body.find(b'"', start)
        # Cut off, or with characters that only a decoder knows.
        if end - start < MIN_BYTES or body.find(b"\\", start, end) >= 0:
            continue
        pieces += [view[kept_from:start], _mark(len(cut))]
        cut.append(view[start:end])
        kept_from = at = end
    if not cut:
        return decode(body)
    answer = decode(b"".join([*pieces, view[kept_from:]]))
    _put_back(answer, {f"\0{number}": text for number, text in enumerate(cut)})
    return answer


def _mark(number: int) -> bytes:
    return rb"\u0000%d" % number


def _put_back(answer: Any, texts: dict[str, memoryview]) -> None:
    # Not recursive: JSON can be nested deeper than Python's calls.
    remaining = [answer]
    while remaining:
        value = remaining.pop()
        if isinstance(value, dict):
            data = value.get("data")
            if isinstance(data, str) and data in texts:
                value["data"] = texts[data]
            remaining += value.values()
        elif isinstance(value, list):
            remaining += value
