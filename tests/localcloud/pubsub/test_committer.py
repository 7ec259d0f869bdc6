"""Answers wait for the disk, and many of them for one write."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from localcloud.pubsub import protobuf
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.clock import Clock
from localcloud.pubsub.committer import Committer
from localcloud.pubsub.journal import Changes, Journal
from localcloud.pubsub.publisher import Publisher
from localcloud.pubsub.settings import SubscriptionSettings, TopicSettings
from localcloud.pubsub.subscriber import Subscriber
from localcloud.pubsub.wakeups import Wakeups

TOPIC = "projects/p/topics/prompts"
SUB = "projects/p/subscriptions/prompts-sub"


class SlowDisk(Journal):
    """A journal whose writes wait until they are let through, or fail."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.through = threading.Event()
        self.writes = 0
        self.full = False

    def write(self, changes: Changes) -> None:
        self.through.wait(60)
        self.writes += 1
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().write(changes)


@pytest.mark.parametrize("what", ["publish", "acknowledge"])
def test_an_answer_waits_until_its_change_is_on_disk(tmp_path: Path, what: str) -> None:
    async def main() -> None:
        journal = SlowDisk(tmp_path)
        broker = Broker(None, journal, journal.restore())
        committer = Committer(journal)
        publisher = Publisher(broker, committer)
        wakeups = Wakeups(Clock(), broker.expire)
        subscriber = Subscriber(broker, committer, wakeups, asyncio.Event())
        broker.create_topic(TopicSettings(TOPIC))
        broker.create_subscription(SubscriptionSettings(SUB, TOPIC))
        request: Any = protobuf.PublishRequest(
            topic=TOPIC, messages=[protobuf.PubsubMessage(data=b"x") for _ in range(2)]
        )
        answer = asyncio.create_task(publisher.publish(request, None))
        if what == "acknowledge":
            journal.through.set()
            await answer
            journal.through.clear()
            ack_ids = [each.ack_id for each in broker.pull(SUB, 1)]
            request = protobuf.AcknowledgeRequest(subscription=SUB, ack_ids=ack_ids)
            answer = asyncio.create_task(subscriber.acknowledge(request, None))
        done, _ = await asyncio.wait([answer], timeout=0.2)
        assert not done
        journal.through.set()
        await asyncio.wait_for(answer, 60)
        await committer.close()

    asyncio.run(main())


def test_concurrent_waiters_share_a_write(tmp_path: Path) -> None:
    async def main() -> None:
        journal = SlowDisk(tmp_path)
        committer = Committer(journal)
        waiting = []
        for index in range(50):
            journal.topic_saved(TopicSettings(f"projects/p/topics/topic-{index}"))
            waiting.append(asyncio.create_task(committer.durable()))
            await asyncio.sleep(0)
        journal.through.set()
        await asyncio.gather(*waiting)
        assert journal.writes <= 2
        await committer.close()

    asyncio.run(main())


def test_a_write_that_fails_on_a_full_disk_is_retried_later(tmp_path: Path) -> None:
    async def main() -> None:
        journal = SlowDisk(tmp_path)
        committer = Committer(journal)
        journal.through.set()
        journal.full = True
        journal.topic_saved(TopicSettings(TOPIC))
        with pytest.raises(sqlite3.OperationalError, match="full"):
            await committer.durable()
        journal.full = False
        await committer.durable()
        await committer.close()
        assert [topic.name for topic in Journal(tmp_path).restore().topics] == [TOPIC]

    asyncio.run(main())
