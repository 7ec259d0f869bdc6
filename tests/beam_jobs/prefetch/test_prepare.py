"""What a run orders from batch inference: all that its job would pay for, each once."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable

from beam_jobs import backfill
from beam_jobs.catalog import BATCH_TIER, CATALOG, DEFAULT_MODEL
from beam_jobs.images.receipt import Receipt
from beam_jobs.outcomes import Work
from beam_jobs.prefetch import part_writer
from beam_jobs.prefetch.batchable import LeftOut
from beam_jobs.prefetch.folder import PrefetchFolder
from beam_jobs.prefetch.manifest import ManifestRow
from beam_jobs.prefetch.part_writer import PartWriter
from beam_jobs.prefetch.parts import Part, PartsError, Prepared
from beam_jobs.prefetch.prepare import Order, prepare
from beam_jobs.prefetch.request_row import LABEL, contents_hash
from beam_jobs.prompts.defaults import prompt_defaults
from beam_jobs.prompts.globs import PromptGlob
from beam_jobs.prompts.limits import FileLimits
from beam_jobs.prompts.listing import list_files
from beam_jobs.prompts.plan_file import line_of
from beam_jobs.prompts.stored_object import StoredObject
from tests.conftest import BUCKET, ROOT, Lane
from tests.pictures import png

RUN = "backfill:night-1"
OTHER_MODEL = "gemini-3-pro-image"
Prepare = Callable[..., Prepared]


def write_plan(lane: Lane) -> str:
    glob = PromptGlob.parse(f"gs://{BUCKET}/{lane.name}/night/*")
    return lane.put("plan.jsonl", b"".join(map(line_of, list_files(lane.storage, glob))))


@pytest.fixture
def folder(lane: Lane) -> PrefetchFolder:
    return PrefetchFolder(f"gs://{BUCKET}/{lane.name}/prefetch/run/")


@pytest.fixture
def prepared(lane: Lane, folder: PrefetchFolder) -> Prepare:
    """Plan the lane's files, and prepare; changes are those of the order, or options of the job."""

    def make(client: Any = None, **changes: Any) -> Prepared:
        fields = {field.name for field in dataclasses.fields(Order)}
        options = {name: changes.pop(name) for name in list(changes) if name not in fields}
        given: dict[str, Any] = {
            "plan": changes.pop("plan", None) or write_plan(lane),
            "prompts": f"gs://{BUCKET}/{lane.name}/night/*",
            "defaults": prompt_defaults(
                **{"model": DEFAULT_MODEL, "source": RUN, "bucket": BUCKET, **options}
            ),
            "limits": FileLimits(),
            "images_location": lane.images_location,
            "model_location": None,
            "max_images": 1000,
            **changes,
        }
        return prepare(client or lane.storage, folder, Order(**given))

    return make


def content(lane: Lane, path: str) -> list[bytes]:
    name = path.removeprefix(f"gs://{BUCKET}/")
    return lane.storage.bucket(BUCKET).blob(name).download_as_bytes().splitlines()


def rows_in(lane: Lane, part: Part) -> list[tuple[Any, ManifestRow]]:
    """Return the requests of a part, each with its row of the manifest."""
    requests = map(json.loads, content(lane, part.folder.requests))
    known = map(ManifestRow.parse, content(lane, part.folder.manifest))
    return list(zip(requests, known, strict=True))


def prompts_in(lane: Lane, parts: tuple[Part, ...]) -> list[str]:
    return [known.deciding["prompt"] for part in parts for _, known in rows_in(lane, part)]


def left(prepared: Prepared) -> dict[str, int]:
    return {name: count for name, count in prepared.left_out.items() if count}


def test_each_image_is_a_request_whose_row_in_the_manifest_knows_it_again(lane, prepared):
    lane.put("night/a.jsonl", b'{"prompt": "a fox", "images": 3, "seed": 7}\n{"prompt": "a hen"}\n')
    lane.put("night/b.txt", "an owl\n")
    result = prepared()
    (part,) = result.parts
    rows = rows_in(lane, part)
    assert [known.deciding["prompt"] for _, known in rows] == ["a fox"] * 3 + ["a hen", "an owl"]
    assert [known.index for _, known in rows] == [0, 1, 2, 0, 0]
    for row, known in rows:
        request = row["request"]
        assert request["labels"][LABEL] == known.image
        assert contents_hash(request) == known.request
    assert [row["request"]["generationConfig"].get("seed") for row, _ in rows[:4]] == [
        7,
        8,
        9,
        None,
    ]
    assert (part.rows, part.prompts, part.model, part.location) == (5, 3, DEFAULT_MODEL, "global")
    assert part.bytes == sum(len(line) + 1 for line in content(lane, part.folder.requests))
    price = CATALOG[DEFAULT_MODEL].usd_per_image("1K", BATCH_TIER)
    assert result.likely_micro_usd == pytest.approx(5 * (price or 0) * 1e6, rel=0.1)
    assert left(result) == {}


