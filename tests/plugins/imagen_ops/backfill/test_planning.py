"""Plans of nights of prompt files in the local cloud's storage."""

import asyncio
import gzip
import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from google.api_core import exceptions
from google.cloud.storage import Blob

from beam_jobs.images.store import ImageStore, Location
from beam_jobs.prompts.parse import MAX_BODY_BYTES, Prompt, PromptDefaults, parse
from imagen_ops.backfill import already_made
from imagen_ops.backfill.plan import Plan
from imagen_ops.backfill.plan_text import summary
from imagen_ops.backfill.planning import plan_backfill
from tests.conftest import BUCKET, ROOT, Lane

MODEL = "gemini-3.1-flash-image"
DEFAULTS = PromptDefaults(MODEL, frozenset({MODEL, "gemini-3-pro-image"}))

Planned = Callable[..., Plan]


@pytest.fixture
def planned(lane: Lane) -> Planned:
    """Plan the lane's folder of prompts, or another glob in the lane's folder."""

    def planned(pattern: str = "prompts/*", **others: Any) -> Plan:
        given = {"model": MODEL, "images_location": lane.images_location, **others}
        return plan_backfill(lane.storage, f"gs://{BUCKET}/{lane.name}/{pattern}", **given)

    return planned


def prompt(body: str | dict[str, Any], origin: str = "") -> Prompt:
    data = json.dumps(body) if isinstance(body, dict) else body
    parsed = parse(data.encode(), {}, origin=origin, defaults=DEFAULTS)
    assert isinstance(parsed, Prompt)
    return parsed


def make(lane: Lane, *prompts: Prompt) -> None:
    """Have prompts made, with the job's own store."""

    async def put() -> None:
        async with aiohttp.ClientSession() as session:
            store = ImageStore(session, Location.parse(lane.images_location))
            for one in prompts:
                await store.put_record(one, [], "2026-11-01T00:00:00.000+00:00")

    asyncio.run(put())


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


def test_only_what_the_glob_names_is_read(lane: Lane, planned: Planned) -> None:
    for name in ("ds=1/a.txt", "ds=1/b.jsonl", "ds=1/below/c.txt", "ds=10/d.txt", "ds=1", "ds=1."):
        lane.put(f"prompts/{name}", b'{"prompt": "a fox"}\n')

    def names(pattern: str) -> list[str]:
        paths = [file.path for file in planned(pattern).first_files]
        return [path.removeprefix(f"gs://{BUCKET}/{lane.name}/prompts/") for path in paths]

    assert names("prompts/ds=1/*") == ["ds=1/a.txt", "ds=1/b.jsonl"]
    assert names("prompts/ds=1/") == ["ds=1/a.txt", "ds=1/b.jsonl"]
    assert names("prompts/*/*.txt") == ["ds=1/a.txt", "ds=10/d.txt"]
    assert names("prompts/ds=1/**") == ["ds=1/a.txt", "ds=1/b.jsonl", "ds=1/below/c.txt"]
    assert names("prompts/ds=1/[a]*") == ["ds=1/a.txt"]
    assert names("prompts/ds=1") == ["ds=1"]


def test_a_date_without_a_folder_has_nothing_to_do(planned: Planned) -> None:
    result = planned("prompts/ds=2026-11-01/*")
    assert (result.files, result.prompts, result.images_to_pay) == (0, 0, 0)
    assert result.nothing_to_do
    assert result.made.exact


def test_a_bucket_that_is_not_there_is_not_an_empty_night(lane: Lane) -> None:
    with pytest.raises(exceptions.NotFound):
        plan_backfill(
            lane.storage, "gs://no-such-b/p/*", model=MODEL, images_location="gs://no-such-b/i"
        )


