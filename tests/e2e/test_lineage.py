"""What Airflow's OpenLineage provider tells of a night, of a stream, and of a replay."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.airflow import Airflow
from tests import openlineage
from tests.composer_packages import python_path
from tests.conftest import BUCKET, PROJECT, Cloud, eventually
from tests.e2e.conftest import PATIENT, SETTINGS, Operated

# An Airflow of its own: the provider makes each task slower.
pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

BACKFILL, START, REPLAY = "imagen_backfill", "imagen_stream_start", "imagen_dead_letters_replay"
PROMPT = "a very private fox"
IMAGES = f"gs://{BUCKET} images"
WRITTEN = {
    IMAGES,
    *(f"pubsub topic:{PROJECT}:{name}" for name in ("predictions", "dead-letters")),
    *(f"bigquery {PROJECT}.rows.{name}" for name in ("predictions", "dead_letters")),
}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lineage") / "events.jsonl"


@pytest.fixture(scope="module")
def airflow(
    _cloud: Cloud, events: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Airflow]:
    airflow = Airflow(tmp_path_factory.mktemp("airflow"))
    settings = SETTINGS | PATIENT | openlineage.settings(events)
    settings |= {
        "IMAGEN_BIGQUERY_DATASET": "rows",
        "PYTHONPATH": python_path("airflow.providers.openlineage"),
    }
    airflow.start(_cloud.environment, settings=settings)
    try:
        airflow.wait_until_ready(within_s=400)
        yield airflow
    finally:
        airflow.stop()


def test_events_name_what_runs_read_and_write_and_nothing_that_people_entered(
    operated: Operated, events: Path
) -> None:
    name = "prompts/of-the-lineage-test/files"
    blob = operated.lane.storage.bucket(BUCKET).blob(f"{name}/some.txt")
    blob.upload_from_string(f"{PROMPT}\n")
    conf = {"prompts": f"gs://{BUCKET}/{name}/*.txt", "max_images": 7654321}
    night = operated.run(BACKFILL, conf)
    operated.lane.predictions(1)
    start = operated.run(START, {"max_in_flight": 17})
    operated.lane.publish(f"{PROMPT} of the stream")
    operated.lane.predictions(1)
    replay = operated.run(REPLAY, {"most": 123})

    def told() -> set[str]:
        ended = [e for e in openlineage.read(events) if e["eventType"] == "COMPLETE"]
        return {e["job"]["name"] for e in ended}

    tasks = {f"{BACKFILL}.reconcile", f"{START}.wait_for_canary", f"{REPLAY}.replay"}
    eventually(lambda: tasks | {BACKFILL, START, REPLAY} <= told(), what="an event of each end")
    all_events = openlineage.read(events)
    assert len(all_events) > 30
    assert [
        (e["job"]["name"], openlineage.problems(e)) for e in all_events if openlineage.problems(e)
    ] == []

    # Airflow runs the night that is due by itself, too, which reads other files.
    runs = {BACKFILL: night, START: start, REPLAY: replay}

    def of(task: str, kind: str) -> set[str]:
        run_id = runs[task.partition(".")[0]]
        events = [e for e in all_events if e["job"]["name"] == task and run_id in json.dumps(e)]
        assert events, f"no event of {task} in {run_id}"
        return openlineage.datasets(events, kind)

    files = f"gs://{BUCKET} {name}"
    assert of(f"{BACKFILL}.plan", "inputs") == {files}
    assert of(f"{BACKFILL}.wait", "inputs") == {files}
    assert of(f"{BACKFILL}.wait", "outputs") == WRITTEN
    assert of(f"{START}.launch", "inputs") == {f"pubsub topic:{PROJECT}:prompts"}
    assert of(f"{START}.launch", "outputs") == WRITTEN
    assert of(f"{REPLAY}.replay", "inputs") == {f"pubsub topic:{PROJECT}:dead-letters"}
    assert of(f"{REPLAY}.replay", "outputs") == {
        f"pubsub topic:{PROJECT}:prompts",
        f"gs://{BUCKET} dead-letters",
    }
    assert of(f"{BACKFILL}.check", "inputs") == set()

    text = json.dumps(all_events)
    for entered in (PROMPT, "7654321", "*.txt", '"most"', '"conf"', '"note"', "hitl_summary"):
        assert entered not in text, entered
