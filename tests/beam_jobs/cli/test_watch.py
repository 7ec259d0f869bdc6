"""Watching topics without taking messages from anyone, and consuming a subscription."""

import json
import queue
import threading
import time

import pytest
from google.api_core import exceptions as api_exceptions

from beam_jobs.cli.asking import CommandError
from beam_jobs.cli.watch import arrivals, consume, describe, watch_topics
from beam_jobs.outcomes import Failure, Prediction, Reason, Work, encode

PROJECT = "demo-project"


def prediction(prompt_id, **changes) -> Prediction:
    fields = {
        "prompt_id": prompt_id,
        "deduplication_key": "0f" * 32,
        "digest": "d",
        "prompt": "a fox",
        "images": ("gs://b/1.png",),
        "model": "m",
        "source": "stream",
        "reused": False,
        "created_at": "now",
        "latency_ms": 1234,
    }
    return Prediction(**fields | changes)


def failure(**changes) -> Failure:
    fields = {
        "prompt_id": "order-2",
        "deduplication_key": "0f" * 32,
        "reason": Reason.UNAVAILABLE,
        "detail": "model answered 503",
        "retryable": True,
        "attempts": 1,
        "body": b"",
    }
    return Failure(**fields | changes)


def topics(lane):
    return [f"{lane.name}-predictions", f"{lane.name}-dead-letters"]


def send(lane, outcome):
    kind = "dead-letters" if isinstance(outcome, Failure) else "predictions"
    body, attributes = encode(outcome)
    lane.publisher.publish(lane.topic(kind), body, **attributes).result(timeout=120)


def subscriptions(lane):
    return {
        name
        for kind in ("predictions", "dead-letters")
        for name in lane.publisher.list_topic_subscriptions(topic=lane.topic(kind))
    }


def test_what_is_published_while_watching_arrives_from_both_topics(lane):
    with watch_topics(PROJECT, topics(lane)) as arrived:
        send(lane, prediction("order-1"))
        send(lane, failure())
        send(lane, prediction("probe", attributes={"canary": "probe"}, images=()))
        messages = list(arrivals(arrived, count=3, seconds=240))
    by_id = {message["prompt_id"]: message for message in messages}
    assert set(by_id) == {"order-1", "order-2", "probe"}
    assert by_id["order-2"]["reason"] == "UNAVAILABLE"
    assert [by_id[key]["canary"] for key in ("order-1", "order-2", "probe")] == [False, False, True]


def test_foreign_messages_are_skipped_and_not_delivered_again(lane):
    with watch_topics(PROJECT, topics(lane)) as arrived:
        for foreign in (b"not JSON", b"{}", b'["a list"]', b'{"schema": "another/1"}'):
            lane.publisher.publish(lane.topic("predictions"), foreign).result(timeout=120)
        send(lane, prediction("order-1"))
        messages = list(arrivals(arrived, count=1, seconds=240))
        assert [message["prompt_id"] for message in messages] == ["order-1"]
        assert arrived.empty()


def test_watching_takes_no_messages_from_others_and_leaves_no_subscription_behind(lane):
    before = subscriptions(lane)
    with watch_topics(PROJECT, topics(lane)) as arrived:
        assert len(subscriptions(lane)) == len(before) + 2
        send(lane, prediction("order-1"))
        (seen,) = arrivals(arrived, count=1, seconds=240)
    assert subscriptions(lane) == before
    (taken,) = lane.predictions(1)
    assert taken["prompt_id"] == seen["prompt_id"] == "order-1"


def test_two_watchers_see_the_same(lane):
    with watch_topics(PROJECT, topics(lane)) as one, watch_topics(PROJECT, topics(lane)) as other:
        send(lane, prediction("order-1"))
        assert next(arrivals(one, count=1, seconds=240)) == next(
            arrivals(other, count=1, seconds=240)
        )


def test_a_missing_topic_is_an_error_that_leaves_no_subscription_behind(lane):
    before = subscriptions(lane)
    with (
        pytest.raises(CommandError, match=r"topic no-such-topic in .* does not exist"),
        watch_topics(PROJECT, [f"{lane.name}-predictions", "no-such-topic"]),
    ):
        pytest.fail("watched a missing topic")
    assert subscriptions(lane) == before


class Consumer:
    """`consume` on the lane's predictions, and the ids of the foreign messages it met."""

    def __init__(self, lane, kind="predictions"):
        self.subscription = lane.subscription(kind).rpartition("/")[2]
        self.foreign_ids = []

    def __call__(self, *, count=None, seconds=240):
        return consume(
            PROJECT,
            self.subscription,
            count=count,
            seconds=seconds,
            on_foreign_message=self.foreign_ids.append,
        )


def ids(messages):
    return [message["prompt_id"] for message in messages]