def test_a_bad_row_is_named_with_its_place_and_stops_nothing(lane: Lane, planned: Planned) -> None:
    text = lane.put("prompts/a.txt", b"a fox\nc\xe9sar\n" + b"x" * (MAX_BODY_BYTES + 1) + b"\nb\n")
    rows = lane.put(
        "prompts/b.jsonl", b'a fox\n{"prompt": "a fox", "images": 9}\n{"prompt": "a hen"}\n'
    )
    table = lane.put("prompts/c.csv", b"prompt\na,b\na cow\n")
    result = planned()
    assert (result.prompts, result.invalid, result.problems) == (4, 5, 0)
    told = [
        f"{text}:2: body is not UTF-8",
        f"{text}:3: row is longer than",
        f"{rows}:1: expected a JSON object",
        f"{rows}:2: field 'images'",
        f"{table}:2: expected 1 cells, got 2",
    ]
    assert [a.startswith(b) for a, b in zip(result.first_invalid, told, strict=True)] == [True] * 5
    assert [file.rows for file in result.first_files] == [4, 3, 2]


def test_what_may_be_somebodys_prompt_is_not_in_a_plan(lane: Lane, planned: Planned) -> None:
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
    assert (result.prompts, result.problems) == (0, 3)
    told = "\n".join([*result.first_invalid, *result.first_problems, summary(result)])
    assert not re.search(r"jane|doe|portrait|1970", told), told
    assert "field 'aspect_ratio': expected one of" in told, "what was wrong is told all the same"
    assert "no column 'prompt'; the columns are ['…', '…']" in told


def test_of_many_bad_rows_the_first_are_shown_and_all_counted(lane: Lane, planned: Planned) -> None:
    for name in ("a", "b"):
        lane.put(f"prompts/{name}.jsonl", b"no object\n" * 15)
    result = planned()
    assert (result.invalid, len(result.first_invalid)) == (30, 20)
    assert [line.split("/")[-1].split(":")[0] for line in result.first_invalid] == (
        ["a.jsonl"] * 15 + ["b.jsonl"] * 5
    )
    assert not result.nothing_to_do  # there are dead letters to publish


@pytest.mark.parametrize(
    ("name", "content", "prompts", "problem"),
    [
        ("p.txt", b"", 0, ": is empty"),
        ("p.txt", b"\n \n", 0, ": has no prompts"),
        ("p.csv", b"prompt,images\n", 0, ": has no prompts"),
        ("p.txt.gz", gzip.compress(b""), 0, ": has no prompts"),
        ("below/", b"", 0, ": a folder's placeholder"),
        ("p.parquet", b"a fox\n", 0, ": expected a file ending in .txt"),
        ("p.txt.gz", b"a fox\n", 0, ": broken gzip"),
        ("p.txt.gz", gzip.compress(b"a fox\n")[:-4], 1, ":1: broken gzip"),
        ("p.csv", b"text\na fox\n", 0, ":1: no column 'prompt'"),
        ("p.csv", b'prompt\na fox\n"b" c\n', 1, ":3: not CSV"),
    ],
    ids=[
        "empty",
        "blank lines",
        "only a header",
        "empty gzip",
        "placeholder",
        "suffix",
        "no gzip",
        "cut gzip",
        "header",
        "quoting",
    ],
)
def test_what_is_wrong_with_a_file_is_named_and_the_others_are_counted(
    lane: Lane, planned: Planned, name: str, content: bytes, prompts: int, problem: str
) -> None:
    path = lane.put(f"prompts/{name}", content)
    lane.put("prompts/z.txt", b"a good one\n")
    result = planned("prompts/**")
    assert (result.files, result.problems, result.invalid) == (2, 1, 0)
    assert result.first_problems[0].startswith(path + problem)
    assert result.prompts == prompts + 1


def test_the_placeholder_of_the_folder_itself_is_named(lane: Lane, planned: Planned) -> None:
    path = lane.put("prompts/", b"")
    assert planned().first_problems == (f"{path}: a folder's placeholder, not a file of prompts",)
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
def test_a_file_that_changes_while_it_is_read_is_not_half_of_each(
    lane: Lane,
    planned: Planned,
    on_reading: Any,
    monkeypatch: pytest.MonkeyPatch,
    piece: int,
    after: str,
    prompts: int,
) -> None:
    monkeypatch.setattr("imagen_ops.backfill.prompt_files.PIECE_BYTES", 64)
    path = lane.put("prompts/a.txt", b"old\n" * 100)
    lane.put("prompts/b.txt", b"a good one\n")
    looks: list[str] = []

    def happens(blob: Blob) -> None:
        looks.append(blob.name)
        if looks.count(blob.name) == piece and blob.name.endswith("a.txt"):
            lane.put("prompts/a.txt", b"new\n" * 100)

    on_reading(happens)
    result = planned()
    assert result.first_problems == (
        f"{path}: was changed or deleted {after}, while it was read; plan again",
    )
    assert result.prompts == prompts + 1


