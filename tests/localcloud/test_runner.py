"""The streaming runner for one machine: overlap, leases, failed batches, drain, metrics."""

import json
import threading
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from localcloud.runner import MicroBatchRunner

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_a_slow_prompt_does_not_delay_those_behind_it(cloud, lane, start_stream, eventually):
    cloud.models(latency_s=0.2, tail_factor=50)
    before = cloud.models()["calls"]
    start_stream()
    lane.publish("fault:slow, a long night")
    # In a batch of its own, that is, with nobody who is to be answered sooner.
    eventually(lambda: cloud.models()["calls"] > before, what="the slow one's call")
    for n in range(0, 20, 5):
        lane.publish(*(f"Quick {n + more}" for more in range(5)))
    quick = lane.predictions(20)
    # All of them before the slow one, or it would be among those that came first.
    assert {one["prompt"] for one in quick} == {f"Quick {n}" for n in range(20)}
    (slow,) = lane.predictions(1)
    assert slow["latency_ms"] >= 9_900


@pytest.mark.slow
def test_a_batch_whose_publishing_fails_is_not_acknowledged(
    cloud, lane, start_stream, eventually, caplog
):
    start_stream()
    before = cloud.models()["images"]
    lane.publish("First")
    lane.predictions(1)
    lane.publisher.delete_topic(topic=lane.topic("predictions"))
    lane.publish("Second")
    eventually(lambda: "micro-batch of 1 failed" in caplog.text, what="a failed micro-batch")
    lane.publisher.create_topic(name=lane.topic("predictions"))
    subscription = lane.subscription("again")
    lane.subscriber.create_subscription(name=subscription, topic=lane.topic("predictions"))
    (second,) = lane.take("again", 1)
    assert second["prompt"] == "Second"
    assert cloud.models()["images"] - before == 2, "its image was made by the batch that failed"
    assert not second["reused"], "nobody else has paid for it"
    assert second["cost_usd"] > 0


@pytest.mark.slow
def test_leases_are_extended_while_a_batch_works(
    cloud, lane, start_stream, monkeypatch, eventually
):
    from localcloud.microbatch import leases

    # The shortest lease that Pub/Sub gives is ten seconds.
    monkeypatch.setattr(leases, "LEASE_S", 10)
    monkeypatch.setattr(leases, "RENEW_EVERY_S", 1)
    cloud.models(latency_s=13.0)
    before = cloud.models()["calls"]
    stream = start_stream()
    lane.publish("Longer than a lease")
    lane.predictions(1)
    assert stream.drain() == PipelineState.DRAINED
    assert cloud.models()["calls"] - before == 1
    assert lane.nothing_left("predictions")
    assert lane.nothing_left("prompts")


def test_draining_pulls_no_more_and_finishes_messages_in_progress(
    cloud, lane, start_stream, eventually
):
    cloud.models(latency_s=1.0)
    before = cloud.models()["calls"]
    stream = start_stream()
    lane.publish(*(f"Under way {n}" for n in range(5)))
    eventually(lambda: cloud.models()["calls"] - before == 5, what="five calls")
    stream.result.drain()
    lane.publish("Too late")
    assert stream.ended() == PipelineState.DRAINED
    assert {one["prompt"] for one in lane.predictions(5)} == {f"Under way {n}" for n in range(5)}
    (left,) = lane.subscriber.pull(
        subscription=lane.subscription("prompts"), max_messages=9
    ).received_messages
    assert left.message.data == b"Too late"


def test_cancelling_stops_at_once_and_acknowledges_nothing(cloud, lane, start_stream, eventually):
    cloud.models(hold=True)
    before = cloud.models()["calls"]
    stream = start_stream()
    lane.publish("Never mind")
    eventually(lambda: cloud.models()["calls"] - before == 1, what="a call")
    stream.result.cancel()
    assert stream.ended() == PipelineState.CANCELLED
    assert lane.nothing_left("predictions")


def test_metrics_come_as_it_runs_and_are_written_to_the_file(
    lane, start_stream, eventually, tmp_path
):
    path = tmp_path / "metrics.json"
    stream = start_stream(metrics_file=path)
    lane.publish("One", "Two", b"\xff")
    lane.predictions(2)
    eventually(lambda: stream.counters().get("prompts") == 3, what="three prompts counted")

    def written() -> dict[str, Any] | None:
        content = json.loads(path.read_text()) if path.exists() else {}
        return content if content.get("prompts") == 3 else None

    content = eventually(written, what="the metrics file")
    assert content["predictions"] == 2
    assert content["failures"] == content["failures_INVALID_PROMPT"] == 1
    assert content["latency_ms"]["count"] == 3


def test_batches_side_by_side_share_one_engine(cloud, lane, start_stream):
    from beam_jobs.engine import model_handler

    cloud.models(latency_s=0.3)
    before = len(model_handler._engines)
    start_stream()
    for n in range(5):
        lane.publish(f"Shared {n}")
        lane.predictions(0)
    lane.predictions(5)
    assert len(model_handler._engines) == before + 1


def test_a_pipeline_that_reads_no_subscription_is_refused():
    pipeline = beam.Pipeline(runner=MicroBatchRunner(), options=PipelineOptions([]))
    pipeline | beam.Create([1])
    with pytest.raises(ValueError, match="needs a pipeline with ReadFromPubSub"):
        pipeline.run()


def test_a_stream_in_a_thread_leaves_no_threads_behind(lane, start_stream, eventually):
    before = threading.active_count()
    stream = start_stream()
    lane.publish(*(f"Thread {n}" for n in range(30)))
    lane.predictions(30)
    assert stream.drain() == PipelineState.DRAINED
    # The engine's loop and the clients' own threads stay; batches' must not.
    eventually(lambda: threading.active_count() <= before + 12, what="threads ending")
