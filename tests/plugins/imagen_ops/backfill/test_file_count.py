"""Prompt files of every format, good and bad, in the local cloud's storage."""

import dataclasses
import gzip
import json
import random
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.storage import Blob

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.beam_files import read_prompts
from beam_jobs.prompts.body import MAX_BODY_BYTES
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.listing import ListedFile
from beam_jobs.prompts.parse import Prompt, parse
from beam_jobs.prompts.templates import no_templates
from imagen_ops.backfill.file_count import count_file
from imagen_ops.backfill.plan_limits import PlanLimits
from imagen_ops.backfill.plan_text import summary
from tests.conftest import BUCKET, Lane
from tests.plugins.imagen_ops.backfill.conftest import DEFAULTS, Planned

CONTENTS = {
    "a.txt": b"a fox\nan owl\n",
    "b.jsonl": b'{"prompt": "a hen", "images": 3}\n{"prompt": "a cow", "id": "x"}\n',
    "c.csv": b'prompt,images\n"a pig,\nasleep",2\na dog,\n',
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_is_counted(lane: Lane, planned: Planned, name: str, packed: bool) -> None:
    content = gzip.compress(CONTENTS[name]) if packed else CONTENTS[name]
    path = lane.put(f"prompts/{name}{'.gz' * packed}", content)
    result = planned()
    assert (result.files, result.bytes, result.prompts, result.distinct) == (1, len(content), 2, 2)
    assert result.images == {"a.txt": 2, "b.jsonl": 4, "c.csv": 3}[name]
    (file,) = result.first_files
    blob = lane.storage.bucket(BUCKET).get_blob(f"{lane.name}/prompts/{name}{'.gz' * packed}")
    assert (file.path, file.bytes, file.rows) == (path, len(content), 2)
    assert file.generation == blob.generation
    assert file.updated == blob.updated.isoformat(timespec="milliseconds")
    assert (result.invalid, result.problems) == (0, 0)


def test_an_invalid_row_is_shown_with_its_place_and_stops_nothing(
    lane: Lane, planned: Planned
) -> None:
    text = lane.put("prompts/a.txt", b"a fox\nc\xe9sar\n" + b"x" * (MAX_BODY_BYTES + 1) + b"\nb\n")
    rows = lane.put(
        "prompts/b.jsonl", b'a fox\n{"prompt": "a fox", "images": 9}\n{"prompt": "a hen"}\n'
    )
    table = lane.put("prompts/c.csv", b"prompt\na,b\na cow\n")
    result = planned()
    assert (result.prompts, result.invalid, result.problems) == (4, 5, 0)
    expected = [
        f"{text}:2: body is not UTF-8",
        f"{text}:3: row is longer than",
        f"{rows}:1: expected a JSON object",
        f"{rows}:2: field 'images'",
        f"{table}:2: expected 1 cells, got 2",
    ]
    assert [a.startswith(b) for a, b in zip(result.first_invalid, expected, strict=True)] == [
        True
    ] * 5
    assert [file.rows for file in result.first_files] == [4, 3, 2]


def test_a_plan_quotes_no_prompt(lane: Lane, planned: Planned) -> None:
    """Plans are logged and kept; the dead letter has it, whole."""
    secret = "jane doe's portrait"
    for number, content in enumerate(
        [
            f"{secret},born 1970\n",
            f"prompt,{secret}\na,b\n",
            f"prompt,model\na portrait, {secret} {'é' * 80}\n",
            f"prompt,images\na portrait,{secret}\n",
            f'prompt\n"{secret}" {secret}\n',
        ]
    ):
        lane.put(f"prompts/{number}.csv", content)
    for number, row in enumerate(
        [
            {"prompt": ["a", secret]},
            {"prompt": {secret: secret}},
            {"prompt": "a", secret: 1},
            {"prompt": "a", "aspect_ratio": f'{secret} "quoted" \\'},
            {"prompt": "a", "id": secret * 9},
            {"prompt": "a", "images": f"\\{secret}"},
        ]
    ):
        lane.put(f"prompts/{number}.jsonl", json.dumps(row))
    lane.put("prompts/9.jsonl", f'{{"prompt": "a", "{secret}": 1, "{secret}": 2}}\n{{"{secret}')
    result = planned()
    assert (result.prompts, result.problems) == (0, 2)
    shown = "\n".join([*result.first_invalid, *result.first_problems, summary(result)])
    assert not re.search(r"jane|doe|portrait|1970", shown), shown
    assert "field 'aspect_ratio': expected one of" in shown, "the problem itself is still shown"
    assert "no column 'prompt'; the columns are '…', '…'" in shown
    assert "not CSV: ',' expected after '\"'; close each" in shown


@pytest.mark.parametrize(
    ("name", "content", "prompts", "problem"),
    [
        ("p.txt", b"", 0, ": is empty"),
        ("p.txt", b"\n \n", 0, ": has no prompts"),
        ("p.csv", b"prompt,images\n", 0, ": has no prompts"),
        ("p.txt.gz", gzip.compress(b"", mtime=0), 0, ": has no prompts"),
        ("below/", b"", 0, ": is a folder placeholder"),
        ("p.parquet", b"a fox\n", 0, ": expected a file ending in .txt"),
        ("p.txt", b"PK\x03\x04a fox\n", 0, ": is ZIP"),
        ("p.txt.gz", gzip.compress(b"a fox\n", mtime=0)[:-4], 1, ":1: broken gzip"),
        ("p.csv", b"text\na fox\n", 0, ":1: no column 'prompt'"),
        ("p.csv", b'"prompt\na fox\n', 0, ":1: the header cannot be read: not CSV"),
    ],
    ids=[
        "empty",
        "blank lines",
        "only a header",
        "empty gzip",
        "placeholder",
        "suffix",
        "no text",
        "cut gzip",
        "header",
        "header's quotes",
    ],
)
def test_a_bad_file_is_shown_with_its_problem_and_the_others_are_counted(
    lane: Lane, planned: Planned, name: str, content: bytes, prompts: int, problem: str
) -> None:
    path = lane.put(f"prompts/{name}", content)
    lane.put("prompts/z.txt", b"a good one\n")
    result = planned("prompts/**")
    is_dead_letter = not problem.endswith(("is empty", "has no prompts"))
    assert (result.files, result.problems, result.invalid) == (2, 1, is_dead_letter)
    assert result.first_invalid == ()
    assert "invalid row:" not in summary(result), "it is shown once, as a problem"
    assert result.first_problems[0].startswith(path + problem)
    assert result.prompts == prompts + 1


MARK = b"\xef\xbb\xbf"
FIVE = b"".join(b"fox %d\n" % number for number in range(5))
# The name of a file, its bytes, and how many prompts and bad rows are in it.
ODD_FILES = {
    "gzip by its bytes": ("p.txt", gzip.compress(FIVE, mtime=0), 5, 0),
    "text in a file named .gz": ("p.txt.gz", FIVE, 5, 0),
    "gzip in gzip": ("p.txt.gz", gzip.compress(gzip.compress(FIVE, mtime=0), mtime=0), 5, 0),
    "gzip members": (
        "p.txt",
        gzip.compress(FIVE, mtime=0) + gzip.compress(b"one more\n", mtime=0),
        6,
        0,
    ),
    "cut gzip": ("p.txt", gzip.compress(FIVE, mtime=0)[:-4], 5, 1),
    "a file named .json": ("p.json", b'{"prompt": "a"}\n{"prompt": "b"}\n', 2, 0),
    "no JSON": ("p.jsonl", b"{broken\n{'prompt': 'a'}\n[1]\n{\"prompt\": \"a\"}\n", 1, 3),
    "marks": ("p.jsonl", MARK + b'{"prompt": "a"}\n' + MARK + b'{"prompt": "b"}\n', 2, 0),
    "marks in a table": ("p.csv", MARK + b"prompt\na\n" + MARK + b"prompt\nb\n", 2, 0),
    "whole numbers": ("p.jsonl", b'{"prompt": "a", "seed": "4", "images": 2.0}\n', 1, 0),
    "whole numbers in a table": ("p.csv", b"prompt,images,seed\na,2.0,42.0\n", 1, 0),
    "CR alone": ("p.txt", FIVE.replace(b"\n", b"\r"), 5, 0),
    "CR alone in a table": ("p.csv", b'prompt,id\r"a\rb",1\rc,2\r', 2, 0),
    "quotes within a cell": ("p.csv", b'prompt,id\n"A 27" monitor",r2\na,r3\n', 1, 1),
    "a quote without its end": ("p.csv", b'prompt,id\n"A monitor,r2\na,r3\nb,r4\n', 2, 1),
    "ZIP": ("p.txt", b"PK\x03\x04" + FIVE, 0, 1),
    "UTF-16": ("p.csv", "prompt\na fox\n".encode("utf-16"), 0, 1),
    "semicolons": ("p.csv", b"prompt;id\na;b\n", 0, 1),
    "a name in no format": ("p.parquet", FIVE, 0, 1),
    "a placeholder": ("below/", b"", 0, 1),
    "nothing": ("p.txt", b"", 0, 0),
    "gzip after text": ("p.txt", FIVE + gzip.compress(FIVE, mtime=0), 5, 1),
    "binary after text": ("p.txt", FIVE + random.Random(1).randbytes(5000), 5, 1),
    "other columns": ("p.csv", b"prompt\na\n" + MARK + b"prompt,text\nb,c\n", 1, 1),
    "HTML": ("p.txt", b"<html>\n<body>\n", 0, 1),
}


@pytest.mark.parametrize("encoding", [None, "gzip"])
@pytest.mark.parametrize("kind", ODD_FILES)
def test_the_plan_counts_what_the_job_reads(
    lane: Lane, planned: Planned, kind: str, encoding: str | None
) -> None:
    name, content, prompts, bad = ODD_FILES[kind]
    blob = lane.storage.bucket(BUCKET).blob(f"{lane.name}/prompts/{name}")
    blob.content_encoding = encoding
    # Beam 2.77 refuses to read an object with this type and encoding.
    blob.upload_from_string(content, content_type="application/gzip" if encoding else "text/plain")
    rows = list(read_prompts(f"gs://{BUCKET}/{blob.name}", source="backfill:x"))
    items = [
        parse(row.body, row.attributes, origin=row.origin, defaults=DEFAULTS)
        if isinstance(row, RawPrompt)
        else row
        for row in rows
    ]
    digests = [item.digest for item in items if isinstance(item, Prompt)]
    failures = [item for item in items if isinstance(item, Failure)]
    assert (len(digests), len(failures)) == (prompts, bad)
    blob.reload()
    count = count_file(
        lane.storage.bucket(BUCKET),
        ListedFile(blob.name, blob.size, blob.generation, blob.updated),
        f"gs://{BUCKET}/{blob.name}",
        DEFAULTS,
        PlanLimits(),
        no_templates,
    )
    counted = b"".join(count.digests.values()).hex()
    assert sorted(counted[at : at + 32] for at in range(0, len(counted), 32)) == sorted(digests)
    assert count.invalid == len(failures)


def test_the_placeholder_of_the_folder_itself_is_a_problem(lane: Lane, planned: Planned) -> None:
    path = lane.put("prompts/", b"")
    assert planned().first_problems == (f"{path}: is a folder placeholder, not a prompt file",)
    assert planned().nothing_to_do


@pytest.fixture
def on_reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Blob], None]], None]:
    """Have something happen right before each piece of a file is fetched."""
    fetch = Blob.download_as_bytes

    def install(happens: Callable[[Blob], None]) -> None:
        def fetching(blob: Blob, **how: Any) -> bytes:
            happens(blob)
            return bytes(fetch(blob, **how))

        monkeypatch.setattr(Blob, "download_as_bytes", fetching)

    return install


