"""The whole import against the local cloud: from a batch's output to images and a report."""

import asyncio
import json
import subprocess
import sys

import aiohttp
import pytest

from beam_jobs import backfill, prefetch_import
from beam_jobs.catalog import DEFAULT_MODEL
from beam_jobs.engine.references import References
from beam_jobs.images.location import Location
from beam_jobs.images.receipt import payer_of
from beam_jobs.images.store import ImageStore
from beam_jobs.models.base import Image
from beam_jobs.prefetch.folder import PartFolder, PrefetchFolder
from beam_jobs.prefetch.parts import Part, Prepared
from beam_jobs.prefetch.request_row import rows_of
from beam_jobs.prompts.defaults import prompt_defaults
from beam_jobs.prompts.parse import parse
from tests.beam_jobs.prefetch.outputs import (
    RUN,
    answer,
    output,
    outputs_of,
    picture,
    requests_of,
)
from tests.conftest import BUCKET, PROJECT, ROOT, _call, eventually

pytestmark = pytest.mark.slow


class Night:
    """A run's prefetch in the bucket: what was ordered, and what came back."""

    def __init__(self, lane, cloud):
        self.lane, self.cloud = lane, cloud
        self.folder = PrefetchFolder.parse(f"gs://{BUCKET}/{lane.name}/prefetch/night-1/")
        self.parts = []

    def order(self, *prompts):
        """Write a part for some prompts, and return its number."""
        folder = self.folder.part("try-1", len(self.parts))
        rows = [row for prompt in prompts for _, row in rows_of(prompt, RUN)]
        self._put(folder.manifest, b"".join(row.to_line() for row in rows))
        self.parts.append(
            Part(
                folder=PartFolder(folder.url),
                model=prompts[0].model,
                location="global",
                rows=len(rows),
                bytes=0,
                prompts=len(prompts),
                likely_micro_usd=0,
            )
        )
        self._put(self.folder.parts, json.dumps(Prepared(RUN, tuple(self.parts)).to_json()))
        return len(self.parts) - 1

    def run_batch(self, part, prompts, **settings):
        """Let the stand-in for Vertex AI answer a part's requests; return what it billed."""
        folder = self.parts[part].folder
        lines = [line for prompt in prompts for line, _ in rows_of(prompt, RUN)]
        self._put(folder.requests, b"".join(lines))
        before = self.cloud.batches(**settings)["billed_usd"]
        parent = f"{self.cloud.environment['GOOGLE_VERTEX_BASE_URL']}/v1/projects/{PROJECT}"
        parent += "/locations/global/batchPredictionJobs"
        body = {
            "displayName": "night-1",
            "model": f"publishers/google/models/{self.parts[part].model}",
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [folder.requests]}},
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {"outputUriPrefix": folder.output},
            },
        }
        job = _call("POST", parent, body)["name"].rpartition("/")[2]
        # Where rows are missing, it is PARTIALLY_SUCCEEDED.
        eventually(
            lambda: _call("GET", f"{parent}/{job}")["state"].endswith("SUCCEEDED"), within_s=60
        )
        return self.cloud.batches()["billed_usd"] - before

    def answer(self, part, lines, name="predictions_00000.jsonl", end=b"\n"):
        """Write a file of output, and return its path."""
        url = f"{self.parts[part].folder.output}prediction-model-2026-11-01T02:03:04.567Z/{name}"
        return self._put(url, b"\n".join(lines) + end)

    def import_all(self, **options):
        """Run the job, and return its report."""
        given = {
            "images_output_location": self.lane.images_location,
            "prefetch": self.folder.url,
            "thumbnails": "off",
            **options,
        }
        flags = [f"--{name}={value}" for name, value in given.items()]
        assert prefetch_import.main(["--project=demo-project", *flags]) == 0
        name = self.folder.report.removeprefix(f"gs://{BUCKET}/{self.lane.name}/")
        report = json.loads(self.lane.objects("prefetch/")[name])
        assert report["schema"] == "imagen.prefetch_import/1"
        assert report["run"] == RUN
        return report

    def _put(self, url, content):
        return self.lane.put(url.removeprefix(f"gs://{BUCKET}/{self.lane.name}/"), content)


@pytest.fixture
def night(lane, cloud):
    return Night(lane, cloud)


