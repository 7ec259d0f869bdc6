"""What Pub/Sub does on demand, within what it promises."""

import dataclasses
import json

import pytest

from localcloud.pubsub.clock import Clock
from localcloud.pubsub.errors import PubSubError, Status
from localcloud.pubsub.faults import Faults, FaultyBroker
from localcloud.pubsub.message import Draft
from localcloud.pubsub.settings import DeadLetterPolicy, SubscriptionSettings, TopicSettings

TOPIC = "projects/p/topics/prompts"
DEAD = "projects/p/topics/dead"
SUB = "projects/p/subscriptions/prompts-sub"
DEAD_SUB = "projects/p/subscriptions/dead-sub"


@pytest.fixture
def faults():
    return Faults(seed=1)


@pytest.fixture
def broker(faults):
    broker = FaultyBroker(faults)
    broker.create_topic(TopicSettings(TOPIC))
    broker.create_subscription(SubscriptionSettings(SUB, TOPIC))
    return broker


def publish(broker, count):
    broker.publish(TOPIC, [Draft(b"%d" % n, {}, "") for n in range(count)])


def pull(broker):
    deliveries = broker.pull(SUB, 1000)
    return [int(one.message.data) for one in deliveries], [one.ack_id for one in deliveries]


def test_a_faulty_broker_without_faults_behaves_normally(broker):
    publish(broker, 50)
    numbers, ids = pull(broker)
    assert numbers == [*range(50)]
    broker.acknowledge(SUB, ids)
    assert pull(broker)[0] == []


def test_publishes_are_refused_and_leave_nothing(broker, faults):
    faults.settings.publish_down = True
    with pytest.raises(PubSubError) as refused:
        publish(broker, 3)
    assert refused.value.status is Status.UNAVAILABLE
    faults.settings.publish_down = False
    assert pull(broker)[0] == []
    assert faults.counts.publishes_refused == 1


@pytest.mark.parametrize("end", ["nack", "expiry"])
def test_while_publishes_are_refused_the_service_still_forwards_dead_letters(faults, end):
    now_s = [1_000.0]
    broker = FaultyBroker(faults, Clock(lambda: int(now_s[0] * 1e9), lambda: now_s[0]))
    for topic in (TOPIC, DEAD):
        broker.create_topic(TopicSettings(topic))
    broker.create_subscription(SubscriptionSettings(DEAD_SUB, DEAD))
    policy = DeadLetterPolicy(DEAD, 5)
    broker.create_subscription(SubscriptionSettings(SUB, TOPIC, dead_letter=policy))
    publish(broker, 1)
    faults.settings.publish_down = True
    for _ in range(5):
        _, ids = pull(broker)
        if end == "nack":
            broker.modify_ack_deadline(SUB, [(ack_id, 0) for ack_id in ids])
        else:
            now_s[0] += 11
            broker.expire(SUB)
    assert [one.message.data for one in broker.pull(DEAD_SUB, 10)] == [b"0"]
    assert broker.subscription_stats(SUB).num_undelivered == 0
    assert faults.counts.publishes_refused == 0


def test_a_lost_ack_brings_each_message_back_once(broker, faults):
    faults.settings.lost_ack_rate = 1.0
    publish(broker, 50)
    broker.acknowledge(SUB, pull(broker)[1])
    again, ids = pull(broker)
    assert sorted(again) == [*range(50)]
    broker.acknowledge(SUB, ids)
    assert pull(broker)[0] == []
    assert json.dumps(dataclasses.asdict(faults.counts)), "as the stand-in tells it"
    assert faults.counts.acks_lost == {SUB: 50}


def test_a_share_of_acks_is_lost(broker, faults):
    faults.settings.lost_ack_rate = 0.3
    publish(broker, 1000)
    broker.acknowledge(SUB, pull(broker)[1])
    assert 200 < len(pull(broker)[0]) < 400


def test_shuffled_messages_are_all_there_in_another_order(broker, faults):
    faults.settings.shuffled = True
    publish(broker, 50)
    numbers, _ = pull(broker)
    assert numbers != [*range(50)]
    assert sorted(numbers) == [*range(50)]
