"""The whole backfill against the local cloud: from files to predictions and a report."""

import base64
import gzip
import json
import os
import random
import threading
import time
import urllib.request

import pytest

from beam_jobs import backfill
from beam_jobs.catalog import DEFAULT_MODEL
from beam_jobs.prompts import beam_files
from beam_jobs.prompts.listing import ListedFile
from beam_jobs.prompts.plan_file import line_of
from localcloud.vertex.pictures import canned

pytestmark = pytest.mark.slow

CSV = """prompt,id,images,seed
An otter,otter,2,
"A raven, and a crow",ravens,,7
,empty,,
"""
JSONL = """{"prompt": "A harbour"}
{"prompt": "A pier", "imges": 2}
not JSON
"""


@pytest.fixture
def night(lane):
    """Files of every format: 11 prompts, 4 of them invalid."""
    lane.put("night/a.txt", "A garden\n\nA meadow\n")
    lane.put("night/b.txt.gz", gzip.compress("A forest\nЛиса\n".encode()))
    lane.put("night/c.jsonl", JSONL)
    lane.put("night/d.csv", CSV)
    lane.put("night/e.txt.gz", gzip.compress(b"A glade\n" * 3)[:-12])
    return f"gs://demo-project-imagen/{lane.name}/night/*"


def run(lane, prompts, tmp_path, **options):
    report = tmp_path / "report.json"
    given = {"source": "backfill:night-1", **options}
    code = backfill.main(lane.options(prompts=prompts, report=report, **given))
    assert code == 0
    return json.loads(report.read_text())


def test_files_of_every_format_add_up_in_the_report(cloud, lane, night, tmp_path, capsys):
    report = run(lane, night, tmp_path)
    said = (
        f"prompts: {report['prompts']}, predictions: {report['predictions']} (reused: "
        f"0), dead letters: {report['failures']}, images paid for: {report['images']}\n"
    )
    assert capsys.readouterr().err.endswith(said)
    predictions = lane.predictions(report["predictions"])
    failures = lane.dead_letters(report["failures"])
    assert lane.nothing_left("predictions")
    assert lane.nothing_left("dead-letters")
    assert report["prompts"] == report["predictions"] + report["failures"]
    prompts = {one["prompt"] for one in predictions}
    assert prompts >= {"A garden", "A meadow", "A forest", "Лиса", "A harbour", "An otter"}
    assert {one["source"] for one in predictions} == {"backfill:night-1"}
    assert report["failures_by_reason"] == {"INVALID_PROMPT": 4}
    told = "\n".join(one["detail"] + one["attributes"]["file"] for one in failures)
    for file in ("c.jsonl", "d.csv", "e.txt.gz"):
        assert file in told
    assert "gzip" in told


def test_a_job_whose_sums_do_not_add_up_ends_with_an_error(
    cloud, lane, tmp_path, monkeypatch, capsys
):
    """As on a runner that loses elements."""
    from beam_jobs.pipeline import report

    monkeypatch.setattr(report, "counts_of", lambda _: {"predictions": 0})
    path = tmp_path / "report.json"
    prompts = lane.put("night/a.txt", "A fox\n")
    assert backfill.main(lane.options(prompts=prompts, report=path)) == 1
    assert f"error: the sums in {path} do not add up: 1 prompts" in capsys.readouterr().err


def test_an_object_that_is_stored_gzipped_is_read_as_text_whatever_its_name(lane, cloud, tmp_path):
    blob = lane.storage.bucket("demo-project-imagen").blob(f"{lane.name}/night/prompts.txt")
    blob.content_encoding = "gzip"
    content = "".join(f"Gzipped {number}\n" for number in range(5))
    blob.upload_from_string(gzip.compress(content.encode()), content_type="text/plain")
    before = cloud.models()["images"]
    report = run(lane, f"gs://demo-project-imagen/{blob.name}", tmp_path)
    assert (report["prompts"], report["predictions"], report["failures"]) == (5, 5, 0)
    assert cloud.models()["images"] - before == 5
    assert {one["prompt"] for one in lane.predictions(5)} == set(content.splitlines())


def test_a_row_with_a_broken_quote_costs_one_prompt_of_two_hundred(lane, cloud, tmp_path):
    rows = [f'"A fox, number {number}",r{number}' for number in range(200)]
    rows[1] = '"A 27" monitor on a desk",r2'
    path = lane.put("night/p.csv", "\n".join(["prompt,id", *rows]))
    report = run(lane, path, tmp_path)
    assert (report["prompts"], report["predictions"], report["failures"]) == (200, 199, 1)
    (failure,) = lane.dead_letters(1)
    assert base64.b64decode(failure["body"]).decode() == rows[1]
    assert failure["attributes"] == {"file": path, "line": "3"}


