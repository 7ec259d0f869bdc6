"""The whole streaming job against the local cloud: each prompt ends in exactly one outcome."""

import base64
import functools
import os
import re
import signal
import subprocess
import sys
from collections import Counter

import pytest

from beam_jobs.catalog import DEFAULT_MODEL
from beam_jobs.engine.hold import HoldPolicy
from beam_jobs.engine.image_maker import ROOM_OVER_IN_FLIGHT
from tests.conftest import BUCKET

pytestmark = pytest.mark.slow

OLD_MODEL = "gemini-3.1-flash-image"
ENDPOINT = "projects/demo-project/locations/us-central1/endpoints/1234"
# The job, which waits up to a minute to write its last index entries: on a busy machine, storage
# may take longer for them than a process normally waits.
PATIENT = """
import sys

from beam_jobs import stream
from beam_jobs.images import recent_index
recent_index.flush.__defaults__ = (60.0,)
raise SystemExit(stream.main(sys.argv[1:]))
"""


def test_every_prompt_leaves_as_exactly_one_prediction_or_dead_letter(lane, start_stream):
    good = ["A fox", "雪の中の柴犬", {"prompt": "Two foxes", "images": 2, "aspect_ratio": "16:9"}]
    bad = [b"\xff\xfe", "", {"prompt": "x", "imges": 2}, {"prompt": 5}, '{"prompt": ']
    refused = ["fault:blocked", "fault:blocked-image", "fault:invalid"]
    stream = start_stream()
    lane.publish(*good, *(body or b" " for body in bad), *refused)
    predictions = lane.predictions(3)
    failures = lane.dead_letters(8)
    assert stream.drain() == "DRAINED"
    assert lane.nothing_left("predictions")
    assert lane.nothing_left("dead-letters")
    assert lane.nothing_left("prompts")
    assert Counter(one["reason"] for one in failures) == {
        "INVALID_PROMPT": 5,
        "BLOCKED": 2,
        "MODEL_ERROR": 1,
    }
    counters = stream.counters()
    assert counters["prompts"] == 11 == counters["predictions"] + counters["failures"]
    assert sorted(one["prompt"] for one in predictions) == ["A fox", "Two foxes", "雪の中の柴犬"]


def test_a_day_has_its_budget_whatever_is_restarted_and_the_rest_can_be_replayed(
    cloud, lane, start_stream
):
    for blob in lane.storage.list_blobs(BUCKET, prefix="jobs/budgets/stream/"):
        blob.delete()
    before = cloud.models()["images"]
    budgets = {"max_images_per_hour": 100, "max_images_per_day": 3}
    stream = start_stream(**budgets)
    lane.publish(*(f"{lane.name} {number}" for number in range(5)))
    lane.predictions(3)
    (first, second) = lane.dead_letters(2)
    assert (first["reason"], second["reason"]) == ("OVER_BUDGET", "OVER_BUDGET")
    assert first["retryable"]
    told = r"--max_images_per_day is 3 images, .* starts anew at \S+ 00:00 UTC"
    assert re.search(told, first["detail"])
    stream.drain()
    start_stream(**budgets)
    lane.publish(f"{lane.name} after a restart")
    assert lane.dead_letters(1)[0]["reason"] == "OVER_BUDGET"
    assert cloud.models()["images"] - before == 3


def test_a_prediction_names_images_that_exist(lane, start_stream):
    start_stream()
    lane.publish({"prompt": "Four moods", "images": 4, "id": "order-7"}, tenant="a")
    (prediction,) = lane.predictions(1)
    digest = prediction["digest"]
    assert prediction["schema"] == "imagen.prediction/1"
    assert prediction["prompt_id"] == "order-7"
    assert prediction["source"] == "stream"
    assert prediction["images"] == [
        f"{lane.images_location}/{digest[:2]}/{digest}-{index}.png" for index in range(4)
    ]
    assert prediction["message_attributes"] == {
        "tenant": "a",
        "prompt_id": "order-7",
        "deduplication_key": prediction["deduplication_key"],
        "source": "stream",
    }
    stored = lane.objects(f"images/{digest[:2]}/")
    assert sorted(stored) == sorted(
        [f"images/{digest[:2]}/{digest}.{kind}" for kind in ("json", "claim")]
        + [f"images/{digest[:2]}/{digest}-{index}.png" for index in range(4)]
    )
    assert all(data[:4] == b"\x89PNG" for name, data in stored.items() if name.endswith("png"))


