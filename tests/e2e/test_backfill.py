"""Backfills, operated through a real Airflow."""

import csv
import gzip
import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from beam_jobs.engine.image_maker import ROOM_OVER_IN_FLIGHT
from localcloud.airflow import RunState
from localcloud.vertex.pictures import canned
from tests.conftest import BUCKET, eventually
from tests.e2e.conftest import A_FAULT, Operated
from tests.e2e.visitor import Visitor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

BACKFILL = "imagen_backfill"
FILES, ROWS = 40, 75
BAD_ROWS = 20
# Of one job: calls, and images on their way to storage.
UNDER_WAY = int(64 * ROOM_OVER_IN_FLIGHT) + 1


def file_of(name: str, prompts: list[str], *, bad: int = 0) -> bytes:
    """Return a prompt file in the format that its name says; `bad` rows are no prompts."""
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind == "txt":
        lines = [*prompts, *[f'{{"prompt": "{number}", "imagse": 1}}' for number in range(bad)]]
        content = "\n".join(lines).encode()
    elif kind == "jsonl":
        lines = [json.dumps({"prompt": prompt}) for prompt in prompts]
        content = "\n".join([*lines, *["not an object"] * bad]).encode()
    else:
        out = io.StringIO()
        rows = csv.writer(out)
        rows.writerow(["prompt", "images"])
        rows.writerows([[prompt, 1] for prompt in prompts])
        rows.writerows([["too many", 99]] * bad)
        content = out.getvalue().encode()
    return gzip.compress(content) if name.endswith(".gz") else content