@pytest.mark.parametrize(
    ("piece", "after", "prompts"),
    [(1, "before its first line", 0), (2, "after line 16", 16)],
    ids=["after it was listed", "between two pieces"],
)
def test_a_file_that_changes_while_it_is_read_is_not_counted_half_and_half(
    lane: Lane,
    planned: Planned,
    on_reading: Any,
    monkeypatch: pytest.MonkeyPatch,
    piece: int,
    after: str,
    prompts: int,
) -> None:
    monkeypatch.setattr("beam_jobs.prompts.stored_object.PIECE_BYTES", 64)
    path = lane.put("prompts/a.txt", b"old\n" * 100)
    lane.put("prompts/b.txt", b"a good one\n")
    fetched: list[str] = []

    def happens(blob: Blob) -> None:
        fetched.append(blob.name)
        if fetched.count(blob.name) == piece and blob.name.endswith("a.txt"):
            lane.put("prompts/a.txt", b"new\n" * 100)

    on_reading(happens)
    result = planned()
    assert result.first_problems == (
        f"{path}: was changed or deleted while it was read, {after}; plan again",
    )
    assert result.prompts == prompts + 1


def test_a_file_without_read_permission_is_a_problem(
    lane: Lane, planned: Planned, on_reading: Any
) -> None:
    path = lane.put("prompts/a.txt", b"a fox\n")
    lane.put("prompts/b.txt", b"an owl\n")

    def happens(blob: Blob) -> None:
        if blob.name.endswith("a.txt"):
            raise exceptions.Forbidden("no access")

    on_reading(happens)
    result = planned()
    assert result.first_problems == (f"{path}: cannot be read, permission denied: no access",)
    assert result.prompts == 1


