"""Prompt files of every format, whole and broken, on disk and on Cloud Storage."""

import gzip
import json
import tracemalloc

import pytest

from beam_jobs.outcomes import Failure, Reason
from beam_jobs.prompts.beam_files import read_prompts
from beam_jobs.prompts.body import MAX_BODY_BYTES
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.parse import Prompt, parse

BOM = b"\xef\xbb\xbf"
TOO_LONG = b"x" * (MAX_BODY_BYTES + 1)


@pytest.fixture(params=["local", "gs"])
def place(request, tmp_path):
    """Write a file, on disk and in storage in turn, and return its path."""
    if request.param == "local":

        def write(name, content):
            (tmp_path / name).write_bytes(content)
            return str(tmp_path / name)

        return write
    return request.getfixturevalue("lane").put


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def read(path):
    return list(read_prompts(path, source="backfill:x"))


def bodies(rows):
    assert not [row.detail for row in rows if isinstance(row, Failure)]
    return [row.body for row in rows]


def fields(rows):
    return [json.loads(body) for body in bodies(rows)]


def failures(rows):
    return [row for row in rows if isinstance(row, Failure)]


CONTENTS = {
    "p.txt": b"a fox\nan owl\n",
    "p.jsonl": b'{"prompt": "a fox"}\n{"prompt": "an owl"}\n',
    "p.json": b'{"prompt": "a fox"}\n{"prompt": "an owl"}\n',
    "p.csv": b"prompt\na fox\nan owl\n",
}


def text_of(body):
    return json.loads(body)["prompt"] if body.startswith(b"{") else body.decode()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_is_read_row_by_row_from_disk_and_storage(place, name, packed):
    content = CONTENTS[name]
    path = place(name + ".gz" * packed, gzip.compress(content) if packed else content)
    rows = read(path)
    assert [text_of(body) for body in bodies(rows)] == ["a fox", "an owl"]
    lines = (2, 3) if name == "p.csv" else (1, 2)
    assert [row.origin for row in rows] == [f"{path}:{line}" for line in lines]
    assert [row.attributes for row in rows] == [{"file": path, "line": str(line)} for line in lines]


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize(
    "disguise",
    [
        lambda content: BOM + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.replace(b"\n", b"\r"),
        lambda content: content.replace(b"\n", b"\r", 1),
        lambda content: b"\n" + content.replace(b"\n", b"\n\n\n"),
        lambda content: (
            content.replace(b"\n", b"\n \t\n") if b"prompt\n" not in content else content
        ),
        lambda content: content.removesuffix(b"\n"),
        lambda content: BOM + content.replace(b"\n", b"\r\n\r\n").removesuffix(b"\r\n"),
    ],
    ids=[
        "BOM",
        "CRLF",
        "CR",
        "CR and LF",
        "blank lines",
        "blank-looking lines",
        "no last line end",
        "all at once",
    ],
)
def test_line_ends_and_byte_order_marks_do_not_matter(write, name, disguise):
    rows = read(write(name, disguise(CONTENTS[name])))
    assert [text_of(body) for body in bodies(rows)] == ["a fox", "an owl"]


@pytest.mark.parametrize("name", [*CONTENTS, "p.txt.gz"])
def test_an_empty_file_has_no_prompts(write, name):
    assert read(write(name, b"")) == []


def test_members_of_a_gzip_that_was_appended_to_are_all_read(write):
    packed = gzip.compress(b"a fox\n") + gzip.compress(b"an owl\n")
    assert bodies(read(write("p.txt.gz", packed))) == [b"a fox", b"an owl"]


def test_a_line_of_a_text_file_may_be_a_structured_prompt(write):
    rows = read(write("p.txt", b'{"prompt": "a fox", "images": 2}\n'))
    assert fields(rows) == [{"prompt": "a fox", "images": 2}]


def test_a_line_of_jsonl_that_is_no_object_is_a_failure_that_keeps_it(write):
    bad = [b"a fox", b'["a fox"]', b"{broken", b"{'prompt': 'a fox'}", b"{", b"42", b"null"]
    rows = [b'{"prompt": "a fox"}', *bad, b'{"prompt": "an owl"}']
    path = write("p.jsonl", b"\n".join(rows))
    first, *refused, last = read(path)
    assert isinstance(first, RawPrompt)
    assert isinstance(last, RawPrompt)
    assert [row.body for row in refused] == bad
    second = refused[0]
    assert second.detail == f"{path}:2: expected a JSON object on one line"
    assert (second.prompt_id, second.source) == (f"~{path}:2", "backfill:x")
    assert (second.reason, second.retryable) == (Reason.INVALID_PROMPT, False)


