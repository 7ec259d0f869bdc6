"""Rows apart from file systems; what each format does is in test_beam_files.py."""

import contextlib
import gzip
import io
import json
import os
import random
import subprocess
import sys
import sysconfig
import zlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from beam_jobs.outcomes import Failure, Reason, encode
from beam_jobs.prompts.body import MAX_BODY_BYTES
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.parse import Prompt, parse
from beam_jobs.prompts.rows import PromptFileReader
from tests.conftest import ROOT

DEFAULTS = PromptDefaults("gemini-3.1-flash-image", frozenset())


def opened(content):
    return lambda: contextlib.closing(io.BytesIO(content))


def nowhere():
    raise AssertionError("was opened")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", b"a fox\nan owl\n"),
        ("p.jsonl", b'{"prompt": "a fox"}\n{"prompt": "an owl"}\n'),
        ("p.csv", b"prompt\na fox\nan owl\n"),
    ],
)
def test_rows_come_from_any_stream_under_the_path_that_is_given(name, content, packed):
    path = f"gs://b/{name}{'.gz' * packed}"
    file = PromptFileReader(path, "backfill:x")
    rows = list(file.read(opened(gzip.compress(content) if packed else content)))
    first = 2 if name == "p.csv" else 1
    assert [row.origin for row in rows] == [f"{path}:{first}", f"{path}:{first + 1}"]
    assert (file.line, file.broken) == (first + 1, None)


@pytest.mark.parametrize(
    ("name", "content", "line", "broken"),
    [
        ("p.csv", b"text\na fox\n", 1, "no column 'prompt'"),
        ("p.csv", b'"prompt\na fox\n', 1, "the header cannot be read: not CSV"),
        ("p.csv", b"prompt;images\na fox;2\n", 1, "no column 'prompt'"),
        (
            *("p.csv", b'"prompt";"images"\n"a fox";"2"\n', 1),
            "the names of the columns are separated by semicolons; save the file with commas",
        ),
        (
            *("p.csv", b'"prompt"\t"images"\n"a fox"\t"2"\n', 1),
            "the names of the columns are separated by tabs; save the file with commas",
        ),
        (
            *("p.csv", b"sep=,\r\nprompt,images\r\na fox,2\r\n", 1),
            "begins with a line for Excel, sep=; remove this line",
        ),
        (
            *("p.csv", b"sep=;\r\nprompt;images\r\na fox;2\r\n", 1),
            "begins with a line for Excel, sep=; remove this line, and save the file with commas",
        ),
        ("p.txt.gz", b"PK\x03\x04", 0, "is ZIP"),
        ("p.txt.gz", gzip.compress(b"a fox\n", mtime=0)[:-4], 1, "broken gzip"),
    ],
    ids=[
        *("header", "header's quotes", "semicolons", "quotes and semicolons", "quotes and tabs"),
        *("sep=,", "sep=;", "ZIP", "cut gzip"),
    ],
)
def test_a_damaged_file_says_so_and_ends_with_its_failure(name, content, line, broken):
    file = PromptFileReader(name, "backfill:x")
    *_, last = file.read(opened(content))
    assert isinstance(last, Failure)
    assert file.broken is not None
    assert file.broken.startswith(broken)
    assert last.detail.endswith(file.broken)
    assert file.line == line


def test_a_json_list_on_one_line_is_a_failure_with_what_to_run():
    content = b'[{"prompt": "a fox"}, {"prompt": "an owl"}]\n'
    for name in ("p.json", "p.jsonl"):
        (failure,) = PromptFileReader(name, "backfill:x").read(opened(content))
        assert "as jq -c .[] writes" in failure.detail
        assert failure.body == content.strip()


def test_a_bad_row_does_not_break_a_file():
    file = PromptFileReader("p.jsonl", "backfill:x")
    bad, good = file.read(opened(b'a fox\n{"prompt": "a fox"}\n'))
    assert isinstance(bad, Failure)
    assert json.loads(good.body) == {"prompt": "a fox"}
    assert file.broken is None


