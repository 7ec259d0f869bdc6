"""Rows apart from file systems; what each format does is in test_files.py."""

import contextlib
import gzip
import io
import json
import subprocess
import sys

import pytest

from beam_jobs.outcomes import Failure, Reason
from beam_jobs.prompts.rows import PromptFileReader
from tests.conftest import ROOT


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
        ("p.csv", b'prompt\na fox\n"b" c\n', 3, "not CSV"),
        ("p.txt.gz", b"a fox\n", 0, "broken gzip"),
        ("p.txt.gz", gzip.compress(b"a fox\n")[:-4], 1, "broken gzip"),
    ],
    ids=["header", "quoting", "no gzip", "cut gzip"],
)
def test_a_damaged_file_says_so_and_ends_with_its_failure(name, content, line, broken):
    file = PromptFileReader(name, "backfill:x")
    *_, last = file.read(opened(content))
    assert isinstance(last, Failure)
    assert file.broken is not None
    assert file.broken.startswith(broken)
    assert last.detail.endswith(file.broken)
    assert file.line == line


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
    (fox,) = file.read(opened(b"a fox\n"))
    assert fox.attributes == {"file": "/night/?.txt", "line": "1"}


def test_a_name_that_tells_no_format_is_refused_without_opening_the_file():
    file = PromptFileReader("gs://b/p.parquet", "backfill:x")
    (failure,) = file.read(nowhere)
    assert failure.reason is Reason.INVALID_PROMPT
    assert file.broken == "expected a file ending in .txt, .jsonl, .csv, or one of these and .gz"


def test_a_stream_that_fails_breaks_the_file_as_a_storage_error():
    class Torn(io.BytesIO):
        def readline(self, size=-1):
            return super().readline(size) or self.fail()

        def fail(self):
            raise ConnectionResetError("gone")

    file = PromptFileReader("p.txt", "backfill:x")
    fox, failure = file.read(lambda: contextlib.closing(Torn(b"a fox\n")))
    assert fox.body == b"a fox"
    assert failure.reason is Reason.STORAGE_ERROR
    assert file.broken == "cannot be read after line 1: ConnectionResetError: gone"


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "prompts.rows",
        "prompts.parse",
        "prompts.identity",
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
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