def test_a_dead_letter_carries_the_original_for_replay(lane, start_stream):
    start_stream()
    body = b'{"prompt": "x", "images": 9}'
    lane.publish(body, tenant="a")
    (failure,) = lane.dead_letters(1)
    assert failure["schema"] == "imagen.failure/1"
    assert base64.b64decode(failure["body"]) == body
    assert failure["attributes"] == {"tenant": "a"}
    assert failure["retryable"] is False
    assert "'images'" in failure["detail"]
    assert failure["message_attributes"]["reason"] == "INVALID_PROMPT"


def test_the_same_prompts_sent_three_times_are_paid_for_once(cloud, lane, start_stream):
    start_stream()
    before = cloud.models()["images"]
    prompts = [f"One of a kind, {n}" for n in range(20)]
    lane.publish(*prompts, *prompts)
    first = lane.predictions(40)
    lane.publish(*prompts)
    again = lane.predictions(20)
    assert cloud.models()["images"] - before == 20
    paths = {one["prompt"]: one["images"] for one in first}
    assert len(paths) == 20
    assert all(one["reused"] and one["images"] == paths[one["prompt"]] for one in again)
    assert sum(not one["reused"] for one in first) == 20


def test_one_time_faults_end_as_predictions(lane, start_stream):
    start_stream()
    words = ("unavailable", "quota", "error", "empty", "garbage", "not-an-image", "cut")
    lane.publish(*(f"A picture in spite of fault:{word}-once" for word in words))
    assert len(lane.predictions(len(words))) == len(words)
    assert lane.nothing_left("dead-letters")


def test_calls_that_are_refused_for_quota_are_counted(lane, start_stream):
    stream = start_stream()
    lane.publish("A fox", "A fox in spite of fault:quota-once", "A hare fault:unavailable-once")
    lane.predictions(3)
    assert stream.drain() == "DRAINED"
    counters = stream.counters()
    assert (counters["model_calls"], counters["quota_refusals"]) == (5, 1)


@pytest.mark.parametrize("protocol", ["gemini", "predict"])
def test_a_refusal_is_a_blocked_dead_letter_in_both_protocols(lane, start_stream, protocol):
    model = {"model": "flux", "model_endpoint": ENDPOINT} if protocol == "predict" else {}
    start_stream(**model)
    lane.publish("fault:blocked", "fault:blocked-image", "A fox")
    assert [one["reason"] for one in lane.dead_letters(2)] == ["BLOCKED", "BLOCKED"]
    (prediction,) = lane.predictions(1)
    assert prediction["model"] == ("flux" if protocol == "predict" else DEFAULT_MODEL)


def test_a_dead_model_becomes_retryable_dead_letters_only_after_the_time_for_retries(
    cloud, lane, start_stream
):
    cloud.models(down=1)
    start_stream(max_retry_seconds=1)
    lane.publish("A fox", "A hare")
    failures = lane.dead_letters(2)
    assert {one["reason"] for one in failures} == {"UNAVAILABLE"}
    assert all(one["retryable"] and one["attempts"] > 1 for one in failures)


@pytest.mark.slow
def test_a_drain_ends_although_a_model_refuses_every_prompt(cloud, lane, start_stream, eventually):
    cloud.models(retired_models=DEFAULT_MODEL)
    before = cloud.models()["calls"]
    stream = start_stream(max_hold_seconds=2)
    lane.publish(*(f"Held {number}" for number in range(10)))
    eventually(lambda: cloud.models()["calls"] > before, what="a prompt that is refused")
    eventually(lambda: lane.nothing_left("prompts"), what="prompts in progress")
    assert stream.drain() == "DRAINED"
    failures = lane.dead_letters(10)
    assert {one["reason"] for one in failures} == {"MODEL_ERROR"}
    assert all(one["retryable"] for one in failures)
    assert all("has refused every prompt since" in one["detail"] for one in failures)


def test_a_prompt_for_a_model_that_is_gone_stops_no_other_model(
    cloud, lane, start_stream, monkeypatch
):
    quick = functools.partial(HoldPolicy, give_way_s=2.0)  # not a minute
    monkeypatch.setattr("beam_jobs.engine.model_handler.HoldPolicy", quick)
    cloud.models(retired_models=OLD_MODEL)
    start_stream()
    old = [{"prompt": f"old {number}", "model": OLD_MODEL} for number in range(20)]
    lane.publish(*old, *(f"new {number}" for number in range(20)))
    predictions = lane.predictions(20, within_s=30)
    assert {one["model"] for one in predictions} == {DEFAULT_MODEL}
    assert all(one["retryable"] for one in lane.dead_letters(20, within_s=30))