@pytest.mark.parametrize("cell", ["--1", "-", "1-", "²", "1_0", "9" * 19, "٣"])
def test_a_cell_that_is_no_number_breaks_neither_its_file_nor_the_reader(cell):
    """The parser judges the value; the rows after it are still read."""
    file = PromptFileReader("p.csv", "backfill:x")
    content = f"prompt,images\na fox,{cell}\nan owl, -2 \na hen,3\n".encode()
    fox, owl, hen = file.read(opened(content))
    assert json.loads(fox.body)["images"] == cell
    assert json.loads(owl.body)["images"] == -2
    assert json.loads(hen.body)["images"] == 3
    assert file.broken is None


def test_a_file_may_have_any_name_that_a_disk_takes():
    file = PromptFileReader("/night/\udcff.txt", "backfill:x")
    fox, bad = file.read(opened(b"a fox\n" + b"x" * (MAX_BODY_BYTES + 1)))
    assert fox.attributes == {"file": "/night/\\udcff.txt", "line": "1"}
    assert fox.origin == "/night/\\udcff.txt:1"
    _, attributes = encode(bad)
    assert attributes["prompt_id"].encode() == b"~/night/\\udcff.txt:2"
    assert bad.detail.encode().startswith(b"/night/\\udcff.txt:2: ")


def test_a_name_that_tells_no_format_is_refused_without_opening_the_file():
    file = PromptFileReader("gs://b/p.parquet", "backfill:x")
    (failure,) = file.read(nowhere)
    assert failure.reason is Reason.INVALID_PROMPT
    assert file.broken == (
        "expected a file ending in .txt, .jsonl, .json, .csv, or one of these and .gz"
    )


def test_a_folder_placeholder_is_named_as_such_without_opening_it():
    file = PromptFileReader("gs://b/prompts/", "backfill:x")
    (failure,) = file.read(nowhere)
    assert failure.detail == "gs://b/prompts/: is a folder placeholder, not a prompt file"


def test_a_stream_that_fails_breaks_the_file_as_a_storage_error():
    class Torn(io.BytesIO):
        def read1(self, size=-1):
            return super().read1(size) or self.fail()

        def fail(self):
            raise ConnectionResetError("gone")

    file = PromptFileReader("p.txt", "backfill:x")
    fox, failure = file.read(lambda: contextlib.closing(Torn(b"a fox\n")))
    assert fox.body == b"a fox"
    assert failure.reason is Reason.STORAGE_ERROR
    assert file.broken == "cannot be read after line 1: ConnectionResetError: gone"


# Any file of good and broken rows

_text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff")).map(
    lambda text: f"A {text}"
)


def _cell(text):
    return '"' + text.replace('"', '""') + '"'