def test_a_local_file_may_have_a_name_that_is_not_utf_8(lane, cloud, tmp_path):
    night = tmp_path / "night"
    night.mkdir()
    (night / os.fsdecode(b"f\xfcchse.jsonl")).write_bytes(b'{"prompt": "A fox"}\n{broken\n')
    report = run(lane, f"{night}/*", tmp_path)
    assert (report["prompts"], report["predictions"], report["failures"]) == (2, 1, 1)
    (failure,) = lane.dead_letters(1)
    assert failure["attributes"]["file"] == f"{night}/f\\udcfcchse.jsonl"


def test_a_second_run_pays_for_nothing_and_publishes_the_same_paths(cloud, lane, tmp_path):
    prompts = lane.put("night/a.txt", "\n".join(f"Twice over {n}" for n in range(30)))
    before = cloud.models()["images"]
    first = run(lane, prompts, tmp_path)
    paths = {one["prompt"]: one["images"] for one in lane.predictions(30)}
    second = run(lane, prompts, tmp_path, source="backfill:night-2")
    again = {one["prompt"]: one["images"] for one in lane.predictions(30)}
    assert cloud.models()["images"] - before == 30
    assert (first["reused"], second["reused"]) == (0, 30)
    assert paths == again


def test_a_bad_row_names_its_file_and_line_and_can_be_replayed(cloud, lane, tmp_path):
    path = lane.put("night/rows.csv", "prompt,images\nA fox,1\nA hare,many\n")
    run(lane, path, tmp_path)
    (failure,) = lane.dead_letters(1)
    assert failure["attributes"] == {"file": path, "line": "3"}
    assert "'images'" in failure["detail"]
    assert json.loads(base64.b64decode(failure["body"])) == {"prompt": "A hare", "images": "many"}


def test_prompts_beyond_the_budget_fail_as_retryable_and_unpaid(cloud, lane, tmp_path):
    prompts = lane.put("night/a.txt", "\n".join(f"Over budget {n}" for n in range(10)))
    before = cloud.models()["images"]
    report = run(lane, prompts, tmp_path, max_images=4)
    assert cloud.models()["images"] - before == 4
    assert (report["predictions"], report["failures"]) == (4, 6)
    assert all(one["retryable"] for one in lane.dead_letters(6))


def test_a_model_that_refuses_every_prompt_costs_a_backfill_the_time_for_retries_once(
    cloud, lane, tmp_path
):
    cloud.models(retired_models=DEFAULT_MODEL)
    prompts = lane.put("held.txt", "".join(f"Held {number}\n" for number in range(60)))
    began = time.monotonic()
    # Batches of four calls in flight, one after the other.
    report = run(lane, prompts, tmp_path, max_retry_seconds=3, max_in_flight=1)
    assert time.monotonic() - began < 30
    assert report["failures_by_reason"] == {"MODEL_ERROR": 60}
    assert all(one["retryable"] for one in lane.dead_letters(60))


def test_a_job_that_is_launched_again_for_a_run_has_what_is_left_of_its_budget(
    cloud, lane, tmp_path
):
    """As after a crash that Beam does not survive, or when a task is cleared."""
    before = cloud.models()["images"]
    for number, expected in enumerate((4, 0)):
        prompts = lane.put(f"night-{number}/a.txt", "\n".join(f"{number} {n}" for n in range(5)))
        report = run(lane, prompts, tmp_path, max_images=4)
        assert report["images"] == expected
    assert cloud.models()["images"] - before == 4
    assert {one["reason"] for one in lane.dead_letters(6)} == {"OVER_BUDGET"}


def test_equal_rows_are_paid_for_once_and_get_a_prediction_each(cloud, lane, tmp_path):
    path = lane.put("night/a.txt.gz", gzip.compress(b"The same row again\n" * 1000))
    images = cloud.models()["images"]
    report = run(lane, path, tmp_path)
    assert (report["prompts"], report["predictions"], report["images"]) == (1000, 1000, 1)
    assert cloud.models()["images"] - images == 1
    assert len({one["images"][0] for one in lane.predictions(1000)}) == 1


@pytest.mark.parametrize(
    ("option", "limit", "says"),
    [
        ("max_rows", 7, ":8: has more than 7 rows, which --max_rows allows"),
        ("max_unpacked_bytes", 100_000, "more than 100,000 bytes of text, which --max_unpacked_by"),
    ],
)
def test_what_a_file_has_beyond_the_limits_is_one_dead_letter(
    cloud, lane, tmp_path, option, limit, says
):
    path = lane.put("night/a.txt.gz", gzip.compress(b"A bomb\n" * 3 + b"\n" * 1_000_000))
    if option == "max_rows":
        path = lane.put("night/b.txt.gz", gzip.compress(b"A bomb\n" * 1_000_000))
    report = run(lane, path, tmp_path, **{option: limit})
    assert report["failures"] == 1
    (failure,) = lane.dead_letters(1)
    assert says in failure["detail"]
    assert report["predictions"] == (7 if option == "max_rows" else 3)