@pytest.fixture
def prompts(prompt_of):
    return [
        prompt_of(f"Fox number {number}", images=1 + number % 2, origin=f"gs://b/f:{number}")
        for number in range(6)
    ]


def rows(report):
    return {end: count for end, count in report["rows"].items() if count}


def images(lane):
    return {name: data for name, data in lane.objects("images/").items() if ".json" not in name}


def records(lane):
    found = lane.objects("images/").items()
    return {name[-37:-5]: json.loads(data) for name, data in found if name.endswith(".json")}


def test_images_and_records_are_as_the_ordinary_job_would_store_them(night, lane, prompts):
    part = night.order(*prompts[:3])
    other = night.order(*prompts[3:])
    lines = [line for number, each in enumerate(prompts) for line in outputs_of(each, first=number)]
    night.answer(part, reversed(lines[:2]), "predictions_00000.jsonl")
    night.answer(part, lines[2:4], "predictions_00001.jsonl", end=b"")
    night.answer(other, lines[4:])
    night.answer(other, [], "predictions_00001.jsonl", end=b"")
    report = night.import_all()
    assert rows(report) == {"stored": 9}
    assert (report["parts"], report["ordered"], report["images"]) == (2, 9, 9)
    assert report["records"] == 6
    assert report["first_problems"] == []
    assert report["tokens"] == {"input": 81, "text": 0, "image": 9 * 1120}
    assert report["cost_usd"] == report["recorded_cost_usd"] > 0
    stored = images(lane)
    assert len(stored) == 9
    for number, prompt in enumerate(prompts):
        stem = f"images/{prompt.digest[:2]}/{prompt.digest}"
        record = records(lane)[prompt.digest]
        assert record["images"] == [
            f"gs://{BUCKET}/{lane.name}/{stem}-{index}.png" for index in range(prompt.images)
        ]
        for index in range(prompt.images):
            assert stored[f"{stem}-{index}.png"] == picture(number + index)
        assert record["prompt"] == prompt.text
        assert record["tier"] == "batch"
        assert record["paid_by"] == payer_of(RUN, prompt.origin)
        assert record["tokens"]["image"] == 1120 * prompt.images
        assert record["cost_usd"] == pytest.approx(report["cost_usd"] * prompt.images / 9)


def test_the_ordinary_job_finds_what_was_imported_and_pays_only_for_the_rest(
    cloud, night, lane, tmp_path
):
    """Its prompts are parsed anew, so that digests and payers have to meet."""
    texts = [f"Found {number}" for number in range(4)]
    file = lane.put("night/a.txt", "\n".join(texts))
    defaults = prompt_defaults(model=DEFAULT_MODEL, source=RUN)
    prompts = [
        parse(text.encode(), {}, origin=f"{file}:{line}", defaults=defaults)
        for line, text in enumerate(texts, 1)
    ]
    part = night.order(*prompts)
    night.answer(part, [line for each in prompts[:3] for line in outputs_of(each)])
    imported = night.import_all()
    assert rows(imported) == {"stored": 3, "missing": 1}
    before = cloud.models()["images"]
    path = tmp_path / "report.json"
    options = lane.options(prompts=file, report=path, source=RUN)
    assert backfill.main(options) == 0
    report = json.loads(path.read_text())
    assert cloud.models()["images"] - before == 1
    assert (report["predictions"], report["images"]) == (4, 1)
    by_prompt = {one["prompt"]: one for one in lane.predictions(4)}
    assert {by_prompt[text]["tier"] for text in texts[:3]} == {"batch"}
    told = sum(by_prompt[text]["cost_usd"] for text in texts[:3])
    assert told == pytest.approx(imported["cost_usd"])