# Rows as they are in the file, with the text of their prompt.
GOOD = {
    ".txt": _text.map(lambda text: (text.encode(), text)),
    ".jsonl": _text.map(lambda text: (json.dumps({"prompt": text}).encode(), text)),
    ".csv": st.one_of(
        _text.map(lambda text: (f"{_cell(text)},1".encode(), text)),
        _text.map(lambda text: (f'{_cell(text)},"1"'.encode(), text)),
        _text.map(
            lambda text: (f"{_cell(f'{text}{chr(10)}, and 8 more, {text}')},".encode(), None)
        ),
    ),
}
OVER_LONG = b"x" * (MAX_BODY_BYTES + 1)
BROKEN = {
    ".txt": [b"c\xe9sar", b"a\0fox", OVER_LONG, b"{'prompt': 'a fox'}", b"\xed\xa0\x80", b'["a"]'],
    ".jsonl": [
        b"{broken",
        b"a fox",
        b"[1]",
        b"{}",
        b'{"prompt": 1}',
        b"\xff{",
        OVER_LONG,
        b'{"a": {',
    ],
    ".csv": [
        *(b'"A 27" monitor on a desk",1', b'"never closed,1', b'a fox,"never closed', b'"a" fox,1'),
        *(b"one cell", b"three,cells,1", b"c\xe9sar,1", OVER_LONG, b"a\0fox,1", b"a fox,many"),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("suffix", BROKEN)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_file_gives_as_many_items_as_it_has_rows_and_each_good_one(suffix, end, data):
    good = GOOD[suffix].map(lambda row: (*row, True))
    broken = st.sampled_from(BROKEN[suffix]).map(lambda row: (row, None, False))
    # A file without any line of text is refused as a whole.
    rows = [(*data.draw(GOOD[suffix]), True), *data.draw(st.lists(good | broken, max_size=12))]
    undecodable = sum(raw.startswith((b"c\xe9", b"\xed", b"\xff")) for raw, _, _ in rows)
    assume(undecodable < 3)  # with more, the file has another encoding
    content = end.join([b"prompt,images"] * (suffix == ".csv") + [raw for raw, _, _ in rows])
    if data.draw(st.booleans()):
        content = gzip.compress(content)
    file = PromptFileReader(f"p{suffix}", "backfill:x")
    items = [
        parse(row.body, {}, origin=row.origin, defaults=DEFAULTS)
        if isinstance(row, RawPrompt)
        else row
        for row in file.read(opened(content))
    ]
    assert file.broken is None
    assert [isinstance(item, Prompt) for item in items] == [is_good for _, _, is_good in rows]
    for item, (raw, text, is_good) in zip(items, rows, strict=True):
        if is_good and text is not None:
            assert item.text == text.strip()
        elif not is_good and raw is not OVER_LONG and b"\0" not in raw and b"many" not in raw:
            assert item.body == raw


@pytest.mark.parametrize("suffix", BROKEN)
def test_twenty_broken_rows_among_two_hundred_leave_one_hundred_and_eighty_prompts(suffix):
    chance = random.Random(1)
    fox = {".txt": b"fox %d", ".jsonl": b'{"prompt": "fox %d"}', ".csv": b'"fox, %d",1'}[suffix]
    rows = [fox % number for number in range(200)]
    broken_at = sorted(chance.sample(range(200), 20))
    for at in broken_at:
        rows[at] = chance.choice(BROKEN[suffix])
    content = b"\n".join([b"prompt,images"] * (suffix == ".csv") + rows)
    items = [
        parse(row.body, {}, origin=row.origin, defaults=DEFAULTS)
        if isinstance(row, RawPrompt)
        else row
        for row in PromptFileReader(f"p{suffix}", "backfill:x").read(opened(content))
    ]
    assert [at for at, item in enumerate(items) if isinstance(item, Failure)] == broken_at
    assert len(items) == 200
    lines = {int(item.prompt_id.rpartition(":")[2]) for item in items if isinstance(item, Failure)}
    assert lines == {at + (2 if suffix == ".csv" else 1) for at in broken_at}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "prompts.rows",
        "prompts.stored_object",
        "prompts.globs",
        "prompts.parse",
        "prompts.identity",
        "prompts.canary",
        "prompts.fields",
        "prompts.incoming",
        "outcomes",
        "catalog",
        "names",
        "images.location",
    ],
)
def test_the_modules_that_airflow_imports_bring_neither_beam_nor_a_client(module):
    heavy = "('apache_beam', 'google', 'aiohttp', 'gcloud', 'airflow')"
    code = f"import sys, beam_jobs.{module}; print([m for m in {heavy} if m in sys.modules])"
    command = [sys.executable, "-S", "-c", code]
    # The packages, without what they would import at the start of each process.
    packages = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    ran = subprocess.run(
        command, cwd=ROOT, env=packages, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


# Binary and other encodings within a text

FOXES = b"".join(b"fox %d\n" % number for number in range(58))


def results(content, name="p.txt"):
    return [
        parse(row.body, {}, origin=row.origin, defaults=DEFAULTS)
        if isinstance(row, RawPrompt)
        else row
        for row in PromptFileReader(name, "backfill:x").read(opened(content))
    ]


def drawn(content, name="p.txt"):
    return [item.text for item in results(content, name) if isinstance(item, Prompt)]


NOISE = random.Random(7).randbytes(300_000)
ZIPPED = gzip.compress(b"".join(b"owl %d\n" % number for number in range(20_000)), mtime=0)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (ZIPPED, "a gzip file begins in line 59"),
        (gzip.compress(b"an owl\n", mtime=0), "a gzip file begins in line 59"),
        (NOISE, "binary begins in line 59"),
        (NOISE[:600], "binary begins in line 59"),
        (zlib.compress(NOISE), "binary begins in line 59"),
    ],
    ids=["gzip", "little gzip", "noise", "little noise", "zlib"],
)
@pytest.mark.parametrize("name", ["p.txt", "p.csv"])
def test_the_rows_before_binary_are_read_and_the_rest_is_one_failure(name, packed, tail, said):
    head = FOXES if name == "p.txt" else b"prompt\n" + FOXES[: FOXES.rindex(b"fox 57")]
    content = gzip.compress(head + tail) if packed else head + tail
    *foxes, last = results(content, name)
    assert len(foxes) == (58 if name == "p.txt" else 57)
    assert all(isinstance(fox, Prompt) for fox in foxes)
    assert said in last.detail
    assert "nothing from there on was read" in last.detail


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize(
    "packed",
    [
        lambda text, noise: zlib.compress(text),
        lambda text, noise: zlib.compress(text)[2:],
        lambda text, noise: noise,
        lambda text, noise: text + noise,
    ],
    ids=["zlib", "deflate", "noise", "noise after text"],
)
def test_no_part_of_a_small_binary_file_is_drawn(packed, seed):
    chance = random.Random(seed)
    text = b"".join(b"a fox with %d tails\n" % chance.randrange(10**6) for _ in range(100))
    content = packed(text, chance.randbytes(4000))
    texts = drawn(content)
    assert [one for one in texts if not one.startswith("a fox with")] == []
    assert len(texts) in (0, 100)