def test_a_model_that_comes_back_in_time_loses_nothing(cloud, lane, start_stream, eventually):
    cloud.models(down=1)
    before = cloud.models()["calls"]
    start_stream(max_retry_seconds=60)
    lane.publish(*(f"Patience {n}" for n in range(5)))
    eventually(lambda: cloud.models()["calls"] - before >= 5, what="a first try of each")
    cloud.models(down=0)
    assert len(lane.predictions(5)) == 5
    assert lane.nothing_left("dead-letters")


@pytest.mark.slow
def test_sigterm_drains_the_prompts_in_progress(cloud, lane, eventually, tmp_path):
    cloud.models(latency_s=2.0)
    before = cloud.models()["calls"]
    job = subprocess.Popen(
        [sys.executable, "-c", PATIENT, *lane.stream_options()],
        stderr=(tmp_path / "log").open("wb"),
    )
    lane.publish(*(f"On its way {n}" for n in range(10)))
    eventually(lambda: cloud.models()["calls"] - before == 10, what="ten calls under way")
    job.send_signal(signal.SIGTERM)
    assert job.wait(240) == 0, (tmp_path / "log").read_text()
    assert len(lane.predictions(10, within_s=30)) == 10
    assert lane.nothing_left("prompts")
    index = b"".join(lane.objects("images/recent/predictions/").values())
    assert index.count(b"\n") == 10


@pytest.mark.slow
def test_a_killed_job_loses_nothing_and_pays_again_for_no_stored_image(
    cloud, lane, eventually, tmp_path
):
    prompts = [f"Killed in the middle {n}" for n in range(200)]
    lane.publish(*prompts)
    cloud.models(latency_s=0.2)
    before = cloud.models()["images"]
    command = [sys.executable, "-m", "beam_jobs.stream", *lane.stream_options(max_in_flight=8)]
    # The leases of a killed job last for a minute, too long for this test to wait.
    with (tmp_path / "log").open("wb") as log:
        job = subprocess.Popen(command, stderr=log)
        eventually(lambda: cloud.models()["images"] - before > 60, what="some images")
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
    lane.publish(*prompts)
    job = subprocess.Popen(command, stderr=(tmp_path / "log").open("ab"))
    try:
        predictions: set[str] = set()

        def all_there() -> bool:
            predictions.update(one["prompt"] for one in lane.predictions(0))
            return predictions == set(prompts)

        eventually(all_there, what="a prediction for every prompt")
    finally:
        job.kill()
        job.wait()
    paid = cloud.models()["images"] - before
    # A killed process loses its calls in flight, and also the images that are being stored.
    under_way = int(8 * ROOM_OVER_IN_FLIGHT) + 1
    assert 200 <= paid <= 200 + under_way, f"{paid} images paid for 200 prompts, 8 in flight"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"responses_topic": "projects/demo-project/topics/nowhere"}, "--responses_topic: topic"),
        ({"messages_subscription": "projects/demo-project/subscriptions/no"}, "subscription"),
        ({"images_output_location": "gs://no-such-bucket/images"}, "bucket gs://no-such-bucket"),
        ({"images_output_location": "images"}, "expected gs://"),
        ({"prompts": "x.txt"}, "are only for beam_jobs.backfill"),
        ({"max_in_fligth": 3}, "--max_in_fligth: no such option"),
        ({"max_images_per_hour": 0}, "--max_images_per_hour: expected a number above 0"),
        ({"runner": "nowhere.Runner"}, "--runner: nowhere.Runner cannot be imported"),
        ({"runner": "DataflowRunner"}, "--sdk_container_image: expected a worker image"),
        ({"runner": "DirectRunner"}, "--runner: the DirectRunner acknowledges"),
        ({"model_endpoint": ENDPOINT}, "--model_endpoint is only for models with the :predict API"),
    ],
)
def test_a_wrong_option_stops_the_job_with_one_clear_line(cloud, lane, capsys, options, says):
    from beam_jobs import stream

    assert stream.main([*lane.stream_options(), *(f"--{k}={v}" for k, v in options.items())]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert says in errors[0]