def test_each_kind_of_row_has_a_count_and_a_sentence(night, lane, prompts, prompt_of):
    fox, two, hare, owl, *_ = prompts
    part = night.order(*prompts[:4])
    (fox_request, _), ((first, _), (second, _)) = requests_of(fox)[0], requests_of(two)
    (hare_request, _) = requests_of(hare)[0]
    owls = [request for request, _ in requests_of(owl)]
    stranger = prompt_of("A stranger")
    bare = {name: value for name, value in hare_request.items() if name != "labels"}
    whole = outputs_of(fox)[0]
    lines = [
        whole,
        whole,  # written twice
        output(fox_request, answer(picture(50), fox.model)),  # another image for the same
        output(first, {}, 'Too Many Requests: {"error": {"code": 429}}'),
        output(second, answer(b"Text bytes", two.model)),
        output(bare, answer(picture(1), hare.model)),
        output({**owls[0], "labels": owls[1]["labels"]}, answer(picture(60), owl.model)),
        output({**hare_request, "labels": owls[0]["labels"]}, answer(picture(61), owl.model)),
        output(owls[0], {}, {"code": 8, "message": "about the prompt"}),
        *outputs_of(stranger),
        b"{not JSON",
        b"\xff\xfe",
        b"",
    ]
    night.answer(part, lines)
    cut = night.answer(part, [outputs_of(two)[1][:-40]], "predictions_00001.jsonl", end=b"")
    report = night.import_all()
    # Both of the owl's requests are alike, so its label alone tells which image a row is for.
    assert rows(report) == {
        "stored": 2,
        "doubled": 2,
        "failed": 2,
        "no_image": 1,
        "unlabelled": 1,
        "echo_changed": 1,
        "unknown": 1,
        "unreadable": 2,
        "cut_off": 1,
        "missing": 1,
    }
    assert report["failed_by_code"] == {"429": 1, "RESOURCE_EXHAUSTED": 1}
    # The image that is not one was billed as one, and so was the fox's second.
    assert (report["images"], report["records"]) == (4, 1)
    assert set(records(lane)) == {fox.digest}
    problems = "\n".join(report["first_problems"])
    assert f"{cut}, byte 0: the file ends within this row" in problems
    assert "Fox number" not in problems
    assert "about the prompt" not in problems
    assert 9 <= len(report["first_problems"]) <= 20
    assert len(images(lane)) == 2


def test_an_import_that_is_run_again_stores_nothing_twice_and_reports_the_same(
    night, lane, prompts
):
    part = night.order(*prompts)
    lines = [line for each in prompts for line in outputs_of(each)]
    twice = output(requests_of(prompts[0])[0][0], answer(picture(70), prompts[0].model))
    night.answer(part, [*lines, twice])
    first = night.import_all()
    stored = lane.objects("images/")
    assert night.import_all() == first
    assert lane.objects("images/") == stored
    # As after a kill in the middle: some records are missing, and some images.
    gone = [name for name in stored if name.endswith(".json")][:3]
    gone += [name for name in stored if name.endswith("-1.png")][:1]
    for name in gone:
        lane.storage.bucket(BUCKET).blob(f"{lane.name}/{name}").delete()
    again = night.import_all()
    assert again == first
    assert lane.objects("images/").keys() == stored.keys()


def test_what_others_have_stored_is_kept_and_named(night, lane, prompts):
    fox, two, *_ = prompts
    part = night.order(fox, two)
    night.answer(part, [*outputs_of(fox), *outputs_of(two)])
    theirs = Image(picture(99), "png", "image/png")

    async def store():
        async with aiohttp.ClientSession() as session:
            images = ImageStore(session, Location.parse(lane.images_location))
            await images.put_image(fox.digest, 0, theirs)

    asyncio.run(store())
    report = night.import_all()
    assert rows(report) == {"stored": 2, "already_there": 1}
    assert report["images"] == 3
    assert theirs.data in images(lane).values()


def test_an_image_of_a_reference_that_was_replaced_is_not_stored(night, lane, prompt_of):
    blob = lane.storage.bucket(BUCKET).blob(f"{lane.name}/references/hat.png")
    blob.upload_from_string(picture(1), content_type="image/png")
    path = f"gs://{BUCKET}/{blob.name}"

    async def resolved(*found):
        async with aiohttp.ClientSession() as session:
            return [await References(session).resolved(each) for each in found]

    prompts = [
        prompt_of(f"A fox with this hat {number}", references=[path], origin=f"f:{number}")
        for number in range(2)
    ]
    first = asyncio.run(resolved(*prompts))
    night.answer(night.order(*first), [line for each in first for line in outputs_of(each)])
    blob.upload_from_string(picture(2), content_type="image/png")
    report = night.import_all()
    assert rows(report) == {"reference_changed": 2}
    assert report["records"] == 0
    assert images(lane) == {}
    assert report["cost_usd"] > 0


def test_a_run_without_any_output_has_a_report_too(night, lane, prompts):
    night.order(*prompts)
    report = night.import_all()
    assert rows(report) == {"missing": 9}
    assert report["cost_usd"] == 0
    assert images(lane) == {}


