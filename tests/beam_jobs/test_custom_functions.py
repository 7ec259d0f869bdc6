"""Both jobs with custom functions against the local cloud: what is paid for and published."""

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from beam_jobs import backfill
from beam_jobs.cli import erase
from beam_jobs.custom import preprocess
from beam_jobs.images import recent_index
from beam_jobs.images.location import Location
from tests import custom_functions
from tests.canaries import canary, keys_object
from tests.conftest import Cloud, Lane

pytestmark = pytest.mark.slow

NAMES = {
    name: f"tests.custom_functions:{name}"
    for name in ("three", "nondeterministic", "by_its_text", "signed")
}


def report_of(lane: Lane, tmp_path: Path, prompts: str, **options: object) -> dict[str, Any]:
    report = tmp_path / "report.json"
    assert backfill.main(lane.options(prompts=prompts, report=report, **options)) == 0
    content: dict[str, Any] = json.loads(report.read_text())
    return content


def test_a_row_that_becomes_three_prompts_has_three_predictions(
    cloud: Cloud, lane: Lane, tmp_path: Path
):
    rows = ['{"prompt": "A fox", "id": "fox-1"}', '{"prompt": "An owl"}', '{"prompt": 5}']
    prompts = lane.put("night/a.jsonl", "\n".join(rows))
    before = cloud.models()["images"]
    report = report_of(lane, tmp_path, prompts, preprocess=NAMES["three"])
    assert (report["rows"], report["prompts"]) == (3, 7)
    assert (report["predictions"], report["failures"]) == (6, 1)
    predictions = lane.predictions(6)
    assert {one["prompt"] for one in predictions} >= {"A fox, in spring", "An owl, in autumn"}
    fox = {one["prompt_id"] for one in predictions if one["prompt"].startswith("A fox")}
    assert fox == {"fox-1#1", "fox-1#2", "fox-1#3"}
    assert len({one["deduplication_key"] for one in predictions}) == 6
    assert len({one["digest"] for one in predictions}) == 6
    again = report_of(lane, tmp_path, prompts, preprocess=NAMES["three"])
    assert (again["reused"], again["images"]) == (6, 0)
    assert cloud.models()["images"] - before == 6


def test_a_budget_counts_what_is_generated_and_not_the_rows(lane: Lane, tmp_path: Path):
    prompts = lane.put("night/a.txt", f"{lane.name} fox\n{lane.name} owl\n")
    report = report_of(
        lane, tmp_path, prompts, preprocess=NAMES["three"], max_images=4, source="backfill:b"
    )
    assert (report["rows"], report["prompts"], report["images"]) == (2, 6, 4)
    assert report["failures_by_reason"] == {"OVER_BUDGET": 2}


def test_a_stream_pays_once_for_what_is_delivered_again_whatever_the_function_says_now(
    cloud: Cloud, lane: Lane, start_stream: Any
):
    options = {"preprocess": NAMES["nondeterministic"], "postprocess": NAMES["signed"]}
    stream = start_stream(**options)
    before = cloud.models()["images"]
    body = {"prompt": f"{lane.name} fox", "id": "fox-1"}
    lane.publish(body)
    first = lane.predictions(2)
    assert stream.drain() == "DRAINED"
    # Another worker, as after a crash or with a message that Pub/Sub delivers again.
    start_stream(**options)
    lane.publish(body)
    again = lane.predictions(2)
    for name in ("deduplication_key", "digest", "prompt", "prompt_id"):
        assert {one[name] for one in again} == {one[name] for one in first}, name
    assert all(one["reused"] for one in again)
    assert cloud.models()["images"] - before == 2
    stored = lane.objects("images/")
    published = {path.partition(f"{lane.name}/")[2] for one in first for path in one["images"]}
    assert all(stored[name].endswith(b"signed") for name in published)
    raw = {name for name in stored if name.endswith(".png")} - published
    assert len(raw) == 2
    assert not any(stored[name].endswith(b"signed") for name in raw)


def test_hostile_answers_cost_one_prompt_each_and_the_job_goes_on(
    lane: Lane, start_stream: Any, caplog: pytest.LogCaptureFixture
):
    stream = start_stream(preprocess=NAMES["by_its_text"])
    words = ("raise", "exit", "nothing", "empty", "many", "wrong", "refuse", "fail")
    lane.publish(*(f"{word} a secret" for word in words), "draw a fox", b"\xff", tenant="a")
    failures = lane.dead_letters(len(words) + 1)
    (prediction,) = lane.predictions(1)
    assert prediction["prompt"] == "draw a fox!"
    assert Counter(one["reason"] for one in failures) == {
        "CUSTOM_FUNCTION_FAILED": 6,
        "BLOCKED": 1,
        "UNAVAILABLE": 1,
        "INVALID_PROMPT": 1,
    }
    bodies = {base64.b64decode(one["body"]) for one in failures}
    assert bodies == {b"\xff", *(f"{word} a secret".encode() for word in words)}
    assert all(one["attributes"] == {"tenant": "a"} for one in failures)
    assert "secret" not in caplog.text
    assert stream.drain() == "DRAINED"
    counters = stream.counters()
    assert counters["prompts"] == 10 == counters["predictions"] + counters["failures"]


def test_a_function_that_hangs_holds_no_other_prompt(
    lane: Lane, start_stream: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(preprocess.Preprocess.__init__, "__kwdefaults__", {"timeout_s": 1.0})
    custom_functions.let_go.clear()
    start_stream(preprocess=NAMES["by_its_text"])
    lane.publish("hang on", "draw an owl")
    (failure,) = lane.dead_letters(1)
    assert "did not return within 1 s" in failure["detail"]
    assert failure["retryable"]
    assert lane.predictions(1)[0]["prompt"] == "draw an owl!"
    custom_functions.let_go.set()


def test_a_canary_never_meets_a_function(lane: Lane, start_stream: Any):
    custom_functions.seen.clear()
    keys = lane.put("keys.json", keys_object())
    start_stream(preprocess="tests.custom_functions:noted", canary_keys=keys)
    lane.publish(b"", **canary())
    lane.publish("A fox")
    predictions = lane.predictions(2)
    assert sorted(len(one["images"]) for one in predictions) == [0, 1]
    assert [prompt.text for prompt in custom_functions.seen] == ["A fox"]


def test_what_is_left_of_a_prompt_is_erased_with_the_image_that_the_model_made(
    lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("beam_jobs.cli.erase.ARCHIVE_FOLDER", f"{lane.name}/dead-letters")
    prompts = lane.put("night/a.jsonl", '{"prompt": "A fox", "id": "fox-1"}\n')
    functions = {"preprocess": NAMES["three"], "postprocess": NAMES["signed"]}
    report_of(lane, tmp_path, prompts, **functions, thumbnails="off")
    recent_index.flush()
    # Three images of the function's, three of the model's, a record of each, and who claimed them.
    kinds = Counter(Path(name).suffix for name in lane.objects("images/"))
    assert (kinds[".png"], kinds[".json"], kinds[".claim"]) == (6, 6, 3)
    location = Location.parse(lane.images_location)
    traces = erase.find(erase.Wanted(prompt_id="fox-1"), location, "demo-project")
    assert len(traces.objects) == 15
    traces.erase()
    assert lane.objects("images/") == {}