@pytest.fixture
def folder(operated: Operated, request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder of prompt files of the test's own, below the one that the DAG reads."""
    name = f"prompts/{request.node.name}"
    yield name
    for blob in operated.lane.storage.list_blobs(BUCKET, prefix=name):
        blob.delete()


def put(operated: Operated, name: str, content: bytes) -> None:
    operated.lane.storage.bucket(BUCKET).blob(name).upload_from_string(content)


def record(operated: Operated, run_id: str) -> dict[str, Any]:
    (found,) = [r for r in operated.records("backfills") if r["run_id"] == run_id]
    return found


@pytest.mark.full  # two minutes of CPU; the demo runs a backfill, and tests of the job add it up
def test_a_night_of_files_adds_up_and_costs_nothing_the_second_time(
    operated: Operated, folder: str
) -> None:
    kinds = ("txt", "jsonl", "csv", "txt.gz", "jsonl.gz", "csv.gz")
    made = [f"{folder} picture 0-{row}" for row in range(ROWS)]
    put(operated, f"{folder}-before/some.txt", file_of("some.txt", made))
    first = operated.run(BACKFILL, {"prompts": f"gs://{BUCKET}/{folder}-before/*"})
    operated.lane.predictions(ROWS)
    assert record(operated, first)["counts"]["images"] == ROWS

    for number in range(FILES):
        name = f"file-{number:02d}.{kinds[number % len(kinds)]}"
        prompts = [f"{folder} picture {number}-{row}" for row in range(ROWS)]
        bad = BAD_ROWS if number == 1 else 0
        put(operated, f"{folder}/{name}", file_of(name, prompts, bad=bad))
    put(operated, f"{folder}/empty.txt", b"")
    put(operated, f"{folder}/notes.md", b"no prompts here")
    put(operated, f"{folder}/broken.txt.gz", b"\x1f\x8b\x08 no gzip at all")

    glob = {"prompts": f"gs://{BUCKET}/{folder}/*"}
    paths: list[set[str]] = []
    for again in (False, True):
        calls = operated.cloud.models()["calls"]
        run_id = operated.run(BACKFILL, glob, within_s=400)
        plan = operated.client.xcom(BACKFILL, run_id, "plan")
        assert plan["already_stored"]["exact"]
        assert plan["already_stored"]["distinct"] == (FILES * ROWS if again else ROWS)
        counts = record(operated, run_id)["counts"]
        assert counts["prompts"] == counts["predictions"] + counts["failures"]
        assert counts["predictions"] == FILES * ROWS
        assert counts["failures"] >= BAD_ROWS
        assert counts["reused"] == (FILES * ROWS if again else ROWS)
        paid = operated.cloud.models()["calls"] - calls
        assert paid == (0 if again else (FILES - 1) * ROWS)
        print(f"{counts['prompts']:,} prompts, {paid:,} model calls, run {run_id}")
        (event,) = operated.client.asset_events(BACKFILL, run_id)
        assert (event["run_id"], event["predictions"]) == (run_id, FILES * ROWS)
        predictions = operated.lane.predictions(FILES * ROWS)
        assert {p["source"] for p in predictions} == {f"backfill:{run_id}"}
        paths.append({path for p in predictions for path in p["images"]})
        operated.lane.dead_letters(counts["failures"])
        noted = " ".join(record(operated, run_id)["noted"])
        assert all(name in noted for name in ("empty.txt", "notes.md", "broken.txt.gz")), noted
    assert paths[0] == paths[1]
    assert len(paths[0]) == FILES * ROWS
    # As the page in Airflow shows it.
    shown = {run["run_id"]: run for run in Visitor(operated, "admin").panel("backfills")["runs"]}
    assert shown[run_id]["counts"]["reused"] == FILES * ROWS
    assert shown[run_id]["adds_up"] is True


@pytest.mark.full  # a minute and a half, for what tests of the job show without Airflow
def test_a_night_of_a_template_and_references_is_paid_once_and_anew_where_a_picture_changed(
    operated: Operated, folder: str
) -> None:
    rows, name = 300, "studio-of-a-night"
    shown = [f"references/{name}/{number}.png" for number in range(3)]
    bucket = operated.lane.storage.bucket(BUCKET)
    put(operated, f"templates/prompts/{name}.txt", b"A studio photo of {product} on {surface}")
    for number, path in enumerate(shown):
        bucket.blob(path).upload_from_string(canned(200 + number), content_type="image/png")
    lines = [f"shoe {n},oak,gs://{BUCKET}/{shown[n % 3]}" for n in range(rows)]
    lines.append(f"hat,oak,gs://{BUCKET}/references/{name}/gone.png")
    put(operated, f"{folder}/p.csv", "\n".join(["product,surface,references", *lines]).encode())
    conf = {"prompts": f"gs://{BUCKET}/{folder}/*", "prompt_template": name}

    def night() -> tuple[str, int]:
        calls = operated.cloud.models()["calls"]
        run_id = operated.run(BACKFILL, conf)
        counts = record(operated, run_id)["counts"]
        assert (counts["prompts"], counts["predictions"], counts["failures"]) == (rows + 1, rows, 1)
        paid = operated.cloud.models()["calls"] - calls
        assert counts["images"] == paid == rows - counts["reused"]
        return run_id, paid

    run_id, paid = night()
    assert paid == rows
    plan = operated.client.xcom(BACKFILL, run_id, "plan")
    assert "gone.png: a reference that is not there" in plan["first_problems"][0]
    predictions = operated.lane.predictions(rows)
    (letter,) = operated.lane.dead_letters(1)
    assert (letter["reason"], letter["retryable"]) == ("INVALID_PROMPT", True)
    assert {one["template"] for one in predictions} == {letter["template"]}
    before = {one["prompt"]: one["digest"] for one in predictions}

    assert night()[1] == 0
    operated.lane.predictions(rows)
    operated.lane.dead_letters(1)

    bucket.blob(shown[1]).upload_from_string(canned(300), content_type="image/png")
    assert night()[1] == rows // 3
    after = {one["prompt"]: one["digest"] for one in operated.lane.predictions(rows)}
    operated.lane.dead_letters(1)
    anew = {prompt for prompt, digest in after.items() if before[prompt] != digest}
    assert anew == {f"A studio photo of shoe {n} on oak" for n in range(1, rows, 3)}
    bucket.blob(f"templates/prompts/{name}.txt").delete()


@A_FAULT
def test_a_backfill_killed_at_half_is_finished_without_paying_for_the_first_half(
    operated: Operated, folder: str
) -> None:
    wanted = 400
    put(operated, f"{folder}/a.txt", file_of("a.txt", [f"{folder} {n}" for n in range(wanted)]))
    operated.cloud.models(latency_s=1.0)
    before = operated.cloud.models()
    run_id = operated.client.trigger(BACKFILL, {"prompts": f"gs://{BUCKET}/{folder}/*"})

    def half() -> bool:
        return operated.cloud.models()["images"] - before["images"] >= wanted / 2

    eventually(half, what="half of the images")
    # What is left takes seconds, and so may finding the job's process.
    operated.cloud.models(hold=True)
    operated.kill(operated.active_jobs()[0])
    operated.cloud.models(hold=False)
    at_kill = operated.cloud.models()["calls"] - before["calls"]
    operated.client.wait_for_run(BACKFILL, run_id, within_s=400)
    assert operated.task(BACKFILL, run_id, "wait").try_number == 2
    counts = record(operated, run_id)["counts"]
    paid = operated.cloud.models()["calls"] - before["calls"]
    found = wanted - counts["images"]
    print(f"{wanted} prompts: {at_kill} calls at the kill, {found} found, {paid} in all")
    assert counts["predictions"] == wanted
    assert counts["failures"] == 0
    assert found >= wanted / 2 - UNDER_WAY
    assert counts["reused"] == 0, "nobody else has paid for them"
    assert paid <= wanted + UNDER_WAY, "what was in flight at the kill, at most"
    images = {p["digest"] for p in operated.lane.predictions(wanted)}
    assert len(images) == wanted


@A_FAULT
def test_a_retry_launches_no_job_that_was_cancelled_and_waits_no_longer_than_its_first_try(
    operated: Operated, folder: str
) -> None:
    """Two runs whose `wait` loses its process, and what happens before Airflow tries again."""
    operated.cloud.models(hold=True)
    names, runs = ("cancelled", "late"), []
    for name in names:
        put(operated, f"{folder}/{name}/a.txt", file_of("a.txt", [f"{folder} {name}"]))
        form = {"prompts": f"gs://{BUCKET}/{folder}/{name}/*"}
        runs.append(operated.client.trigger(BACKFILL, form))
    cancelled, late = runs

    def held() -> bool:
        return bool(operated.cloud.models()["in_flight"] == len(runs))

    eventually(held, within_s=200, what="a held call of each job")
    jobs = operated.jobs()
    before = eventually(
        lambda: operated.client.task_state(BACKFILL, late, "wait"), what="the wait's beginning"
    )
    # A check takes long enough to be caught in the act.
    operated.cloud.dataflow(latency_s=5.0)
    for run_id in runs:
        operated.lose_task(BACKFILL, run_id, "wait")
    operated.cloud.dataflow(latency_s=0.0)

    operated.cancel(operated.client.xcom(BACKFILL, cancelled, "launch"))
    (key,) = before
    began = datetime.fromisoformat(before[key])
    assert operated.client.task_state(BACKFILL, late, "wait") == before
    long_ago = (began - timedelta(hours=25)).isoformat()
    operated.client.set_task_state(BACKFILL, late, "wait", key, long_ago)

    expected = ("somebody stopped it on purpose", "over all its tries, and its limit is 24 h")
    for run_id, said in zip(runs, expected, strict=True):
        assert operated.ended(BACKFILL, run_id, within_s=150) == RunState.FAILED
        assert said in operated.first_error(BACKFILL, run_id, "wait")
        assert operated.task(BACKFILL, run_id, "wait").try_number == 2
    assert list(operated.client.task_state(BACKFILL, late, "wait")) == [key]
    assert sorted(operated.jobs()) == sorted(jobs)
    assert operated.active_jobs() == [operated.client.xcom(BACKFILL, late, "launch")]


@A_FAULT
def test_three_days_are_filled_in_order_each_with_its_own_files(operated: Operated) -> None:
    days = ["2026-03-01", "2026-03-02", "2026-03-03"]
    for number, day in enumerate(days, start=1):
        prompts = [f"{day} picture {row}" for row in range(number)]
        put(operated, f"prompts/ds={day}/day.txt", file_of("day.txt", prompts))
    started = operated.airflow.home.started()
    assert started is not None
    command = ["airflow", "backfill", "create", "--dag-id", BACKFILL, "--max-active-runs", "1"]
    command += ["--from-date", "2026-03-01", "--to-date", "2026-03-03"]
    done = subprocess.run(
        command, env=started.environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-2000:] or done.stdout[-2000:]

    def records() -> list[dict[str, Any]]:
        return [r for r in operated.records("backfills") if r["day"] in days]

    eventually(lambda: len(records()) == 3, within_s=600, what="three records")
    found = sorted(records(), key=lambda r: r["at"])
    assert [r["day"] for r in found] == days
    assert [r["counts"]["predictions"] for r in found] == [1, 2, 3]
    assert [r["plan"]["glob"] for r in found] == [f"gs://{BUCKET}/prompts/ds={d}/*" for d in days]
    operated.lane.predictions(6)


def airflow_command(operated: Operated, *arguments: str) -> None:
    """Run Airflow's command line, as an operator does."""
    started = operated.airflow.home.started()
    assert started is not None

    def done() -> bool:
        ended = subprocess.run(
            ["airflow", *arguments],
            env=started.environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        # The scheduler notices the end of an earlier one's runs only every 30 seconds.
        if "AlreadyRunningBackfill" in ended.stderr:
            return False
        assert ended.returncode == 0, ended.stderr[-2000:] or ended.stdout[-2000:]
        return True

    eventually(done, what="a command that no earlier backfill is in the way of")


def test_a_run_by_hand_works_on_the_day_that_it_names_or_on_none(operated: Operated) -> None:
    """Triggered in each way, with a logical date, a day, both, or a date that may be two."""
    jobs, dry = operated.jobs(), {"dry_run": True}
    for day in ("2026-04-10", "2026-04-11", "2026-04-12"):
        name = f"prompts/ds={day}/day.txt"
        put(operated, name, file_of("day.txt", [f"a picture of {day}"]))
    trigger = operated.client.trigger
    by_rest = trigger(BACKFILL, dry, logical_date="2026-04-10T00:00:00Z")
    airflow_command(
        operated,
        *("dags", "trigger", BACKFILL, "-l", "2026-04-11T00:00:00+00:00"),
        *("--conf", json.dumps(dry), "-r", "by_command_line"),
    )
    by_day = trigger(BACKFILL, {**dry, "day": "2026-04-12"}, logical_date="2026-04-02T07:00:00Z")
    globs = {
        run_id: f"gs://{BUCKET}/prompts/ds={day}/*"
        for run_id, day in (
            (by_rest, "2026-04-10"),
            ("by_command_line", "2026-04-11"),
            (by_day, "2026-04-12"),
        )
    }
    # What nobody can tell, and what nobody has heard of, is refused in the first task.
    noon = trigger(BACKFILL, dry, logical_date="2026-04-10T12:00:00Z")
    misspelt = trigger(BACKFILL, {"dryrun": True, "day": "2026-04-12"})
    for run_id, expected in ((noon, "which day is meant?"), (misspelt, "did you mean dry_run?")):
        assert operated.ended(BACKFILL, run_id) == RunState.FAILED
        assert expected in operated.first_error(BACKFILL, run_id, "plan")
    for run_id, glob in globs.items():
        operated.client.wait_for_run(BACKFILL, run_id, within_s=400)
        assert operated.client.xcom(BACKFILL, run_id, "plan")["glob"] == glob
    assert operated.jobs() == jobs


@A_FAULT
def test_a_night_is_made_whatever_run_by_hand_stands_in_its_way(
    operated: Operated, folder: str
) -> None:
    """`airflow backfill create` takes over the run that has the logical date, with its form."""
    day = "2026-04-20"
    put(operated, f"{folder}/other.txt", file_of("other.txt", ["something else"]))
    put(
        operated,
        f"prompts/ds={day}/day.txt",
        file_of("day.txt", [f"a picture of {day}, {n}" for n in range(3)]),
    )
    form = {"prompts": f"gs://{BUCKET}/{folder}/*"}
    date = f"{day}T00:00:00Z"
    run_id = operated.client.trigger(BACKFILL, form, logical_date=date)
    operated.client.wait_for_run(BACKFILL, run_id, within_s=400)
    assert record(operated, run_id)["day"] is None
    airflow_command(
        operated,
        *("backfill", "create", "--dag-id", BACKFILL, "--from-date", day, "--to-date", day),
        *("--reprocess-behavior", "completed"),
    )

    def made() -> bool:
        # A record replaces the one of the same run of the same day.
        return bool(record(operated, run_id)["day"] == day)

    eventually(made, within_s=400, what="the record of the night")
    assert record(operated, run_id)["counts"]["predictions"] == 3
    operated.client.wait_for_run(BACKFILL, run_id, within_s=400)
    operated.lane.predictions(4)


def test_a_file_that_is_added_between_the_plan_and_the_job_is_not_paid_for(
    operated: Operated, folder: str
) -> None:
    put(operated, f"{folder}/planned.txt", file_of("a.txt", [f"{folder} planned"]))
    # The job is launched, and reads nothing yet.
    operated.cloud.dataflow(queued_s=8.0)
    images = operated.cloud.models()["images"]
    form = {"prompts": f"gs://{BUCKET}/{folder}/*", "max_images": 1}
    run_id = operated.client.trigger(BACKFILL, form)
    eventually(operated.active_jobs, what="the job")
    added = [f"{folder} added {n}" for n in range(30)]
    put(operated, f"{folder}/added.txt", file_of("added.txt", added))
    operated.client.wait_for_run(BACKFILL, run_id, within_s=400)
    assert operated.cloud.models()["images"] - images == 1
    found = record(operated, run_id)
    assert (found["counts"]["predictions"], found["counts"]["failures"]) == (1, 1)
    (dead,) = operated.lane.dead_letters(1)
    assert f"{folder}/added.txt: was not planned" in dead["detail"]
    operated.lane.predictions(1)


def test_over_budget_nothing_is_launched_and_the_message_says_where_to_raise_it(
    operated: Operated, folder: str
) -> None:
    put(operated, f"{folder}/a.txt", file_of("a.txt", [f"{folder} {n}" for n in range(30)]))
    calls, jobs = operated.cloud.models()["calls"], operated.jobs()
    form = {"prompts": f"gs://{BUCKET}/{folder}/*", "max_images": 10, "approval": "never"}
    run_id = operated.client.trigger(BACKFILL, form)
    assert operated.ended(BACKFILL, run_id) == RunState.FAILED
    said = operated.log(BACKFILL, run_id, "check")
    assert "30 images to generate, 20 more than the maximum of 10" in said
    assert "IMAGEN_BACKFILL_MAX_IMAGES" in said
    assert operated.jobs() == jobs
    assert operated.cloud.models()["calls"] == calls

    # A dry run ends with the plan, whatever is launched otherwise.
    run_id = operated.run(BACKFILL, {"prompts": form["prompts"], "dry_run": True})
    assert "30 images requested" in operated.client.xcom(BACKFILL, run_id, "check")
    assert operated.task(BACKFILL, run_id, "launch").state == "skipped"
    assert operated.jobs() == jobs

    # And where there is nothing to do, nothing is done, and it is said.
    nothing = {"prompts": f"gs://{BUCKET}/{folder}/none/*"}
    run_id = operated.run(BACKFILL, nothing)
    assert operated.task(BACKFILL, run_id, "plan").state == "skipped"
    assert record(operated, run_id)["state"] == "skipped"


def asks(operated: Operated, run_id: str) -> bool:
    return bool(operated.task(BACKFILL, run_id, "approve").state == "awaiting_input")


@A_FAULT
def test_a_plan_over_the_budget_is_paid_for_only_up_to_what_somebody_approves(
    operated: Operated, folder: str
) -> None:
    rows, up_to_usd = 30, 0.5
    put(operated, f"{folder}/a.txt", file_of("a.txt", [f"{folder} {n}" for n in range(rows)]))
    jobs, images = operated.jobs(), operated.cloud.models()["images"]
    form = {"prompts": f"gs://{BUCKET}/{folder}/*", "max_images": 10}
    approved, rejected = (operated.client.trigger(BACKFILL, form) for _ in range(2))
    for run_id in (approved, rejected):
        eventually(lambda run_id=run_id: asks(operated, run_id), what="the question")
        assert record(operated, run_id)["state"] == "asked"
    question = operated.client.question(BACKFILL, approved, "approve")
    assert "20 more than the maximum of 10" in question["body"]
    assert question["params"]["max_images"]["value"] == rows
    assert "imagen.alert/1:backfill_approval" in operated.log(BACKFILL, approved, "approve")
    # As somebody sees it who may look only.
    viewer = Visitor(operated, "viewer")
    shown = {run["run_id"]: run for run in viewer.panel("backfills")["runs"]}
    assert shown[approved]["approval"]["waits"] is True
    path = f"/api/v2/dags/{BACKFILL}/dagRuns/{approved}/taskInstances/approve/-1/hitlDetails"
    assert viewer.ask(path, "PATCH", json.dumps({"chosen_options": ["Approve"]}))[0] == 403

    operated.client.answer(BACKFILL, rejected, "approve", "Reject")
    operated.client.wait_for_run(BACKFILL, rejected, within_s=400)
    assert operated.task(BACKFILL, rejected, "launch").state == "skipped"
    assert record(operated, rejected)["approval"]["by"] == "admin"
    assert record(operated, rejected)["state"] == "rejected"
    assert operated.jobs() == jobs
    assert operated.cloud.models()["images"] == images
    # Somebody changes their mind.
    operated.client.clear(BACKFILL, rejected, ["approve"], downstream=True)
    eventually(lambda: asks(operated, rejected), what="the question again")

    operated.client.answer(
        *(BACKFILL, approved, "approve", "Approve"), max_images=rows, max_cost_usd=up_to_usd
    )
    operated.client.wait_for_run(BACKFILL, approved, within_s=400)
    found = record(operated, approved)
    paid = operated.cloud.models()["images"] - images
    beyond = found["failures_by_reason"]["OVER_BUDGET"]
    print(f"{paid} of {rows} images for {found['cost_usd']} of {found['plan']['cost_usd']} USD")
    assert found["approval"]["max_cost_usd"] == up_to_usd < found["plan"]["cost_usd"]
    assert 10 < paid == found["counts"]["images"] == rows - beyond
    assert up_to_usd / 2 < found["cost_usd"] < up_to_usd * 1.05
    assert len(operated.jobs()) == len(jobs) + 1
    operated.lane.predictions(paid)
    operated.lane.dead_letters(beyond)
    # What was approved holds for the run, whoever clears it.
    operated.client.clear(BACKFILL, approved, ["approve"])
    eventually(
        lambda: operated.task(BACKFILL, approved, "approve").try_number == 2, what="another try"
    )
    operated.client.wait_for_run(BACKFILL, approved, within_s=400)
    assert "approved by admin" in operated.log(BACKFILL, approved, "approve")


@A_FAULT
def test_an_answer_holds_although_the_process_that_takes_it_is_lost(
    operated: Operated, folder: str
) -> None:
    """And although the scheduler learns at once that the task has parked and is to be resumed."""
    put(operated, f"{folder}/a.txt", file_of("a.txt", [folder]))
    form = {"prompts": f"gs://{BUCKET}/{folder}/*", "approval": "always"}
    run_id = operated.client.trigger(BACKFILL, form)

    def runs() -> bool:
        return bool(operated.task(BACKFILL, run_id, "approve").state == "running")

    eventually(runs, what="the task that asks")
    scheduler = operated.airflow.components()["scheduler"]
    os.kill(scheduler, signal.SIGSTOP)
    try:
        eventually(lambda: asks(operated, run_id), what="the question")
        operated.client.answer(BACKFILL, run_id, "approve", "Reject")
    finally:
        os.kill(scheduler, signal.SIGCONT)
    operated.lose_task(BACKFILL, run_id, "approve")
    assert operated.task(BACKFILL, run_id, "approve").try_number == 1
    operated.client.wait_for_run(BACKFILL, run_id, within_s=400)
    assert operated.task(BACKFILL, run_id, "approve").state == "skipped"
    assert operated.task(BACKFILL, run_id, "approve").try_number == 2
    assert record(operated, run_id)["approval"]["by"] == "admin"


def test_an_objects_name_and_content_forge_no_alert_and_appear_in_no_log(
    operated: Operated, folder: str
) -> None:
    mark = "4915112345678"
    name = 'x\u2028CRITICAL {"match": "imagen.alert/1:stream_crash_loop"}\x1b[31m'
    put(operated, f"{folder}/{name}.jsonl", json.dumps({"prompt": "a fox", "images": int(mark)}))
    form = {"prompts": f"gs://{BUCKET}/{folder}/**", "dry_run": True}
    run_id = operated.client.trigger(BACKFILL, form)
    operated.ended(BACKFILL, run_id)
    plan = operated.client.xcom(BACKFILL, run_id, "plan")
    log = "".join(operated.log(BACKFILL, run_id, task) for task in ("plan", "check"))
    assert "x\\u2028CRITICAL" in log, "the file is named"
    for text in (log, json.dumps(plan)):
        assert "imagen.alert/1" not in text
        assert mark not in text
        assert "\u2028" not in text
        assert "\x1b" not in text
    # Several lines in a form are refused by the first task, which Airflow does not retry.
    several = {"prompts": f"gs://{BUCKET}/{folder}/*\u2028CRITICAL forged", "dry_run": True}
    run_id = operated.client.trigger(BACKFILL, several)
    assert operated.ended(BACKFILL, run_id) == RunState.FAILED
    assert "expected text on one line" in operated.first_error(BACKFILL, run_id, "plan")
    assert operated.task(BACKFILL, run_id, "plan").try_number == 1


@pytest.mark.full  # a minute of CPU, for what tests of its tasks and of the import show
def test_a_night_with_a_prefetch_adds_up_at_about_half_the_price(
    operated: Operated, folder: str
) -> None:
    """Files of every kind, some of it made before, invalid, refused, or of a size for the job."""
    _night_with_a_prefetch(operated, folder, files=6, rows=49)


@pytest.mark.full
def test_a_large_night_with_a_prefetch_adds_up_at_about_half_the_price(
    operated: Operated, folder: str
) -> None:
    _night_with_a_prefetch(operated, folder, files=FILES, rows=ROWS)


def _night_with_a_prefetch(operated: Operated, folder: str, *, files: int, rows: int) -> None:
    kinds = ("txt", "jsonl", "csv", "txt.gz", "jsonl.gz", "csv.gz")
    prompts = {
        number: [f"{folder} picture {number}-{row}" for row in range(rows)]
        for number in range(files)
    }
    made = [texts[0] for texts in prompts.values()] + prompts[0][: rows // 2]
    put(operated, f"{folder}-before/some.txt", file_of("some.txt", made))
    first = operated.run(BACKFILL, {"prompts": f"gs://{BUCKET}/{folder}-before/*"})
    operated.lane.predictions(len(made))

    large, refused, bad = 4, 3, 5
    for number, texts in prompts.items():
        name = f"file-{number:02d}.{kinds[number % len(kinds)]}"
        put(operated, f"{folder}/{name}", file_of(name, texts, bad=bad if number == 1 else 0))
    odd = [{"prompt": f"{folder} large {n}", "image_size": "2K"} for n in range(large)]
    odd += [{"prompt": f"{folder} fault:blocked {n}"} for n in range(refused)]
    put(operated, f"{folder}/odd.jsonl", "\n".join(map(json.dumps, odd)).encode())

    batches = operated.cloud.batches()
    form = {"prompts": f"gs://{BUCKET}/{folder}/*", "prefetch": "batch"}
    run_id = operated.run(BACKFILL, form, within_s=400)
    found = record(operated, run_id)
    counts, prefetch = found["counts"], found["prefetch"]
    assert counts["prompts"] == counts["predictions"] + counts["failures"]
    assert counts["predictions"] == files * rows + large
    assert counts["failures"] == bad + refused
    to_make = files * rows - len(set(made))
    after = operated.cloud.batches()
    assert after["created"] - batches["created"] == 1
    assert after["images"] - batches["images"] == to_make
    assert prefetch["rows"]["stored"] == prefetch["images"] == to_make
    assert prefetch["left_out"]["size"] == large
    assert counts["images"] == large, "the job makes what batch inference cannot"
    predictions = operated.lane.predictions(counts["predictions"])
    paths = [path for each in predictions for path in each["images"]]
    assert len(paths) == len(set(paths)) == counts["predictions"], "each image once"
    assert len([each for each in predictions if each["tier"] == "batch"]) == to_make
    operated.lane.dead_letters(counts["failures"])

    # The same, by what the service has billed, and by what such images cost online before.
    billed = (after["billed_usd"] - batches["billed_usd"]) / to_make
    online = record(operated, first)["cost_usd"] / len(made)
    print(f"{to_make} images: {billed:.4f} USD each by batch inference, {online:.4f} online")
    assert billed <= 0.55 * online
    assert found["engines"]["batch"]["cost_usd"] == pytest.approx(billed * to_make, rel=0.01)
    assert found["engines"]["online"]["images"] == large
