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

    for key in ("a", "b", "b"):
        publish("predictions", deduplication_key=key)
    publish("dead-letters", deduplication_key="c", reason="BLOCKED")
    with pytest.raises(TimeoutError):
        receiver.wait(4, within_s=3)
    publish("predictions", deduplication_key="d")
    receiver.wait(4, within_s=60)
    assert sorted(message["deduplication_key"] for _, message in receiver.arrived) == list("abcd")
    assert [failure["deduplication_key"] for failure in receiver.failures()] == ["c"]
