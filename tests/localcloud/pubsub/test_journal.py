"""The state on disk, without a server."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from localcloud.pubsub.broker import Broker
from localcloud.pubsub.journal import FILE, Journal
from localcloud.pubsub.message import Draft
from localcloud.pubsub.settings import (
    DeadLetterPolicy,
    RetryPolicy,
    SubscriptionSettings,
    TopicSettings,
)

TOPIC = "projects/p/topics/prompts"
SUBS = ("projects/p/subscriptions/first", "projects/p/subscriptions/second")


def reopen(folder: Path) -> tuple[Journal, Broker]:
    journal = Journal(folder)
    return journal, Broker(None, journal, journal.restore())


def rows(folder: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(folder / FILE)) as database:
        count: int = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return count


def test_settings_come_back_as_they_were(tmp_path: Path) -> None:
    journal, broker = reopen(tmp_path)
    topic = TopicSettings(TOPIC, {"team": "images"}, 700.0)
    subscription = SubscriptionSettings(
        SUBS[0],
        TOPIC,
        33,
        1200.0,
        {"a": "b"},
        "attributes:canary",
        True,
        None,
        DeadLetterPolicy(TOPIC, 7),
        RetryPolicy(1.5, 60.0),
    )
    broker.create_topic(topic)
    broker.create_subscription(subscription)
    journal.close()
    journal, broker = reopen(tmp_path)
    assert broker.topic(TOPIC) == topic
    assert broker.subscription(SUBS[0]) == subscription
    broker.delete_topic(TOPIC)
    journal.close()
    _, broker = reopen(tmp_path)
    assert broker.topics("projects/p") == []
    assert broker.subscription(SUBS[0]).topic == "_deleted-topic_"


def test_a_message_is_stored_once_and_until_its_last_ack(tmp_path: Path) -> None:
    journal, broker = reopen(tmp_path)
    broker.create_topic(TopicSettings(TOPIC))
    for name in SUBS:
        broker.create_subscription(SubscriptionSettings(name, TOPIC))
    body = bytes(range(256))
    broker.publish(TOPIC, [Draft(body, {"k": "é"}, "key"), Draft(b"second", {})])
    journal.close()
    assert (rows(tmp_path, "messages"), rows(tmp_path, "backlog")) == (2, 4)

    journal, broker = reopen(tmp_path)
    deliveries = broker.pull(SUBS[0], 10)
    assert [each.message.data for each in deliveries] == [body, b"second"]
    assert deliveries[0].message.attributes == {"k": "é"}
    assert deliveries[0].message.ordering_key == "key"
    broker.acknowledge(SUBS[0], [each.ack_id for each in deliveries])
    journal.close()
    assert (rows(tmp_path, "messages"), rows(tmp_path, "backlog")) == (2, 2)

    journal, broker = reopen(tmp_path)
    assert broker.pull(SUBS[0], 10) == []
    broker.delete_subscription(SUBS[1])
    journal.close()
    assert (rows(tmp_path, "messages"), rows(tmp_path, "backlog")) == (0, 0)


def test_a_message_that_matches_no_subscription_is_not_stored(tmp_path: Path) -> None:
    journal, broker = reopen(tmp_path)
    broker.create_topic(TopicSettings(TOPIC))
    broker.create_subscription(SubscriptionSettings(SUBS[0], TOPIC, filter="attributes:canary"))
    broker.publish(TOPIC, [Draft(b"x", {})])
    journal.close()
    assert rows(tmp_path, "messages") == 0


def test_message_ids_go_on_increasing_after_a_restart(tmp_path: Path) -> None:
    journal, broker = reopen(tmp_path)
    broker.create_topic(TopicSettings(TOPIC))
    (before,) = broker.publish(TOPIC, [Draft(b"x", {})])
    journal.close()
    _, broker = reopen(tmp_path)
    (after,) = broker.publish(TOPIC, [Draft(b"x", {})])
    assert after > before


def test_an_id_that_was_never_written_is_not_used_again(tmp_path: Path) -> None:
    journal, broker = reopen(tmp_path)
    broker.create_topic(TopicSettings(TOPIC))
    journal.flush()
    (lost,) = broker.publish(TOPIC, [Draft(b"x", {})])
    journal._db.close()
    _, broker = reopen(tmp_path)
    assert broker.publish(TOPIC, [Draft(b"x", {})]) > [lost]


def test_an_ack_id_from_before_a_restart_is_valid_until_the_redelivery(tmp_path: Path) -> None:
    journal, broker = reopen(tmp_path)
    broker.create_topic(TopicSettings(TOPIC))
    broker.create_subscription(SubscriptionSettings(SUBS[0], TOPIC))
    broker.publish(TOPIC, [Draft(b"a", {}), Draft(b"b", {})])
    old_a, old_b = (each.ack_id for each in broker.pull(SUBS[0], 10))
    journal.close()
    _, broker = reopen(tmp_path)
    broker.modify_ack_deadline(SUBS[0], [(old_b, 60)])
    (again,) = broker.pull(SUBS[0], 10)
    assert again.message.data == b"a"
    broker.acknowledge(SUBS[0], [old_a, old_b])
    assert broker.subscription_stats(SUBS[0]).num_undelivered == 1
    broker.acknowledge(SUBS[0], [again.ack_id])
    assert broker.subscription_stats(SUBS[0]).num_undelivered == 0


def test_a_write_that_fails_is_retried(tmp_path: Path) -> None:
    journal, broker = reopen(tmp_path)
    broker.create_topic(TopicSettings(TOPIC))
    broken = journal.take()
    broken.ordered.append(("INSERT INTO nowhere VALUES (1)", [()]))
    with pytest.raises(sqlite3.OperationalError):
        journal.write(broken)
    broken.ordered.pop()
    broker.create_subscription(SubscriptionSettings(SUBS[0], TOPIC))
    journal.put_back(broken)
    journal.close()
    _, broker = reopen(tmp_path)
    assert broker.subscriptions_of(TOPIC) == [SUBS[0]]


def test_a_state_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    journal, _ = reopen(tmp_path)
    with pytest.raises(RuntimeError, match="in use by another Pub/Sub server"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()