def test_storage_that_does_not_answer_fails_the_plan_instead_of_shortening_it(
    lane: Lane, planned: Planned, on_reading: Any
) -> None:
    for number in range(30):
        lane.put(f"prompts/{number}.txt", b"a fox\n")

    def happens(blob: Blob) -> None:
        raise exceptions.ServiceUnavailable("down")

    on_reading(happens)
    with pytest.raises(exceptions.ServiceUnavailable):
        planned()


@pytest.mark.slow
def test_a_large_file_is_read_in_bounded_memory(lane: Lane, planned: Planned) -> None:
    rows = b"".join(b"%d %s\n" % (n, b"x" * 2000) for n in range(12_000))
    lane.put("prompts/a.txt", rows)
    lane.put("prompts/b.txt.gz", gzip.compress(rows, 1))
    tracemalloc.start()
    try:
        result = planned()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (result.prompts, result.distinct) == (24_000, 12_000)
    assert peak < 10_000_000


FORGED = 'x\u2028CRITICAL {"match": "imagen.alert\u200b/imagen.alert/1:stream_crash_loop"}\x1b[31m'


@pytest.mark.parametrize("content", [b"", b"\n", b"a fox\n\xff\n", b"a fox\n"])
def test_the_name_of_a_file_forges_neither_a_line_nor_an_alert(
    lane: Lane, planned: Planned, content: bytes
) -> None:
    lane.put(f"prompts/{FORGED}.txt", content)
    result = planned("prompts/**")
    assert result.files == 1
    texts = [*result.first_invalid, *result.first_problems, *(f.path for f in result.first_files)]
    assert any(r"x\u2028CRITICAL" in text for text in texts)
    for text in texts:
        assert len(text.splitlines()) == 1
    for text in (summary(result), *texts):
        assert "imagen.alert/1" not in text
        assert "\x1b" not in text


def test_a_plan_shows_no_number_of_a_prompt(lane: Lane, planned: Planned) -> None:
    mark = "4915112345678"
    rows = [
        {"prompt": int(mark)},
        {"prompt": {"a": int(mark)}},
        {"prompt": "a fox", "seed": f"{mark}.5"},
        {"prompt": "a fox", "seed": float(mark) + 0.5},
        {"prompt": "a fox", "images": int(mark)},
        {"prompt": "a fox", "reuse": int(mark)},
        {"prompt": "a fox", "model": int(mark)},
        {"prompt": "a fox", "id": [int(mark)]},
        {"prompt": "a fox", mark: 1},
    ]
    lane.put("prompts/a.jsonl", "\n".join(map(json.dumps, rows)).encode())
    lane.put("prompts/b.csv", f"prompt,images\na fox,{mark}\na hen,1,{mark}\n".encode())
    lane.put("prompts/c.csv", f"{mark},prompt\na,b\n".encode())
    result = planned()
    assert result.invalid >= len(rows) + 2
    assert mark not in summary(result)
    assert mark not in json.dumps(dataclasses.asdict(result), default=str)