def test_what_a_batch_does_not_make_is_counted_and_left_to_the_job(lane, prepared):
    rows = [
        {"prompt": "a fox"},
        {"prompt": "a fox", "id": "again"},
        {"prompt": "large", "image_size": "2K"},
        {"prompt": "unknown", "model": "gemini-9-image"},
        {"prompt": ""},
        {"prompt": "shown", "references": [f"gs://{BUCKET}/{lane.name}/not-there.png"]},
        {"prompt": "stored"},
        {"prompt": "half stored", "images": 2},
        {"prompt": "a hen", "reuse": False},
        {"prompt": "a hen", "reuse": False},
    ]
    lane.put("night/a.jsonl", "\n".join(map(json.dumps, rows)))
    lane.put("night/b.pdf", "no prompts")
    digests = {
        known.deciding["prompt"]: known.digest
        for part in prepared(max_images=100, allowed_models=f"{DEFAULT_MODEL},gemini-9-image").parts
        for _, known in rows_in(lane, part)
    }
    clear(lane)
    for text, end in (("stored", ".json"), ("half stored", "-1.png")):
        lane.put(f"images/{digests[text][:2]}/{digests[text]}{end}", "x")
    result = prepared(allowed_models=f"{DEFAULT_MODEL},gemini-9-image")
    # Rows that want no reuse are other prompts, each with images of its own.
    assert prompts_in(lane, result.parts) == ["a fox", "a hen", "a hen"]
    assert left(result) == {
        LeftOut.EQUAL: 1,
        LeftOut.SIZE: 1,
        LeftOut.MODEL: 1,
        LeftOut.INVALID: 2,
        LeftOut.REFERENCES: 1,
        LeftOut.STORED: 2,
    }


def clear(lane: Lane) -> None:
    for blob in lane.storage.list_blobs(BUCKET, prefix=f"{lane.name}/prefetch/"):
        blob.delete()


def test_files_that_changed_after_the_plan_are_left_to_the_job_which_reports_them(lane, prepared):
    for name in ("gone", "kept", "replaced"):
        lane.put(f"night/{name}.txt", name)
    plan = write_plan(lane)
    lane.storage.bucket(BUCKET).blob(f"{lane.name}/night/gone.txt").delete()
    lane.put("night/replaced.txt", "replaced by another one")
    lane.put("night/new.txt", "new")
    result = prepared(plan=plan)
    assert prompts_in(lane, result.parts) == ["kept"]
    assert left(result) == {LeftOut.INVALID: 3}


@pytest.mark.parametrize("custom", [{"changed": True}, {"postprocess": "custom.example:f@1"}])
def test_nothing_is_ordered_that_custom_functions_change_in_the_job(lane, prepared, custom):
    lane.put("night/a.txt", "a fox\n")
    result = prepared(**custom)
    assert (result.parts, left(result)) == ((), {LeftOut.CUSTOM: 1})


@pytest.mark.parametrize("error", [ServiceUnavailable("for now"), ConnectionError("for now")])
def test_what_cannot_be_read_for_now_is_not_taken_for_no_prompt(lane, prepared, monkeypatch, error):
    lane.put("night/a.txt", "a fox")
    plan = write_plan(lane)
    fetch = StoredObject._fetch

    def failing(self: StoredObject, count: int) -> bytes:
        if self._blob.name.endswith("a.txt"):
            raise error
        return fetch(self, count)

    with monkeypatch.context() as patched:
        patched.setattr(StoredObject, "_fetch", failing)
        with pytest.raises(type(error)):
            prepared(plan=plan)
    assert prompts_in(lane, prepared(plan=plan).parts) == ["a fox"]