def test_a_file_that_may_not_be_read_is_named(
    lane: Lane, planned: Planned, on_reading: Any
) -> None:
    path = lane.put("prompts/a.txt", b"a fox\n")
    lane.put("prompts/b.txt", b"an owl\n")

    def happens(blob: Blob) -> None:
        if blob.name.endswith("a.txt"):
            raise exceptions.Forbidden("no access")

    on_reading(happens)
    result = planned()
    assert result.first_problems == (f"{path}: may not be read: no access",)
    assert result.prompts == 1


def test_storage_that_does_not_answer_ends_the_plan_instead_of_shortening_it(
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


def test_a_task_plans_with_what_its_connection_gives_it(deployment: Any) -> None:
    settings, client = deployment.settings, deployment.clients.storage.client()
    client.bucket(settings.bucket).blob("prompts/ds=1/a.txt").upload_from_string("a fox\n")
    result = plan_backfill(
        client,
        f"gs://{settings.bucket}/prompts/ds=1/*",
        model=settings.model,
        images_location=settings.images_location,
    )
    assert (result.prompts, result.images_to_pay) == (1, 1)


# What is made, and what the rest costs


def test_what_is_given_twice_is_paid_once(lane: Lane, planned: Planned) -> None:
    lane.put("prompts/a.txt", b"a fox\n" * 3)
    lane.put("prompts/b.jsonl", b'{"prompt": "a fox", "id": "another"}\n')
    result = planned()
    assert (result.prompts, result.distinct) == (4, 1)
    assert (result.images, result.images_to_pay) == (1, 1)


def test_what_the_job_has_stored_is_not_paid_and_only_a_record_counts(
    lane: Lane, planned: Planned
) -> None:
    lane.put("prompts/a.jsonl", b'{"prompt": "a fox", "images": 3}\n{"prompt": "an owl"}\n')
    lane.put("prompts/b.txt", b"a hen\na cow\n")
    make(lane, prompt({"prompt": "a fox", "images": 3}), prompt("a hen"))
    half = prompt("an owl").digest
    lane.put(f"images/{half[:2]}/{half}-0.png", b"no record beside it")
    result = planned()
    assert (result.made.prompts, result.made.images, result.made.exact) == (2, 4, True)
    assert (result.images, result.images_to_pay) == (6, 2)
    assert result.cost_usd == pytest.approx(2 * 0.0672)
    assert not result.nothing_to_do


def test_with_everything_made_there_is_nothing_to_pay_but_something_to_publish(
    lane: Lane, planned: Planned
) -> None:
    lane.put("prompts/a.txt", b"a fox\n")
    make(lane, prompt("a fox"))
    result = planned()
    assert (result.images_to_pay, result.cost_usd, result.unpriced) == (0, 0.0, ())
    assert not result.nothing_to_do


def test_fresh_images_are_paid_again_unless_this_very_row_was_made(
    lane: Lane, planned: Planned
) -> None:
    row = {"prompt": "a fox", "reuse": False}
    body = json.dumps(row).encode() + b"\n"
    path = lane.put("prompts/a.jsonl", body * 2)
    make(lane, prompt("a fox"))
    assert (planned().distinct, planned().images_to_pay) == (2, 2)
    # As a job that ran over the same file has left it: it would find what it paid for.
    make(lane, prompt(row, origin=f"{path}:1"))
    assert planned().images_to_pay == 1


def numbered(count: int) -> list[Prompt]:
    return [prompt(f"number {number}") for number in range(count)]


def fill(lane: Lane, count: int) -> list[Prompt]:
    lane.put("prompts/a.txt", "".join(f"number {number}\n" for number in range(count)))
    every = numbered(count)
    make(lane, *every[::3])
    return every


@pytest.mark.slow
@pytest.mark.parametrize("names", [1, 2, 1000])
def test_listing_and_looking_one_by_one_find_the_same(
    lane: Lane, planned: Planned, monkeypatch: pytest.MonkeyPatch, names: int
) -> None:
    monkeypatch.setattr(already_made, "PAGE_NAMES", names)
    monkeypatch.setattr(already_made, "LOOKS_PER_PAGE", min(names, 12))
    every = fill(lane, 900)
    for one in every[:300]:
        lane.put(f"images/{one.digest[:2]}/{one.digest}-0.png", b"")
    result = planned()
    assert (result.made.prompts, result.made.looked_up, result.made.exact) == (300, 900, True)


@pytest.mark.slow
def test_beyond_its_look_ups_a_plan_estimates_and_says_so(
    lane: Lane, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(already_made, "PAGE_NAMES", 1)
    fill(lane, 1500)
    result = planned(most_lookups=600)
    assert not result.made.exact
    # A page that ends at one name tells of those before it, too.
    assert 200 < result.made.looked_up < 1500
    assert result.made.prompts == pytest.approx(500, abs=150)
    assert result.images_to_pay == 1500 - result.made.prompts
    assert planned(most_lookups=0).made.looked_up <= 1
    assert planned(most_lookups=3000).made.prompts == 500


def test_one_request_tells_of_many_prompts_where_few_images_lie_between(
    lane: Lane, planned: Planned
) -> None:
    lane.put("prompts/a.txt", "".join(f"number {number}\n" for number in range(3000)))
    result = planned(most_lookups=256)
    assert (result.made.looked_up, result.made.exact) == (3000, True)


def test_each_model_has_its_price_and_flex_halves_it(lane: Lane, planned: Planned) -> None:
    lane.put(
        "prompts/a.jsonl",
        b'{"prompt": "a fox", "images": 2}\n'
        b'{"prompt": "a fox", "model": "gemini-3-pro-image", "image_size": "4K"}\n',
    )
    standard, flex = planned(), planned(request_tier="flex")
    assert [(cost.model, cost.to_pay, cost.above_1k, cost.usd) for cost in standard.models] == [
        ("gemini-3-pro-image", 1, 1, 0.134),
        ("gemini-3.1-flash-image", 2, 0, 0.1344),
    ]
    assert flex.cost_usd == pytest.approx(standard.cost_usd / 2)
    assert (standard.prices_as_of, flex.request_tier) == ("2026-11", "flex")


@pytest.mark.parametrize("tier", ["standard", "flex"])
def test_a_model_without_a_known_price_is_named_and_not_free(
    lane: Lane, planned: Planned, tier: str
) -> None:
    lane.put("prompts/a.txt", b"a fox\n")
    result = planned(model="my-flux", request_tier=tier)
    assert result.unpriced == ("my-flux",)
    assert [cost.usd for cost in result.models] == [None]
    assert result.cost_usd == 0


def test_prompts_may_name_the_models_that_the_job_lets_them_name(
    lane: Lane, planned: Planned
) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    from beam_jobs.config.options import job_config
    from imagen_ops.backfill.planning import _allowed

    options = PipelineOptions(lane.options(prompts="gs://b/*", source="backfill:x"))
    assert _allowed(None) | {MODEL} == job_config(options, streaming=False).defaults.allowed_models
    lane.put("prompts/a.jsonl", b'{"prompt": "a fox", "model": "gemini-3-pro-image"}\n')
    assert planned().prompts == 1
    assert planned(allowed_models=[MODEL]).invalid == 1


@pytest.mark.parametrize("location", ["", "images", "gs://", "gs://b*/images"])
def test_a_malformed_images_location_is_refused(planned: Planned, location: str) -> None:
    with pytest.raises(ValueError, match="images location: expected gs://"):
        planned(images_location=location)


def test_a_malformed_glob_is_refused(lane: Lane) -> None:
    with pytest.raises(ValueError, match="does not begin with gs://"):
        plan_backfill(lane.storage, "prompts/*", model=MODEL, images_location=lane.images_location)


@pytest.mark.slow
def test_a_dag_file_may_import_planning_without_dragging_in_clients_or_the_job() -> None:
    heavy = "('google', 'apache_beam', 'beam_jobs', 'airflow')"
    code = (
        f"import sys; sys.path.insert(0, 'plugins'); import imagen_ops.backfill.planning; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    command = [sys.executable, "-S", "-c", code]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