@pytest.mark.parametrize("name", ["p.jsonl", "p.json"])
@pytest.mark.parametrize(
    "content",
    [
        b'[\n  {"prompt": "a fox"},\n  {"prompt": "an owl"}\n]\n',
        b'\n[{"prompt": "a fox"},\n{"prompt": "an owl"}]\n',
        b'[{\n"prompt": "a fox"\n}]\n',
    ],
)
def test_a_json_list_over_several_lines_is_refused_as_a_whole(write, name, content):
    (failure,) = read(write(name, content))
    assert "is a JSON list over several lines; expected a JSON object on each" in failure.detail


# CSV


def test_csv_columns_become_fields_in_any_order_and_empty_cells_are_not_given(write):
    rows = read(
        write(
            "p.csv",
            b"images, prompt ,seed,reuse,aspect_ratio,id\n"
            b"2,a fox,7,FALSE,16:9,a\n"
            b",an owl,,,,\n"
            b" 3 ,a hen,-1,true,,b\n",
        )
    )
    assert fields(rows) == [
        {
            "images": 2,
            "prompt": "a fox",
            "seed": 7,
            "reuse": False,
            "aspect_ratio": "16:9",
            "id": "a",
        },
        {"prompt": "an owl"},
        {"images": 3, "prompt": "a hen", "seed": -1, "reuse": True, "id": "b"},
    ]


@pytest.mark.parametrize(
    ("cell", "field"),
    [
        ("two", "images"),
        ("1.5", "images"),
        ("9" * 25, "images"),
        ("maybe", "reuse"),
        ("²", "images"),
    ],
)
def test_a_cell_of_another_type_is_left_for_the_parser_to_name(write, cell, field):
    (row,) = read(write("p.csv", f"prompt,{field}\na fox,{cell}\n".encode()))
    assert json.loads(row.body)[field] == cell
    result = parse(
        row.body,
        row.attributes,
        origin=row.origin,
        defaults=PromptDefaults("gemini-3.1-flash-image", frozenset()),
    )
    assert isinstance(result, Failure)
    assert f"field '{field}'" in result.detail


def test_quoted_cells_may_hold_commas_quotes_and_line_breaks(write):
    rows = read(
        write("p.csv", b'prompt,images\r\n"a ""red"" fox,\r\n\r\nin the snow",2\r\nan owl,1\r\n')
    )
    assert fields(rows) == [
        {"prompt": 'a "red" fox,\n\nin the snow', "images": 2},
        {"prompt": "an owl", "images": 1},
    ]


def test_an_empty_prompt_cell_stays_for_the_parser_to_refuse(write):
    assert fields(read(write("p.csv", b"prompt,images\n,2\n"))) == [{"prompt": "", "images": 2}]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"text,images", "no column 'prompt'; the columns are 'text', 'images'"),
        (b"a fox", "no column 'prompt'"),
        (b"prompt,style", "unknown column 'style'; expected one of prompt, id, model"),
        (b"prompt,images,prompt", "a column name appears twice"),
        (b"prompt,", "unknown column ''"),
        (b"prompt,\xff", "unknown column '\\udcff'"),
    ],
)
def test_an_invalid_header_ends_the_file_with_one_failure(write, header, expected):
    path = write("p.csv", header + b"\na fox,2\nan owl,2\n")
    (failure,) = read(path)
    assert failure.detail.startswith(f"{path}:1: {expected}")