def test_thumbnails_are_stored_too_if_they_are_asked_for(night, lane, prompts):
    night.answer(night.order(prompts[0]), outputs_of(prompts[0]))
    night.import_all(thumbnails="on")
    assert len(lane.objects("images/thumbnails/")) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prefetch": "gs://b/x"}, "--prefetch: expected gs://BUCKET/FOLDER/ with a slash"),
        ({"prefetch": f"gs://{BUCKET}/no-such/"}, "parts.json does not exist"),
        ({"prefetch": "gs://somebody-elses/x/"}, "--prefetch"),
        ({"model": "gemini-3-pro-image"}, "--model is not for beam_jobs.prefetch_import"),
        ({"prefetchh": "x"}, "--prefetchh: no such option"),
        ({"images_output_location": "x"}, "--images_output_location: expected gs://"),
        ({"max_retry_seconds": 0}, "--max_retry_seconds: expected a number above 0"),
    ],
)
def test_wrong_options_are_named(night, prompts, capsys, options, says):
    night.order(*prompts)
    given = {
        "images_output_location": night.lane.images_location,
        "prefetch": night.folder.url,
        "project": "demo-project",
        **options,
    }
    assert prefetch_import.main([f"--{name}={value}" for name, value in given.items()]) == 2
    assert says in capsys.readouterr().err


def test_what_the_stand_in_s_batch_job_writes_is_counted_and_costs_what_it_bills(
    night, lane, prompt_of
):
    prompts = [prompt_of(f"A hare {n}", images=1 + n % 2, origin=f"f:{n}") for n in range(40)]
    prompts += [prompt_of(f"fault:blocked {n}", origin=f"g:{n}") for n in range(3)]
    part = night.order(*prompts)
    rates = {"failed_rate": 0.1, "doubled_rate": 0.1, "missing_rate": 0.05, "shard_rows": 20}
    rates |= {"unlabelled_rate": 0.05, "relabelled_rate": 0.05, "no_image_rate": 0.05}
    billed = night.run_batch(part, prompts, **rates)
    report = night.import_all()
    found = rows(report)
    assert {"stored", "failed", "refused", "doubled", "unlabelled", "unknown", "no_image"} <= set(
        found
    )
    # Rows without their label say of no image that it came: it counts as missing, too.
    nobodys = found["unlabelled"] + found["unknown"]
    assert sum(found.values()) - found["doubled"] - nobodys == report["ordered"]
    assert len(images(lane)) == found["stored"]
    assert report["records"] == len(records(lane))
    assert report["cost_usd"] <= billed
    assert report["unpriced_rows"] == 0


def test_an_import_that_is_killed_is_finished_by_the_next_one(night, lane, cloud, prompt_of):
    prompts = [prompt_of(f"A wolf {n}", images=2, origin=f"f:{n}") for n in range(60)]
    part = night.order(*prompts)
    lines = [line for n, each in enumerate(prompts) for line in outputs_of(each, first=2 * n)]
    night.answer(part, lines)
    flags = [f"--images_output_location={lane.images_location}", f"--prefetch={night.folder.url}"]
    cloud.storage(latency_s=0.1)
    flags += ["--thumbnails=off"]
    kill_an_import_at(60, lane, flags)
    cloud.storage(latency_s=0.0)
    before = images(lane)
    assert len(before) >= 60
    report = night.import_all()
    assert rows(report) == {"stored": 120}
    assert (report["images"], report["records"]) == (120, 60)
    assert report["cost_usd"] == report["recorded_cost_usd"]
    assert before.items() <= images(lane).items()
    assert len(images(lane)) == 120
    assert len(records(lane)) == 60


def kill_an_import_at(stored, lane, flags):
    """Run an import, and kill it once so many objects are stored."""
    process = subprocess.Popen(
        [sys.executable, "-m", "beam_jobs.prefetch_import", *flags, f"--project={PROJECT}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def is_there():
        assert process.poll() is None, "it has ended before it could be killed"
        names = lane.storage.list_blobs(BUCKET, prefix=f"{lane.name}/images/")
        return sum(1 for _ in names) >= stored

    try:
        eventually(is_there, within_s=90, what=f"{stored} objects")
    finally:
        process.kill()
        process.wait()
