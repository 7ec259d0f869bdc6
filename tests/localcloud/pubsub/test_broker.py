"""The broker by itself, with clocks that are turned by hand."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from localcloud.pubsub.broker import RESPONSE_BYTES, Broker
from localcloud.pubsub.clock import Clock
from localcloud.pubsub.entry import Consumer
from localcloud.pubsub.errors import PubSubError, Status
from localcloud.pubsub.message import Delivery, Draft
from localcloud.pubsub.settings import (
    DeadLetterPolicy,
    RetryPolicy,
    SubscriptionSettings,
    TopicSettings,
)

TOPIC = "projects/p/topics/prompts"
DEAD = "projects/p/topics/dead"
SUB = "projects/p/subscriptions/prompts-sub"
DEAD_SUB = "projects/p/subscriptions/dead-sub"


class Hands:
    """Both clocks, and what the broker reported."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.woken: list[str] = []
        self.deadlines: list[float] = []
        self.broker = Broker(Clock(lambda: int(self.now_s * 1e9), lambda: self.now_s))
        self.broker.listener = self
        self.broker.create_topic(TopicSettings(TOPIC))

    def ready(self, subscription: str) -> None:
        self.woken.append(subscription)

    def deadline(self, subscription: str, at_s: float) -> None:
        self.deadlines.append(at_s)

    def publish(self, *bodies: str, key: str = "") -> None:
        self.broker.publish(TOPIC, [Draft(body.encode(), {}, key) for body in bodies])

    def pull(self, limit: int = 100, **options: Any) -> list[Delivery]:
        return self.broker.pull(SUB, limit, **options)

    def bodies(self, limit: int = 100) -> list[str]:
        return [each.message.data.decode() for each in self.pull(limit)]

    def lease(self, seconds: float, *deliveries: Delivery) -> None:
        self.broker.modify_ack_deadline(SUB, [(each.ack_id, seconds) for each in deliveries])

    def ack(self, *deliveries: Delivery) -> None:
        self.broker.acknowledge(SUB, [each.ack_id for each in deliveries])

    def stats(self) -> tuple[int, float, int]:
        stats = self.broker.subscription_stats(SUB)
        return stats.num_undelivered, stats.oldest_unacked_age_s, stats.outstanding


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def subscribed(hands: Hands) -> Callable[..., Hands]:
    def subscribe(**settings: Any) -> Hands:
        hands.broker.create_subscription(SubscriptionSettings(SUB, TOPIC, **settings))
        return hands

    return subscribe


def test_stats_count_leased_messages_and_the_age_of_the_oldest(subscribed: Any) -> None:
    hands = subscribed()
    assert hands.stats() == (0, 0.0, 0)
    hands.publish("a")
    hands.now_s += 7
    hands.publish("b", "c")
    first, second = hands.pull(2)
    assert hands.stats() == (3, 7.0, 2)
    hands.ack(second)
    assert hands.stats() == (2, 7.0, 1)
    hands.ack(first)
    assert hands.stats() == (1, 0.0, 0)


def test_a_lease_lasts_as_long_as_the_subscription_says(subscribed: Any) -> None:
    hands = subscribed(ack_deadline_s=30)
    hands.publish("a")
    hands.pull()
    assert hands.deadlines[-1] == hands.now_s + 30
    hands.now_s += 29.9
    assert hands.bodies() == []
    hands.now_s += 0.2
    assert hands.bodies() == ["a"]


def test_expiry_wakes_whoever_waits(subscribed: Any) -> None:
    hands = subscribed()
    hands.publish("a")
    hands.pull()
    hands.woken.clear()
    hands.now_s += 10.1
    hands.broker.expire(SUB)
    assert hands.woken == [SUB]
    assert hands.stats()[2] == 0


def test_an_expired_lease_revives_if_the_message_has_not_gone_out_again(subscribed: Any) -> None:
    hands = subscribed()
    hands.publish("a")
    (delivery,) = hands.pull()
    hands.now_s += 11
    hands.broker.expire(SUB)
    hands.lease(60, delivery)
    assert hands.bodies() == []
    assert hands.stats()[2] == 1
    hands.ack(delivery)
    assert hands.stats()[0] == 0