# Files that change between the plan and the job


def planned(lane, files):
    """Write a plan of blobs, as a backfill's task does, and return its path."""
    listed = [ListedFile(blob.name, blob.size, blob.generation) for blob in files]
    listed.sort(key=lambda file: file.name)
    return lane.put("jobs/1/plan.jsonl", b"".join(line_of(file) for file in listed))


def test_only_the_planned_generations_of_the_planned_files_are_paid_for(cloud, lane, tmp_path):
    bucket = lane.storage.bucket("demo-project-imagen")
    names = ("kept", "replaced", "deleted", "added\u2028CRITICAL", "aaa added")
    kept, replaced, deleted, *added = [
        bucket.blob(f"{lane.name}/night/{name}.txt") for name in names
    ]
    for blob in (kept, replaced, deleted):
        blob.upload_from_string(f"A picture of what is {blob.name}\n")
    plan = planned(lane, [kept, replaced, deleted])
    for blob in (replaced, *added):
        bucket.blob(blob.name).upload_from_string("\n".join(f"{blob.name} {n}" for n in range(30)))
    deleted.delete()
    before = cloud.models()["images"]
    glob = f"gs://demo-project-imagen/{lane.name}/night/*"
    report = run(lane, glob, tmp_path, plan=plan, max_images=1)
    assert cloud.models()["images"] - before == 1
    assert (report["prompts"], report["predictions"], report["failures"]) == (5, 1, 4)
    assert "kept" in lane.predictions(1)[0]["prompt"]
    details = sorted(one["detail"] for one in lane.dead_letters(4))
    now = bucket.get_blob(replaced.name).generation
    expected = {
        "aaa added.txt: was not planned": "run the backfill again",
        "added\\u2028CRITICAL.txt: was not planned": "run the backfill again",
        f"deleted.txt: was planned in generation {deleted.generation}, and is gone": "upload it",
        f"replaced.txt: was planned in generation {replaced.generation}, and is in generation "
        f"{now} now": "run the backfill again",
    }
    for detail, (begins, advice) in zip(details, expected.items(), strict=True):
        assert begins in detail
        assert advice in detail


def test_a_file_that_is_replaced_while_it_is_read_ends_there(cloud, lane, tmp_path):
    bucket = lane.storage.bucket("demo-project-imagen")
    blob = bucket.blob(f"{lane.name}/night/a.txt")
    blob.upload_from_string("One row\n" * 400_000)
    plan = planned(lane, [blob])
    rows = beam_files.read_planned(
        ListedFile(blob.name, blob.size, blob.generation), bucket.name, source="backfill:1"
    )
    assert next(rows).body == b"One row"
    bucket.blob(blob.name).upload_from_string("Another row\n")
    *_, last = rows
    assert "is gone in the generation that was planned" in last.detail
    report = run(lane, f"gs://{bucket.name}/{blob.name}", tmp_path, plan=plan)
    assert (report["prompts"], report["failures"]) == (1, 1)


@pytest.mark.full
def test_however_files_change_no_more_than_planned_is_paid_and_every_row_is_accounted_for(
    cloud, lane, tmp_path
):
    bucket = lane.storage.bucket("demo-project-imagen")
    for seed in range(4):
        chance = random.Random(seed)
        night = f"{lane.name}/night-{seed}"
        rows = {}

        def write(name, night=night, rows=rows, chance=chance, seed=seed):
            rows[name] = chance.randint(0, 6)
            lines = [f"{seed} {name} {chance.random()}" for _ in range(rows[name])]
            blob = bucket.blob(f"{night}/{name}.txt")
            blob.upload_from_string("\n".join(lines))
            return blob

        files = [write(f"f{number}") for number in range(6)]
        plan = planned(lane, files)
        budget = sum(rows.values())
        kept = dict(rows)
        changed = set()
        for _ in range(chance.randint(1, 8)):
            name = f"f{chance.randint(0, 9)}"
            blob = bucket.blob(f"{night}/{name}.txt")
            changed.add(name)
            if blob.exists() and chance.random() < 0.5:
                blob.delete()
            else:
                write(name)
        gone = {
            n for n in changed if n not in kept and not bucket.blob(f"{night}/{n}.txt").exists()
        }
        changed -= gone
        before = cloud.models()["images"]
        report = run(
            lane,
            f"gs://{bucket.name}/{night}/*",
            tmp_path,
            plan=plan,
            max_images=budget,
            source=f"backfill:{seed}",
        )
        paid = cloud.models()["images"] - before
        unchanged = sum(count for name, count in kept.items() if name not in changed)
        assert paid == unchanged <= budget, seed
        assert (report["predictions"], report["failures"]) == (unchanged, len(changed)), seed


