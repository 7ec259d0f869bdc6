"""Subscriptions: what is not as it should be is found, and filters are tried."""

import pytest
from google.protobuf import duration_pb2

from tests.conftest import Lane
from tests.verification.conftest import DAY_S, Verifying, differs, holds, make_subscription

TTL = {"expiration_policy": {"ttl": duration_pb2.Duration(seconds=31 * DAY_S)}}


def remake(lane: Lane, kind: str, topic: str, **fields: object) -> None:
    lane.subscriber.delete_subscription(subscription=lane.subscription(kind))
    make_subscription(lane, f"{lane.name}-{kind}-sub", f"{lane.name}-{topic}", **fields)


def test_subscriptions_as_composer_tf_makes_them_hold(verifying: Verifying) -> None:
    holds(verifying.ask("subscriptions"))


def test_a_wrong_filter_is_found(verifying: Verifying, lane: Lane) -> None:
    remake(lane, "predictions", "predictions", days=7)
    differs(verifying.ask("subscriptions"), "predictions-sub has the filter ''")


def test_a_topic_without_its_subscription_is_found(verifying: Verifying, lane: Lane) -> None:
    lane.subscriber.delete_subscription(subscription=lane.subscription("dead-letters"))
    differs(verifying.ask("subscriptions"), "dead-letters-sub does not exist")


def test_a_subscription_of_another_topic_is_found(verifying: Verifying, lane: Lane) -> None:
    remake(lane, "dead-letters", "predictions")
    differs(verifying.ask("subscriptions"), "belongs to", "not to")


def test_a_topic_that_was_deleted_and_made_anew_is_found(verifying: Verifying, lane: Lane) -> None:
    lane.publisher.delete_topic(topic=lane.topic("prompts"))
    lane.publisher.create_topic(name=lane.topic("prompts"))
    differs(verifying.ask("subscriptions"), "belongs to _deleted-topic_")


@pytest.mark.parametrize(
    ("fields", "words"), [({"days": 7}, "keeps messages for 7 days, not 31"), (TTL, "expires")]
)
def test_a_subscription_that_forgets_is_found(
    verifying: Verifying, lane: Lane, fields: dict[str, object], words: str
) -> None:
    remake(lane, "prompts", "prompts", **fields)
    differs(verifying.ask("subscriptions"), words)


def test_filters_are_tried_on_a_topic_that_is_gone_afterwards(
    verifying: Verifying, lane: Lane
) -> None:
    holds(verifying.ask("filters"))
    project = f"projects/{verifying.visit.deployment.project}"
    topics = [topic.name for topic in lane.publisher.list_topics(project=project)]
    subscriptions = list(lane.subscriber.list_subscriptions(project=project))
    mark = verifying.visit.mark
    assert not [name for name in topics if mark in name]
    assert not [each.name for each in subscriptions if mark in each.name]