def test_a_row_of_binary_between_rows_of_text_costs_itself():
    content = FOXES + b"\x00\xff\x01\xfe\n" + FOXES
    assert [isinstance(item, Failure) for item in results(content)] == [False] * 58 + [True] + [
        False
    ] * 58


@pytest.mark.parametrize("name", ["p.txt", "p.csv"])
def test_rows_of_another_encoding_that_happen_to_be_utf_8_are_not_drawn(name):
    """In GBK, two of these are the UTF-8 of something else."""
    animals = ["一只猫头鹰", "山", *("雪地里的狐狸", "狐狸", "熊猫在竹林", "月亮", "河边的房子")]
    head = ["prompt"] * (name == "p.csv")
    rows = "\n".join([*head, *animals, "a fox", ""])
    assert drawn(rows.encode("gbk"), name) == ["a fox"]
    assert drawn(rows.encode(), name) == [*animals, "a fox"]
    items = results(rows.encode("gbk"), name)
    assert sum("is UTF-8 by chance" in item.detail for item in items[:-1]) == 2
    assert items[0].body == "一只猫头鹰".encode("gbk")


def test_a_few_damaged_rows_among_other_languages_cost_themselves():
    content = "Füchse\nдва\n猫\n".encode() + b"c\xe9sar\n\xff\nna\xefve\n" + "Bär\n".encode()
    assert drawn(content) == ["Füchse", "два", "猫", "Bär"]


# Files that were put together

MARK = b"\xef\xbb\xbf"


def asked(content, name):
    return [
        (item.text, item.prompt_id if item.prompt_id != f"~{item.digest}" else None, item.seed)
        for item in results(content, name)
        if isinstance(item, Prompt)
    ]