def test_returned_messages_take_turns_with_new_ones(subscribed: Any) -> None:
    hands = subscribed()
    hands.publish("poison")
    hands.lease(0, *hands.pull())
    hands.publish("a", "b", "c")
    seen = []
    while len(seen) < 6:
        (delivery,) = hands.pull(1)
        seen.append(delivery.message.data.decode())
        if seen[-1] == "poison":
            hands.lease(0, delivery)
    assert {"a", "b", "c"} < set(seen)
    assert seen.count("poison") == 3


def test_a_response_is_full_at_its_size_but_never_empty(subscribed: Any) -> None:
    hands = subscribed()
    hands.publish("x" * (RESPONSE_BYTES + 1), "y" * (RESPONSE_BYTES - 1), "zz")
    assert [body[0] for body in hands.bodies()] == ["x"]
    assert [body[0] for body in hands.bodies()] == ["y"]
    assert hands.bodies() == ["zz"]


def test_messages_count_against_a_consumers_limits_until_their_leases_end(subscribed: Any) -> None:
    hands = subscribed()
    hands.publish("aaaa", "bbbb", "cccc", "dddd", "eeee")
    woken: list[bool] = []
    consumer = Consumer(3, 0, lambda: woken.append(True))
    first, second, third = hands.pull(consumer=consumer)
    assert hands.pull(consumer=consumer) == []
    hands.ack(first)
    hands.lease(0, second)
    hands.now_s += 11
    hands.broker.expire(SUB)
    assert len(woken) == 3
    assert (consumer.messages, consumer.bytes) == (0, 0)
    assert third.message.data == b"cccc"


def test_a_consumer_overshoots_its_bytes_by_one_message_at_most(subscribed: Any) -> None:
    hands = subscribed()
    hands.publish("aaaa", "bbbb", "cccc")
    consumer = Consumer(0, 5, lambda: None)
    assert len(hands.pull(consumer=consumer)) == 2


def test_messages_older_than_the_retention_are_dropped(subscribed: Any) -> None:
    hands = subscribed(retention_s=600)
    hands.publish("old")
    hands.pull()
    hands.now_s += 500
    hands.publish("new")
    hands.now_s += 101
    assert hands.stats() == (1, 101.0, 0)
    assert hands.bodies() == ["new"]


def test_messages_that_a_filter_excludes_are_not_in_the_backlog(subscribed: Any) -> None:
    hands = subscribed(filter="NOT attributes:canary")
    hands.broker.publish(TOPIC, [Draft(b"c", {"canary": "1"}), Draft(b"p", {})])
    assert hands.stats()[0] == 1
    assert hands.bodies() == ["p"]


def test_a_dead_letter_is_forwarded_when_its_lease_expires(subscribed: Any, hands: Hands) -> None:
    hands.broker.create_topic(TopicSettings(DEAD))
    hands.broker.create_subscription(SubscriptionSettings(DEAD_SUB, DEAD))
    subscribed(dead_letter=DeadLetterPolicy(DEAD, 5))
    hands.publish("poison")
    for attempt in range(1, 6):
        assert [each.attempt for each in hands.pull()] == [attempt]
        hands.now_s += 11
    hands.broker.expire(SUB)
    assert hands.stats()[0] == 0
    (letter,) = hands.broker.pull(DEAD_SUB, 10)
    assert letter.message.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"] == (
        "1970-01-01T00:16:40.000Z"
    )


def test_without_its_dead_letter_topic_a_message_goes_on_being_delivered(
    subscribed: Any, hands: Hands
) -> None:
    hands.broker.create_topic(TopicSettings(DEAD))
    subscribed(dead_letter=DeadLetterPolicy(DEAD, 5))
    hands.broker.delete_topic(DEAD)
    hands.publish("poison")
    for _ in range(7):
        (delivery,) = hands.pull()
        hands.lease(0, delivery)
    assert delivery.attempt == 7


def test_a_retry_policy_doubles_the_wait(subscribed: Any) -> None:
    hands = subscribed(retry=RetryPolicy(1.0, 3.0))
    hands.publish("a")
    for wait_s in (1.0, 2.0, 3.0, 3.0):
        hands.lease(0, *hands.pull())
        hands.now_s += wait_s - 0.01
        assert hands.bodies() == []
        hands.now_s += 0.02
        hands.broker.expire(SUB)
    assert hands.bodies() == ["a"]