def test_rows_of_a_csv_that_cannot_be_read_are_failures_between_those_that_can(write):
    path = write(
        "p.csv",
        b"prompt,images\na fox,2\ntoo,many,cells\nfew\nc\xe9sar,1\nan owl,1\n",
    )
    first, many, few, undecodable, last = read(path)
    assert (json.loads(first.body)["prompt"], json.loads(last.body)["prompt"]) == (
        "a fox",
        "an owl",
    )
    assert many.detail == f"{path}:3: expected 2 cells, got 3"
    assert few.detail == f"{path}:4: expected 2 cells, got 1"
    assert undecodable.detail == f"{path}:5: column 'prompt' is not UTF-8 at character 1"
    assert (many.body, undecodable.body) == (b"too,many,cells", b"c\xe9sar,1")
    assert [one.prompt_id for one in (many, few, undecodable)] == [
        f"~{path}:{n}" for n in (3, 4, 5)
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b'"unclosed', "unexpected end of data"),
        (b'"A 27" monitor on a desk"', "',' expected after '\"'"),
        (b'"a" b', "',' expected after '\"'"),
    ],
)
def test_a_row_whose_quoting_is_broken_costs_itself_alone(write, row, problem):
    path = write("p.csv", b"prompt\na fox\n" + row + b"\nan owl\na hen\n")
    fox, failure, owl, hen = read(path)
    assert [text_of(one.body) for one in (fox, owl, hen)] == ["a fox", "an owl", "a hen"]
    assert failure.detail == (
        f"{path}:3: not CSV: {problem}; close each quoted cell, and double the quotes inside it"
    )
    assert failure.body == row
    assert [one.origin for one in (owl, hen)] == [f"{path}:4", f"{path}:5"]


# Too long


@pytest.mark.parametrize(
    ("name", "header"), [("p.txt", b""), ("p.jsonl", b""), ("p.csv", b"prompt\n")]
)
@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, MAX_BODY_BYTES + 3, 3 * MAX_BODY_BYTES])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_over_long_row_is_a_failure_and_the_next_is_read(write, name, header, size, end):
    rows = [b'{"prompt": "a fox"}', b"{" * size, b'{"prompt": "an owl"}']
    if name == "p.csv":
        rows = [b"a fox", b"x" * size, b"an owl"]
    path = write(name, header + b"".join(row + end for row in rows))
    fox, failure, owl = read(path)
    assert (text_of(fox.body), text_of(owl.body)) == ("a fox", "an owl")
    line = 3 if header else 2
    assert failure.detail == f"{path}:{line}: row is longer than 262,144 bytes"
    assert failure.prompt_id == f"~{path}:{line}"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_row_as_long_as_is_allowed_is_read(write, end):
    longest = b"x" * MAX_BODY_BYTES
    assert bodies(read(write("p.txt", longest + end))) == [longest]


@pytest.mark.slow
def test_a_quote_without_its_end_is_looked_for_up_to_a_bound_and_costs_one_line(write):
    rows = b"line,1\n" * 60_000
    path = write("p.csv", b'prompt,images\na fox,1\n"begun,1\n' + rows + b'end",1\nan owl,1\n')
    fox, failure, *lines = read(path)
    assert text_of(fox.body) == "a fox"
    assert failure.detail.startswith(f"{path}:3: not CSV: ")
    assert failure.body == b'"begun,1'
    assert len(bodies(lines)) == 60_002
    assert text_of(lines[-1].body) == "an owl"


def test_an_over_long_line_within_a_quoted_cell_costs_itself_and_the_quote(write):
    path = write("p.csv", b'prompt\na fox\n"begun\n' + TOO_LONG + b'\nan owl\n"\na hen\n')
    fox, begun, too_long, owl, quote, hen = read(path)
    assert [text_of(one.body) for one in (fox, owl, hen)] == ["a fox", "an owl", "a hen"]
    assert (begun.body, too_long.body, quote.body) == (b'"begun', b"", b'"')
    assert "p.csv:4: row is longer than" in too_long.detail


def test_the_header_of_each_file_that_was_put_together_is_no_row(write):
    one, other = b"prompt,id\na fox,1\n", b"prompt,id\nan owl,2\n"
    for joint in (b"", BOM, b"\n" + BOM):
        rows = fields(read(write("p.csv", one + joint + other)))
        assert rows == [{"prompt": "a fox", "id": "1"}, {"prompt": "an owl", "id": "2"}]
    rows = fields(read(write("p.csv", BOM + b"prompt\na fox\n" + BOM + b"prompt\nan owl\n")))
    assert rows == [{"prompt": "a fox"}, {"prompt": "an owl"}]