@pytest.mark.parametrize("joint", [b"\n" + MARK, MARK, b"\r\n\r\n" + MARK + MARK])
@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (b"prompt,seed\nb,7", ("b", None, 7)),
        (b"id,prompt\n2,b\n", ("b", "2", None)),
        (b'"prompt"\n"b"\n', ("b", None, None)),
        (b"PROMPT,ID\nb,2\n", ("b", "2", None)),
    ],
)
def test_a_csv_file_that_was_appended_has_its_own_columns(joint, other, expected):
    content = b"prompt,id\na,1" + joint + other
    assert asked(content, "p.csv") == [("a", "1", None), expected]
    assert not [item for item in results(content, "p.csv") if isinstance(item, Failure)]


def test_columns_that_cannot_be_read_end_the_files_that_were_put_together():
    content = b"prompt,id\na,1\n" + MARK + b"prompt,style\nb,7\n"
    first, failure = results(content, "p.csv")
    assert first.text == "a"
    assert "unknown column 'style'" in failure.detail


@pytest.mark.parametrize(
    "content",
    [
        b"prompt\na\nprompt\nb\n",
        b"prompt,id\na,1\nPROMPT,ID\nb,2\n",
        b"prompt,id\na,1\n Prompt , Id \nb,2\n",
    ],
)
def test_a_repeated_header_is_not_drawn(content):
    assert [text for text, _, _ in asked(content, "p.csv")] == ["a", "b"]


def test_a_mark_in_a_cell_is_no_seam():
    content = b"prompt,id\na" + MARK + b' fox,1\n"an' + MARK + b' owl",2\n'
    assert asked(content, "p.csv") == [("a fox", "1", None), ("an owl", "2", None)]


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("p.txt", b"a fox" + MARK + b"an owl\n", ["a fox", "an owl"]),
        (
            "p.txt",
            MARK + b"a fox" + MARK + MARK + b"an owl" + MARK + b"b",
            ["a fox", "an owl", "b"],
        ),
        ("p.txt", MARK + MARK + b"a fox" + MARK + b"\n" + MARK, ["a fox"]),
        ("p.txt", b'{"prompt": "a' + MARK + b'fox"}', ["afox"]),
        ("p.jsonl", b'{"prompt": "a"}' + MARK + b'{"prompt": "b"}\n', ["a", "b"]),
        ("p.jsonl", b'{"prompt": "a' + MARK + b'fox"}', ["afox"]),
    ],
)
def test_a_mark_within_a_line_divides_two_files(name, content, texts):
    assert drawn(content, name) == texts
    assert len({row.origin for row in PromptFileReader(name, "").read(opened(content))}) == len(
        texts
    )


# Text files that hold something else


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[\n{"prompt": "a fox"},\n{"prompt": "an owl"}\n]\n', "is a JSON list over several"),
        (b'[{"prompt": "a fox"},\n{"prompt": "an owl"}]\n', "is a JSON list over several lines"),
        (b'["a fox",\n"an owl"]\n', "is a JSON list over several lines"),
        (b'{\n"prompt": "a fox",\n"id": "1"\n}\n', "is a JSON object over several lines"),
        (b'\n{"prompt": "a fox",\n "id": "1"}\n', "is a JSON object over several lines"),
        (b"prompt,id\na fox,1\n", "begins with the names of columns; rename it"),
        (b'"Prompt";"ID"\n"a fox";"1"\n', "begins with the names of columns; rename it"),
        (MARK + b"prompt\na fox\n", "begins with the names of columns; rename it"),
    ],
)
def test_a_text_file_that_is_json_or_a_table_is_refused_as_a_whole(content, said):
    (failure,) = results(content)
    assert said in failure.detail


def test_brackets_alone_are_not_drawn():
    content = b'a fox\n{\n"prompt": "an owl",\n},\n]\n[a fox]\n'
    assert drawn(content) == ["a fox", "[a fox]"]


@pytest.mark.parametrize(
    "first",
    ["prompt, a fox", "images of foxes", "[oil painting] a fox, asleep", "{a fox|an owl}, asleep"],
)
def test_a_text_file_may_begin_with_words_that_resemble_a_format(first):
    assert drawn(f"{first}\nan owl\n".encode()) == [first, "an owl"]
