"""Dead letters, replayed through a real Airflow."""

import base64
import json
import uuid

import pytest

from tests.conftest import BUCKET, PROJECT
from tests.e2e.conftest import Operated

# The demo replays a dead letter too.
pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

START, REPLAY = "imagen_stream_start", "imagen_dead_letters_replay"


def test_what_a_dead_model_left_comes_out_as_predictions_after_a_replay(operated: Operated) -> None:
    lane = operated.lane
    watch = f"projects/{PROJECT}/subscriptions/watch-{uuid.uuid4().hex[:8]}"
    lane.subscriber.create_subscription(name=watch, topic=lane.topic("dead-letters"))
    operated.run(START, {"max_retry_seconds": 1})
    operated.cloud.models(down=1)
    prompts = {f"picture {number} of a dead model" for number in range(5)}
    lane.publish(*prompts, "   ")
    seen = 0
    while seen < 6:
        pulled = lane.subscriber.pull(subscription=watch, max_messages=10, timeout=60)
        seen += len(pulled.received_messages)
        ids = [item.ack_id for item in pulled.received_messages]
        lane.subscriber.acknowledge(subscription=watch, ack_ids=ids)
    letter = {
        "schema": "imagen.failure/1",
        "prompt_id": "tired",
        "deduplication_key": "0f" * 32,
        "digest": None,
        "reason": "UNAVAILABLE",
        "detail": "no answer",
        "retryable": True,
        "attempts": 3,
        "source": "stream",
        "body": base64.b64encode(b"a prompt that was replayed three times").decode(),
        "attributes": {"replays": "3"},
    }
    lane.publisher.publish(lane.topic("dead-letters"), json.dumps(letter).encode()).result(30)
    operated.cloud.models(down=0)

    # A dry run counts, and leaves everything as it is.
    run_id = operated.run(REPLAY, {"dry_run": True})
    counted = operated.client.xcom(REPLAY, run_id, "replay")
    assert counted["replayed"] == {"UNAVAILABLE": 5}

    run_id = operated.run(REPLAY)
    counts = operated.client.xcom(REPLAY, run_id, "replay")
    assert counts["replayed"] == {"UNAVAILABLE": 5}
    assert counts["archived"] == {"INVALID_PROMPT": 1, "UNAVAILABLE": 1}
    assert {prediction["prompt"] for prediction in lane.predictions(5)} == prompts
    assert lane.nothing_left("dead-letters")
    archived = [
        json.loads(line)["letter"]["prompt_id"]
        for blob in lane.storage.list_blobs(BUCKET, prefix="dead-letters/reason=UNAVAILABLE/")
        for line in blob.download_as_text().splitlines()
    ]
    assert archived == ["tired"]