@pytest.mark.parametrize("name", [name for name in CONTENTS if name != "p.csv"])
def test_a_byte_order_mark_can_begin_any_line(write, name):
    content = b"".join(BOM + line for line in CONTENTS[name].splitlines(keepends=True))
    assert [text_of(body) for body in bodies(read(write(name, content)))] == ["a fox", "an owl"]


# Broken files


def test_a_truncated_gzip_gives_its_rows_and_one_failure(place):
    content = b"".join(b"prompt %d\n" % number for number in range(20_000))
    path = place("p.txt.gz", gzip.compress(content)[:-2000])
    rows = read(path)
    (failure,) = failures(rows)
    assert failure is rows[-1]
    assert len(rows) > 1000
    assert [row.body for row in rows[:2]] == [b"prompt 0", b"prompt 1"]
    assert "broken gzip: Compressed file ended" in failure.detail
    assert f"nothing after line {len(rows) - 1} was read" in failure.detail


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"a fox\n", mtime=0)[:-8] + b"\0" * 8,
        gzip.compress(b"a fox\n", mtime=0)[:10] + b"\xff" * 200,
        gzip.compress(b"a fox\n", mtime=0)[:5],
        gzip.compress(b"a fox\n", mtime=0) + b"an owl",
        b"\x1f\x8b\x07",
    ],
    ids=["wrong checksum", "damaged", "cut in its header", "followed by text", "another method"],
)
def test_a_damaged_gzip_file_is_one_failure(write, content):
    path = write("p.txt.gz", content)
    (failure,) = failures(read(path))
    assert "broken gzip" in failure.detail
    assert failure.reason is Reason.INVALID_PROMPT


@pytest.mark.parametrize("name", ["p", "p.parquet", "p.txt.zip", "p.TXT", "p.gz", "p.csv.gz.gz"])
def test_another_kind_of_file_is_refused_by_its_name_without_opening_it(name):
    (failure,) = read(f"/nowhere/{name}")
    assert failure.detail == (
        f"/nowhere/{name}: expected a file ending in .txt, .jsonl, .json, .csv, or one of these "
        "and .gz"
    )


def test_a_missing_file_is_a_storage_error_and_not_an_exception(tmp_path, lane):
    for path in (f"{tmp_path}/gone.txt", lane.images_location + "/gone.csv", "gs://no-such/p.txt"):
        (failure,) = read(path)
        assert failure.reason is Reason.STORAGE_ERROR
        assert failure.detail.startswith(f"{path}: cannot be read after line 0")


def test_a_folder_that_is_named_like_a_file_is_a_storage_error(tmp_path):
    folder = tmp_path / "p.txt"
    folder.mkdir()
    (failure,) = read(str(folder))
    assert failure.reason is Reason.STORAGE_ERROR


@pytest.mark.slow
@pytest.mark.parametrize("name", ["p.txt.gz", "p.csv.gz"])
def test_a_decompression_bomb_does_not_fill_the_memory(write, name):
    zeros = gzip.compress(b"0" * 10_000_000)
    header = gzip.compress(b"prompt\n") if name == "p.csv.gz" else b""
    path = write(name, header + zeros * 20 + gzip.compress(b"\n{a fox}\n"))
    tracemalloc.start()
    try:
        rows = read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    bomb, fox = rows
    assert "row is longer than" in bomb.detail
    assert b"{a fox}" in fox.body
    assert peak < 8_000_000


@pytest.mark.slow
def test_rows_come_as_they_are_read(write):
    path = write("p.txt", b"a prompt that is repeated\n" * 50_000)
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_prompts(path, source="x"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 50_000
    assert peak < 4_000_000


def test_a_very_long_path_still_fits_into_an_attribute(write, tmp_path):
    folder = tmp_path
    for _ in range(8):
        folder = folder / ("ordner-ä" * 20)
    folder.mkdir(parents=True)
    path = folder / "p.txt"
    path.write_bytes(b"a fox\n")
    (row,) = read(str(path))
    assert len(row.attributes["file"].encode()) <= 1024
    assert row.attributes["file"].endswith("/p.txt")
    defaults = PromptDefaults("gemini-3.1-flash-image", frozenset())
    result = parse(row.body, row.attributes, origin=row.origin, defaults=defaults)
    assert isinstance(result, Prompt)