def test_ordering_keys_do_not_hold_up_each_other(subscribed: Any) -> None:
    hands = subscribed(ordered=True)
    hands.publish("k1", "k2", key="k")
    hands.publish("j1", "j2", key="j")
    hands.publish("free")
    first = hands.pull(1)
    assert first[0].message.data == b"k1"
    assert hands.bodies() == ["j1", "j2", "free"]
    hands.woken.clear()
    hands.ack(*first)
    assert hands.woken == [SUB]
    assert hands.bodies() == ["k2"]


def test_an_expired_ordered_message_ends_the_leases_of_later_ones(subscribed: Any) -> None:
    hands = subscribed(ordered=True)
    hands.publish("0", "1", "2", "3", key="k")
    zero, one, two = hands.pull(3)
    hands.ack(zero)
    hands.lease(60, two)
    hands.lease(1, one)
    hands.now_s += 1.1
    assert hands.bodies() == ["1", "2", "3"]
    assert hands.stats()[2] == 3


def test_a_revived_lease_holds_its_ordering_key_again(subscribed: Any) -> None:
    hands = subscribed(ordered=True)
    hands.publish("0", "1", key="k")
    zero, _ = hands.pull(2)
    hands.now_s += 11
    hands.broker.expire(SUB)
    hands.lease(60, zero)
    assert hands.bodies() == []
    hands.ack(zero)
    assert hands.bodies() == ["1"]


def test_a_deleted_subscription_is_not_found(subscribed: Any) -> None:
    hands = subscribed()
    hands.publish("a")
    hands.woken.clear()
    hands.broker.delete_subscription(SUB)
    assert hands.woken == [SUB]
    with pytest.raises(
        PubSubError, match=r"Resource not found \(resource=prompts-sub\)\."
    ) as found:
        hands.pull()
    assert found.value.status is Status.NOT_FOUND
    hands.publish("nobody wants this")


def test_a_project_id_may_hold_a_colon() -> None:
    broker = Broker()
    topic, sub = "projects/example.com:p/topics/abc", "projects/example.com:p/subscriptions/abc"
    broker.create_topic(TopicSettings(topic))
    broker.create_subscription(SubscriptionSettings(sub, topic))
    broker.publish(topic, [Draft(b"x", {})])
    broker.acknowledge(sub, [each.ack_id for each in broker.pull(sub, 1)])
    assert broker.subscription_stats(sub).num_undelivered == 0


def test_a_deep_backlog_costs_no_more_per_message_than_a_shallow_one(subscribed: Any) -> None:
    hands = subscribed()

    def publish(thousands: int) -> None:
        for _ in range(thousands):
            hands.publish(*["x"] * 1000)

    def seconds_per_message() -> float:
        began = time.thread_time()
        for _ in range(10):
            deliveries = hands.pull(100)
            hands.lease(60, *deliveries)
            hands.stats()
            hands.ack(*deliveries)
        return (time.thread_time() - began) / 1000

    publish(3)
    shallow = min(seconds_per_message() for _ in range(3))
    publish(50)
    deep = min(seconds_per_message() for _ in range(3))
    # A scan of the backlog per call would make it some fifty times as much.
    assert deep < 8 * shallow


def test_acked_messages_leave_no_trace_behind_a_stuck_one(subscribed: Any) -> None:
    hands = subscribed()
    hands.publish("stuck")
    (stuck,) = hands.pull()
    hands.lease(600, stuck)
    for _ in range(20):
        hands.publish(*["x"] * 500)
        deliveries = hands.pull(500)
        hands.lease(600, *deliveries)
        hands.ack(*deliveries)
    backlog = hands.broker._subscriptions[SUB].backlog
    assert len(backlog) == 1
    assert len(backlog._by_age) < 2_000
    assert len(backlog._deadlines) < 4_000
    assert not hands.broker._holders.keys() - {stuck.message.id}


@pytest.mark.parametrize("key", ["", "one", "each"])
def test_dropped_messages_leave_no_trace_where_nobody_pulls(subscribed: Any, key: str) -> None:
    hands = subscribed(retention_s=600, ordered=True)
    for number in range(10_000):
        hands.publish("x", key=f"{number}" if key == "each" else key)
        if number % 500 == 499:
            hands.now_s += 601
            assert hands.stats()[0] == 0
    ready = hands.broker._subscriptions[SUB].backlog._ready
    standing = len(ready._fresh) + sum(len(one.waiting) for one in ready._keys.values())
    assert standing < 4_000
    assert len(ready._keys) < 2_000
    hands.publish("a", "b", key="k")
    hands.publish("c")
    assert hands.bodies() == ["a", "b", "c"]