def test_each_model_has_parts_of_its_own_which_are_never_too_long(lane, prepared, monkeypatch):
    rows = [
        {"prompt": f"number {n}", "images": 2, "model": (DEFAULT_MODEL, OTHER_MODEL)[n % 2]}
        for n in range(10)
    ]
    lane.put("night/a.jsonl", "\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(part_writer, "MAX_ROWS", 5)
    parts = prepared(allowed_models=f"{DEFAULT_MODEL},{OTHER_MODEL}").parts
    assert [(part.name, part.rows) for part in parts] == [
        (f"part-{number:05}", rows) for number, rows in enumerate([4, 4, 4, 4, 2, 2])
    ]
    for part in parts:
        assert {known.model for _, known in rows_in(lane, part)} == {part.model}
    assert sorted(prompts_in(lane, parts)) == sorted(row["prompt"] for row in rows for _ in "12")


def test_the_bytes_of_a_part_are_limited_too(lane, prepared, monkeypatch):
    lane.put("night/a.txt", "\n".join(f"number {n:09}" for n in range(10)))
    (whole,) = prepared().parts
    clear(lane)
    monkeypatch.setattr(part_writer, "MAX_BYTES", whole.bytes // 2)
    assert [part.rows for part in prepared().parts] == [5, 5]


@pytest.mark.parametrize(
    ("limit", "images"),
    [
        ({"max_images": 5}, 5),
        ({"max_images": 0}, 0),
        ({"max_micro_usd": 40_000}, 2),
        ({"max_micro_usd": 10}, 0),
    ],
)
def test_no_more_is_ordered_than_the_budget_allows(lane, prepared, limit, images):
    rows = [{"prompt": f"number {n}", "images": 3 if n == 1 else 1} for n in range(8)]
    lane.put("night/a.jsonl", "\n".join(map(json.dumps, rows)))
    result = prepared(**limit)
    assert result.images == images
    assert result.likely_micro_usd <= limit.get("max_micro_usd", 10**9)
    assert result.left_out[LeftOut.BUDGET] == 8 - result.prompts


def test_nothing_to_order_is_no_part(lane, prepared, folder):
    lane.put("night/a.txt", "a fox")
    result = prepared(model_location="eu")
    assert (result.parts, left(result)) == ((), {LeftOut.LOCATION: 1})
    assert list(lane.objects("prefetch/")) == ["prefetch/run/parts.json"]


def test_a_retry_after_the_end_orders_what_was_prepared_whatever_changed_since(lane, prepared):
    lane.put("night/a.txt", "a fox")
    first, written = prepared(), set(lane.objects("prefetch/"))
    lane.put("night/a.txt", "a hen")
    assert prepared() == first
    assert prompts_in(lane, first.parts) == ["a fox"]
    assert set(lane.objects("prefetch/")) == written, "nothing is written again"


def test_a_try_that_breaks_off_leaves_nothing_that_counts(lane, prepared, monkeypatch):
    rows = [{"prompt": "a fox", "model": OTHER_MODEL}, {"prompt": "a hen"}]
    lane.put("night/a.jsonl", "\n".join(map(json.dumps, rows)))
    allowed = {"allowed_models": f"{DEFAULT_MODEL},{OTHER_MODEL}"}
    add = PartWriter.add

    def broken(self: PartWriter, *arguments: Any) -> None:
        if self._model == DEFAULT_MODEL:
            raise ServiceUnavailable("for now")
        add(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(PartWriter, "add", broken)
        with pytest.raises(ServiceUnavailable):
            prepared(**allowed)
    assert "prefetch/run/parts.json" not in lane.objects("prefetch/")
    assert prompts_in(lane, prepared(**allowed).parts) == ["a fox", "a hen"]


def test_of_tries_at_once_one_counts_and_the_other_returns_it(lane, prepared, monkeypatch):
    lane.put("night/a.txt", "a fox\na hen\n")
    results = []
    close = PartWriter.close

    def overtaken(self: PartWriter) -> Part:
        """As if this try had been forgotten by Airflow, which started another one."""
        monkeypatch.setattr(PartWriter, "close", close)
        lane.put("night/a.txt", "an owl\n")
        results.append(prepared())
        return close(self)

    monkeypatch.setattr(PartWriter, "close", overtaken)
    results.append(prepared())
    assert results[0] == results[1]
    assert prompts_in(lane, results[0].parts) == ["an owl"]
    (part,) = results[0].parts
    assert part.folder.requests.removeprefix(f"gs://{BUCKET}/{lane.name}/") in lane.objects(
        "prefetch/"
    )


def test_what_tries_have_left_is_deleted_by_the_one_that_counts(lane, prepared):
    lane.put("night/a.txt", "a fox")
    lane.put("prefetch/run/0123/part-00000/requests.jsonl", "x")
    lane.put("prefetch/run/0123/part-00000/manifest.jsonl", "x")
    lane.put("prefetch/run/prefetch.json", "x")
    (part,) = prepared().parts
    left = [name.rpartition("/")[2] for name in lane.objects("prefetch/")]
    assert sorted(left) == ["manifest.jsonl", "parts.json", "prefetch.json", "requests.jsonl"]
    assert rows_in(lane, part)


def test_what_nobody_has_prepared_is_not_overwritten(lane, prepared):
    lane.put("night/a.txt", "a fox")
    lane.put("prefetch/run/parts.json", "{}")
    with pytest.raises(PartsError):
        prepared()


@pytest.mark.slow
def test_a_task_of_airflow_needs_no_beam_and_nothing_that_calls_models():
    """What Composer's image has, it has; what only workers have, it may not."""
    code = """if True:
        import sys
        import beam_jobs.prefetch.prepare
        roots = {name.partition(".")[0] for name in sys.modules}
        print(sorted(roots & {"apache_beam", "aiohttp", "gcloud", "orjson", "pybase64", "PIL"}))
        print("google.genai" in sys.modules, "google.cloud.storage" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "False False"]


@pytest.mark.slow
def test_the_backfills_job_finds_what_was_ordered_and_tells_its_cost_once(
    cloud, lane, prepared, tmp_path
):
    """As the import leaves it: images of all rows but one prompt's, each with its record."""
    picture = f"gs://{BUCKET}/{lane.name}/r.png"
    blob = lane.storage.bucket(BUCKET).blob(f"{lane.name}/r.png")
    blob.upload_from_string(png(b"red"), "image/png")
    rows: list[dict[str, Any]] = [{"prompt": f"number {n}", "images": n % 3 + 1} for n in range(9)]
    rows += [{"prompt": "number 1", "images": 2, "id": "again"}, {"prompt": "x", "reuse": False}]
    rows += [{"prompt": "shown", "references": [{"uri": picture, "role": "the style"}]}]
    lane.put("night/a.jsonl", "\n".join(map(json.dumps, rows)))
    lane.put("night/b.csv", "prompt,seed\na boat,5\n")
    plan = write_plan(lane)
    result = prepared(plan=plan)
    assert left(result) == {LeftOut.EQUAL: 1}
    known = [known for part in result.parts for _, known in rows_in(lane, part)]
    missing = known[0].digest
    paths: dict[str, list[str]] = {}
    for row in known:
        if row.digest != missing:
            name = f"images/{row.digest[:2]}/{row.image}.png"
            paths.setdefault(row.digest, []).append(lane.put(name, png(b"blue")))
            if len(paths[row.digest]) == row.images:
                work = Work(cost_usd=0.02 * row.images, image_tokens=1120, tier=BATCH_TIER)
                record = {"images": paths[row.digest], **Receipt(row.payer, work, RUN).to_json()}
                lane.put(f"images/{row.digest[:2]}/{row.digest}.json", json.dumps(record))
    before = cloud.models()["images"]
    options = {"prompts": f"gs://{BUCKET}/{lane.name}/night/*", "model": DEFAULT_MODEL}
    report = tmp_path / "report.json"
    assert backfill.main(lane.options(plan=plan, report=report, source=RUN, **options)) == 0
    counts = json.loads(report.read_text())
    predictions = lane.predictions(len(rows) + 1)
    assert (counts["prompts"], counts["predictions"]) == (13, 13)
    assert counts["images"] == counts["model_calls"] == cloud.models()["images"] - before == 1
    online = sum(one["cost_usd"] for one in predictions if one["tier"] == "standard")
    assert counts["cost_usd"] == pytest.approx(online + 0.02 * (len(known) - 1))
    # Of two equal rows, the one that did not pay.
    assert [one["reused"] for one in predictions].count(True) == counts["reused"] == 1
    assert [one["tier"] for one in predictions].count(BATCH_TIER) == len(paths)