def test_a_plan_that_is_not_there_or_is_none_stops_the_job(cloud, lane, tmp_path, capsys):
    prompts = lane.put("night/a.txt", "A fox\n")
    path = f"gs://demo-project-imagen/{lane.name}/plan.jsonl"
    assert backfill.main(lane.options(prompts=prompts, plan=path)) == 2
    assert f"--plan: {path} does not exist" in capsys.readouterr().err
    before = cloud.models()["images"]
    lane.put("plan.jsonl", '{"name": "x"}\n')
    with pytest.raises(Exception, match=r"line 1 is not a file of a plan"):
        backfill.main(lane.options(prompts=prompts, plan=path))
    assert cloud.models()["images"] == before


def test_a_backfill_tries_no_runner_that_would_have_to_be_downloaded(cloud, lane, tmp_path, capsys):
    run(lane, lane.put("night/a.txt", "A fox\n"), tmp_path)
    assert "Prism" not in capsys.readouterr().err


def test_empty_files_make_an_empty_report(cloud, lane, tmp_path):
    report = run(lane, lane.put("night/a.txt", ""), tmp_path)
    assert (report["prompts"], report["predictions"], report["failures"]) == (0, 0, 0)


def test_a_glob_that_matches_nothing_stops_the_job_with_one_clear_line(cloud, lane, capsys):
    glob = f"gs://demo-project-imagen/{lane.name}/nothing/*.txt"
    assert backfill.main(lane.options(prompts=glob)) == 2
    assert capsys.readouterr().err == (
        f"error: --prompts: {glob} does not exist; create it, or correct the option\n"
    )


def test_options_of_the_stream_are_refused(cloud, lane, capsys):
    options = lane.options(prompts="x.txt", messages_subscription=lane.subscription("prompts"))
    assert backfill.main(options) == 2
    assert "--messages_subscription is only for beam_jobs.stream" in capsys.readouterr().err


def test_predictions_are_published_while_a_slow_prompt_is_still_in_progress(cloud, lane, tmp_path):
    # The slow prompt's calls are cut off and retried until the test lets them succeed.
    cloud.models(latency_s=0.3, tail_factor=1000)
    slow = "A slow one fault:slow"
    prompts = lane.put("night/a.txt", "\n".join([slow, *(f"A quick one {n}" for n in range(40))]))
    done = threading.Event()

    def work() -> None:
        run(lane, prompts, tmp_path, call_timeout_seconds=3)
        done.set()

    job = threading.Thread(target=work)
    job.start()
    # Only one of the eight parts waits for it.
    early = lane.predictions(20)
    assert not done.is_set()
    assert slow not in {one["prompt"] for one in early}
    cloud.models(tail_factor=1)
    job.join(240)
    assert done.is_set()
    lane.predictions(41 - len(early))


def test_predictions_have_signed_urls_where_a_job_may_sign(cloud, lane, tmp_path):
    prompts = lane.put("night/a.txt", "A garden\nA garden\nfault:blocked")
    account = "imagen-worker@demo-project.iam.gserviceaccount.com"
    run(lane, prompts, tmp_path, signed_url_hours=1, service_account_email=account)
    first, second = lane.predictions(2)
    assert first["signed_urls"] == second["signed_urls"], "equal rows share it"
    (url,) = first["signed_urls"]
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "image/png"
    assert "signed_urls" not in lane.dead_letters(1)[0]


@pytest.mark.full
def test_a_night_of_a_template_and_references_is_paid_once_and_what_changes_anew(
    cloud, lane, tmp_path
):
    bucket = lane.storage.bucket("demo-project-imagen")

    def put(name, content):
        blob = bucket.blob(name)
        blob.upload_from_string(content, content_type="image/png")
        return f"gs://demo-project-imagen/{name}"

    put(f"templates/prompts/{lane.name}.txt", "A studio photo of {product} on {surface}")
    shown = [put(f"{lane.name}/references/{n}.png", canned(200 + n)) for n in range(3)]
    rows = [f"shoe {n},oak,{shown[n % 3]}" for n in range(60)]
    lane.put("night/p.csv", "\n".join(["product,surface,references", *rows]))
    prompts = f"gs://demo-project-imagen/{lane.name}/night/*"

    def paid(night):
        source = f"backfill:{night}"
        report = run(lane, prompts, tmp_path, source=source, prompt_template=lane.name)
        assert (report["prompts"], report["predictions"]) == (60, 60)
        return report["images"]

    assert paid(1) == 60
    (prediction, *_) = lane.predictions(60)
    assert prediction["template"].startswith(f"{lane.name}@")
    assert paid(2) == 0
    put(f"{lane.name}/references/1.png", canned(300))
    assert paid(3) == 20
