"""Answers whose pictures are left where they are, compared with what a decoder makes of them."""

import codecs
import json
from typing import Any

import orjson
import pytest

from beam_jobs.models.answer_json import MIN_BYTES, decode_around_pictures
from beam_jobs.models.pictures import decode_base64

LONG = "iVBORw0K" * (MIN_BYTES // 8)
ESCAPED = LONG[:-1] + "/"


def texts_of(value: Any) -> Any:
    """The same with texts instead of views."""
    if isinstance(value, memoryview):
        return str(value, "utf-8")
    if isinstance(value, dict):
        return {name: texts_of(each) for name, each in value.items()}
    return [texts_of(each) for each in value] if isinstance(value, list) else value


def test_the_base64_of_a_picture_is_a_view_of_its_line_and_the_rest_is_decoded() -> None:
    parts = [{"text": "ä fox"}, {"inlineData": {"mimeType": "image/png", "data": LONG}}]
    line = bytearray(json.dumps({"response": {"parts": parts, "n": 1.5}}), "utf-8")
    row = decode_around_pictures(line)
    view = row["response"]["parts"][1]["inlineData"]["data"]
    assert isinstance(view, memoryview)
    assert view.obj is line
    assert decode_base64(view) == decode_base64(LONG)
    assert texts_of(row) == json.loads(line)


@pytest.mark.parametrize(
    "row",
    [
        {"data": LONG, "more": [{"data": ESCAPED}, {"data": "short"}, {"data": LONG}]},
        {"text": f'a text with "data": "{LONG}" in it', "data": LONG},
        {'a name that ends with "data': LONG},
        {"values": ["data", LONG, "data"], "data": ["data", LONG], "of": {"data": {"data": LONG}}},
        {"data": "\0" + "0", "other": {"data": LONG}},
        {"data": f"{LONG}\\", "next": LONG},
        {"data": f"{LONG}ä\n"},
        [LONG, {"data": LONG}],
    ],
    ids=lambda row: str(list(row))[:30],
)
@pytest.mark.parametrize("separators", [(",", ":"), (" , ", " : ")], ids=["compact", "spaced"])
def test_a_row_holds_what_a_decoder_says(row: Any, separators: tuple[str, str]) -> None:
    for ascii_only in (True, False):
        text = json.dumps(row, separators=separators, ensure_ascii=ascii_only)
        for line in (text, text.replace("/", "\\/")):
            expected = json.loads(line)
            # A text that is what a mark looks like stands for a picture of its own row.
            if isinstance(row, dict) and row.get("data") == "\0" + "0":
                expected["data"] = LONG
            assert texts_of(decode_around_pictures(line.encode())) == _without_marks(expected, row)


def _without_marks(expected: Any, row: Any) -> Any:
    """What is not named `data` is not put back: nobody reads a text of that length there."""
    if isinstance(row, dict) and any(name.endswith('"data') for name in row):
        return dict.fromkeys(expected, "\x00" + "0")
    return expected


def test_a_byte_order_mark_is_no_part_of_an_answer() -> None:
    for row in ({"data": LONG}, {"data": "short"}):
        assert texts_of(decode_around_pictures(codecs.BOM_UTF8 + json.dumps(row).encode())) == row


@pytest.mark.parametrize("end", [1, MIN_BYTES // 2, MIN_BYTES + 20])
def test_a_row_that_breaks_off_is_no_json(end: int) -> None:
    line = json.dumps({"response": {"data": LONG, "more": 1}}).encode()
    for broken in (line[:-end], line[:10], b'{"data": "', b'{"data"', b""):
        with pytest.raises(orjson.JSONDecodeError):
            decode_around_pictures(broken)


def test_a_row_that_is_nested_deeply_is_decoded() -> None:
    line = ('{"a":[' * 400 + json.dumps({"data": LONG}) + "]}" * 400).encode()
    assert json.dumps(texts_of_first(decode_around_pictures(line)))
    assert orjson.loads(line)


def texts_of_first(row: Any) -> str:
    while "data" not in row:
        row = row["a"][0]
    return str(row["data"], "utf-8")
