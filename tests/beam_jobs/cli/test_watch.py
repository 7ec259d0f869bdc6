"""Watching topics without taking anything from anybody; and taking what a subscription holds."""

import json
import queue
import threading
import time

import pytest
from google.api_core import exceptions as api_exceptions

from beam_jobs.cli.watch import arrivals, line, taken, watching
from beam_jobs.outcomes import Failure, Prediction, Reason, encode

PROJECT = "demo-project"


def prediction(prompt_id, **changes) -> Prediction:
    fields = {
        "prompt_id": prompt_id,
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
    with watching(PROJECT, topics(lane)) as arrived:
        send(lane, prediction("order-1"))
        send(lane, failure())
        send(lane, prediction("probe", attributes={"canary": "probe"}, images=()))
        messages = list(arrivals(arrived, count=3, seconds=240))
    by_id = {message["prompt_id"]: message for message in messages}
    assert set(by_id) == {"order-1", "order-2", "probe"}
    assert by_id["order-2"]["reason"] == "UNAVAILABLE"
    assert [by_id[key]["canary"] for key in ("order-1", "order-2", "probe")] == [False, False, True]


def test_messages_of_others_are_passed_over_and_do_not_come_again(lane):
    with watching(PROJECT, topics(lane)) as arrived:
        for foreign in (b"not JSON", b"{}", b'["a list"]', b'{"schema": "another/1"}'):
            lane.publisher.publish(lane.topic("predictions"), foreign).result(timeout=120)
        send(lane, prediction("order-1"))
        messages = list(arrivals(arrived, count=1, seconds=240))
        assert [message["prompt_id"] for message in messages] == ["order-1"]
        assert arrived.empty()


def test_watching_takes_nothing_from_others_and_leaves_nothing_behind(lane):
    before = subscriptions(lane)
    with watching(PROJECT, topics(lane)) as arrived:
        assert len(subscriptions(lane)) == len(before) + 2
        send(lane, prediction("order-1"))
        (seen,) = arrivals(arrived, count=1, seconds=240)
    assert subscriptions(lane) == before
    (taken,) = lane.predictions(1)
    assert taken["prompt_id"] == seen["prompt_id"] == "order-1"


def test_two_watchers_see_the_same(lane):
    with watching(PROJECT, topics(lane)) as one, watching(PROJECT, topics(lane)) as other:
        send(lane, prediction("order-1"))
        assert next(arrivals(one, count=1, seconds=240)) == next(
            arrivals(other, count=1, seconds=240)
        )


def test_a_topic_that_is_not_there_is_an_error_that_leaves_nothing_behind(lane):
    before = subscriptions(lane)
    with (
        pytest.raises(api_exceptions.NotFound),
        watching(PROJECT, [f"{lane.name}-predictions", "no-such-topic"]),
    ):
        pytest.fail("watching a topic that is not there")
    assert subscriptions(lane) == before


class Taking:
    """`taken` on the lane's predictions, and the ids of what it passed over."""

    def __init__(self, lane, kind="predictions"):
        self.subscription = lane.subscription(kind).rpartition("/")[2]
        self.passed_over = []

    def __call__(self, *, count=None, seconds=240):
        return taken(
            PROJECT,
            self.subscription,
            count=count,
            seconds=seconds,
            passed_over=self.passed_over.append,
        )


def ids(messages):
    return [message["prompt_id"] for message in messages]


def test_what_waits_on_a_subscription_is_shown_and_gone(lane):
    taking = Taking(lane)
    send(lane, prediction("order-1"))
    send(lane, prediction("probe", attributes={"canary": "probe"}, images=()))
    messages = sorted(taking(count=2), key=lambda message: message["prompt_id"])
    assert ids(messages) == ["order-1", "probe"]
    assert [message["canary"] for message in messages] == [False, True]
    assert lane.nothing_left("predictions")
    assert taking.passed_over == []


def test_what_comes_while_taking_is_shown_too_and_dead_letters_as_well(lane):
    messages = Taking(lane, "dead-letters")(count=1)
    publishing = threading.Timer(0.3, send, (lane, failure()))
    publishing.start()
    assert ids(messages) == ["order-2"]
    publishing.join()


def test_no_more_is_taken_than_is_asked_for(lane):
    for number in range(3):
        send(lane, prediction(f"order-{number}"))
    first = ids(Taking(lane)(count=2))
    (left,) = lane.predictions(1, within_s=30)
    assert {*first, left["prompt_id"]} == {"order-0", "order-1", "order-2"}


def test_what_was_not_shown_comes_again_at_once(lane):
    send(lane, prediction("order-1"))
    send(lane, prediction("order-2"))
    messages = Taking(lane)()
    shown = [next(messages)["prompt_id"], next(messages)["prompt_id"]]
    messages.close()  # as when showing the second one failed
    (again,) = lane.predictions(1, within_s=30)
    assert again["prompt_id"] == shown[1]
    assert lane.nothing_left("predictions")


def test_messages_of_others_are_named_once_and_stay_there(lane):
    taking = Taking(lane)
    foreign = lane.publisher.publish(lane.topic("predictions"), b'{"schema": "another/1"}')
    number = foreign.result(timeout=120)
    send(lane, prediction("order-1"))
    assert ids(taking(count=1)) == ["order-1"]
    assert taking.passed_over == [number]
    (left,) = lane.predictions(1, within_s=30)
    assert left["schema"] == "another/1"


def test_taking_ends_after_its_time(lane):
    started = time.monotonic()
    assert list(Taking(lane)(seconds=0.5)) == []
    assert 0.5 <= time.monotonic() - started < 60
    assert list(Taking(lane)(count=0)) == []


def test_taking_from_a_subscription_that_is_not_there_is_an_error(cloud):
    messages = taken(PROJECT, "no-such-sub", count=1, seconds=60, passed_over=pytest.fail)
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
    return line({**json.loads(encode(outcome)[0]), "canary": canary})


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (prediction("1"), "✓ a fox (1.2 s)\n  gs://b/1.png"),
        (prediction("1", reused=True), "✓ a fox (reused)\n  gs://b/1.png"),
        (
            prediction("1", prompt="a\n fox\t in  snow", images=("gs://b/1.png", "gs://b/2.png")),
            "✓ a fox in snow (1.2 s)\n  gs://b/1.png\n  gs://b/2.png",
        ),
        (prediction("1", prompt="x" * 61, images=()), f"✓ {'x' * 59}… (1.2 s)"),
        (prediction("1", prompt="x" * 60, images=()), f"✓ {'x' * 60} (1.2 s)"),
        (failure(), "✗ UNAVAILABLE: model answered 503 (order-2, may be replayed)"),
        (
            failure(reason=Reason.BLOCKED, retryable=False, detail="no"),
            "✗ BLOCKED: no (order-2)",
        ),
    ],
)
def test_a_line_tells_what_became_of_which_prompt(outcome, text):
    assert shown(outcome) == text


def test_a_canary_is_told_from_a_prediction():
    assert shown(prediction("probe"), canary=True) == "◇ canary probe"