def test_waiting_messages_are_shown_and_acknowledged(lane):
    consumer = Consumer(lane)
    send(lane, prediction("order-1"))
    send(lane, prediction("probe", attributes={"canary": "probe"}, images=()))
    messages = sorted(consumer(count=2), key=lambda message: message["prompt_id"])
    assert ids(messages) == ["order-1", "probe"]
    assert [message["canary"] for message in messages] == [False, True]
    assert lane.nothing_left("predictions")
    assert consumer.foreign_ids == []


def test_a_dead_letter_that_arrives_while_consuming_is_shown_too(lane):
    messages = Consumer(lane, "dead-letters")(count=1)
    publishing = threading.Timer(0.3, send, (lane, failure()))
    publishing.start()
    assert ids(messages) == ["order-2"]
    publishing.join()


def test_no_more_messages_are_consumed_than_the_count(lane):
    for number in range(3):
        send(lane, prediction(f"order-{number}"))
    first = ids(Consumer(lane)(count=2))
    (left,) = lane.predictions(1, within_s=30)
    assert {*first, left["prompt_id"]} == {"order-0", "order-1", "order-2"}


def test_a_message_that_was_not_shown_is_delivered_again_at_once(lane):
    send(lane, prediction("order-1"))
    send(lane, prediction("order-2"))
    messages = Consumer(lane)()
    shown = [next(messages)["prompt_id"], next(messages)["prompt_id"]]
    messages.close()  # as if showing the second message failed
    (again,) = lane.predictions(1, within_s=30)
    assert again["prompt_id"] == shown[1]
    assert lane.nothing_left("predictions")


def test_foreign_messages_are_reported_once_and_stay_in_the_subscription(lane):
    consumer = Consumer(lane)
    foreign = lane.publisher.publish(lane.topic("predictions"), b'{"schema": "another/1"}')
    number = foreign.result(timeout=120)
    send(lane, prediction("order-1"))
    assert ids(consumer(count=1)) == ["order-1"]
    assert consumer.foreign_ids == [number]
    (left,) = lane.predictions(1, within_s=30)
    assert left["schema"] == "another/1"


def test_consuming_ends_after_its_time(lane):
    started = time.monotonic()
    assert list(Consumer(lane)(seconds=0.5)) == []
    assert 0.5 <= time.monotonic() - started < 60
    assert list(Consumer(lane)(count=0)) == []


def test_consuming_a_missing_subscription_is_an_error(cloud):
    messages = consume(PROJECT, "no-such-sub", count=1, seconds=60, on_foreign_message=pytest.fail)
    with pytest.raises(api_exceptions.NotFound):
        next(messages)


def test_arrivals_end_after_their_count_or_their_time():
    arrived = queue.Queue()
    for number in range(3):
        arrived.put({"number": number})
    assert [message["number"] for message in arrivals(arrived, count=2, seconds=None)] == [0, 1]
    started = time.monotonic()
    assert len(list(arrivals(arrived, count=None, seconds=0.2))) == 1
    assert 0.2 <= time.monotonic() - started < 60
    assert list(arrivals(arrived, count=0, seconds=None)) == []


def shown(outcome, *, canary=False) -> str:
    return describe({**json.loads(encode(outcome)[0]), "canary": canary})


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (prediction("1"), "✓ a fox (1.2 s)\n  gs://b/1.png"),
        (
            prediction("1", work=Work(cost_usd=0.03622)),
            "✓ a fox (1.2 s, 0.0362 USD)\n  gs://b/1.png",
        ),
        (prediction("1", work=Work(unpriced_calls=1)), "✓ a fox (1.2 s)\n  gs://b/1.png"),
        (prediction("1", reused=True), "✓ a fox (reused)\n  gs://b/1.png"),
        (
            prediction("1", prompt="a\n fox\t in  snow", images=("gs://b/1.png", "gs://b/2.png")),
            "✓ a fox in snow (1.2 s)\n  gs://b/1.png\n  gs://b/2.png",
        ),
        (prediction("1", prompt="x" * 61, images=()), f"✓ {'x' * 59}… (1.2 s)"),
        (prediction("1", prompt="x" * 60, images=()), f"✓ {'x' * 60} (1.2 s)"),
        (failure(), "✗ UNAVAILABLE: model answered 503 (order-2, can be replayed)"),
        (
            failure(reason=Reason.BLOCKED, retryable=False, detail="no"),
            "✗ BLOCKED: no (order-2)",
        ),
    ],
)
def test_an_outcome_is_described_with_its_prompt(outcome, text):
    assert shown(outcome) == text


def test_a_canary_differs_from_a_prediction():
    assert shown(prediction("~canary:probe"), canary=True) == "◇ canary probe"
