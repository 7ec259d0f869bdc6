"""What counts as having arrived, over a real Pub/Sub."""

import contextlib
import json

import pytest

from bench.receiver import Receiver
from bench.runs import P
from tests.conftest import PROJECT

pytestmark = pytest.mark.slow


@pytest.fixture
def receiver(cloud, lane):
    with contextlib.closing(Receiver()) as receiver:
        yield receiver
    for topic in ("predictions", "dead-letters"):
        name = f"projects/{PROJECT}/subscriptions/bench-{topic}"
        lane.subscriber.delete_subscription(subscription=name)


def test_a_prompt_that_comes_back_twice_does_not_stand_in_for_another(receiver, lane, eventually):
    def publish(kind: str, **message: str) -> None:
        lane.publisher.publish(f"{P}/topics/{kind}", json.dumps(message).encode()).result(30)

    for prompt_id in ("a", "b", "b"):
        publish("predictions", prompt_id=prompt_id)
    publish("dead-letters", prompt_id="c", reason="BLOCKED")
    with pytest.raises(TimeoutError):
        receiver.wait(4, within_s=3)
    publish("predictions", prompt_id="d")
    receiver.wait(4, within_s=60)
    assert sorted(message["prompt_id"] for _, message in receiver.arrived) == list("abcd")
    assert [failure["prompt_id"] for failure in receiver.failures()] == ["c"]
