"""Whatever happens in whatever order: nothing is lost, and nothing acknowledged comes back."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from localcloud.pubsub.broker import Broker
from localcloud.pubsub.clock import Clock
from localcloud.pubsub.journal import Journal
from localcloud.pubsub.message import Draft
from localcloud.pubsub.settings import SubscriptionSettings, TopicSettings

TOPIC = "projects/p/topics/prompts"
SUBS = ("projects/p/subscriptions/plain", "projects/p/subscriptions/ordered")
DEADLINE_S = 10


class Leases(RuleBasedStateMachine):
    """A broker with its journal beside a model that is a set per subscription."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pubsub-properties-"))
        self.now_s = 1_000.0
        self.unacked: dict[str, set[int]] = {name: set() for name in SUBS}
        self.acked: dict[str, set[int]] = {name: set() for name in SUBS}
        # Every ack id ever handed out; the one that counts per message; until when it excludes.
        self.ack_ids: list[tuple[str, int, str]] = []
        self.current: dict[tuple[str, int], str] = {}
        self.leased_until: dict[tuple[str, int], float] = {}
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.folder)
        clock = Clock(lambda: int(self.now_s * 1e9), lambda: self.now_s)
        self.broker = Broker(clock, self.journal, self.journal.restore())

    def teardown(self) -> None:
        try:
            self.restart()
            for name in SUBS:
                self.now_s += 1_000
                found: set[int] = set()
                while deliveries := self.broker.pull(name, 100):
                    found |= {each.message.id for each in deliveries}
                    self.broker.acknowledge(name, [each.ack_id for each in deliveries])
                assert found == self.unacked[name]
        finally:
            self.journal.close()
            shutil.rmtree(self.folder)

    @initialize()
    def create(self) -> None:
        self.broker.create_topic(TopicSettings(TOPIC))
        for name in SUBS:
            ordered = name.endswith("ordered")
            self.broker.create_subscription(SubscriptionSettings(name, TOPIC, ordered=ordered))

    @rule(keys=st.lists(st.sampled_from(["", "j", "k"]), min_size=1, max_size=5))
    def publish(self, keys: list[str]) -> None:
        ids = self.broker.publish(TOPIC, [Draft(b"x", {}, key) for key in keys])
        for name in SUBS:
            assert not self.unacked[name] & set(ids)
            assert not self.acked[name] & set(ids)
            self.unacked[name] |= set(ids)

    @rule(name=st.sampled_from(SUBS), limit=st.integers(1, 6))
    def pull(self, name: str, limit: int) -> None:
        deliveries = self.broker.pull(name, limit)
        assert len(deliveries) <= limit
        for each in deliveries:
            message = (name, each.message.id)
            assert each.message.id in self.unacked[name]
            assert self.leased_until.get(message, 0.0) <= self.now_s
            self.ack_ids.append((*message, each.ack_id))
            self.current[message] = each.ack_id
            self.leased_until[message] = self.now_s + DEADLINE_S
        if name == SUBS[0] and len(deliveries) < limit:
            # Nothing was held back that nobody has a lease on.
            free = [
                number
                for number in self.unacked[name]
                if self.leased_until.get((name, number), 0.0) <= self.now_s
            ]
            assert not free

    @rule(data=st.data(), seconds=st.sampled_from([-1, 0, 5, 30]))
    def use_an_ack_id(self, data: st.DataObject, seconds: int) -> None:
        """Acknowledge (-1), give back (0) or extend, with any ack id, however old."""
        if not self.ack_ids:
            return
        name, number, ack_id = data.draw(
            st.sampled_from(self.ack_ids[-5:]) | st.sampled_from(self.ack_ids)
        )
        message = (name, number)
        counts = self.current.get(message) == ack_id and number in self.unacked[name]
        if seconds < 0:
            self.broker.acknowledge(name, [ack_id])
            if counts:
                self.unacked[name].remove(number)
                self.acked[name].add(number)
                self.leased_until.pop(message, None)
        else:
            self.broker.modify_ack_deadline(name, [(ack_id, seconds)])
            if counts and seconds:
                self.leased_until[message] = self.now_s + seconds
            elif counts:
                del self.current[message]
                self.release(name, number)

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        for name in SUBS:
            self.broker.expire(name)
            for number in list(self.unacked[name]):
                if 0 < self.leased_until.get((name, number), 0.0) <= self.now_s:
                    self.release(name, number)

    def release(self, name: str, number: int) -> None:
        """A lease has ended; in the ordered subscription those of later messages may have too."""
        self.leased_until.pop((name, number), None)
        if name == SUBS[1]:
            for later in self.unacked[name]:
                if later > number:
                    self.leased_until.pop((name, later), None)

    @rule()
    def restart(self) -> None:
        # What the server does before it answers; what comes after a flush may be cut off anywhere.
        self.journal.flush()
        self.journal._db.close()
        self.open()
        self.leased_until.clear()
        # Any ack id of before counts again, until the message is delivered.
        for name, number, ack_id in self.ack_ids:
            self.current[name, number] = ack_id
        latest = {(name, number): ack_id for name, number, ack_id in self.ack_ids}
        self.ack_ids = [(*message, ack_id) for message, ack_id in latest.items()]

    @invariant()
    def stats_agree(self) -> None:
        for name in SUBS if self.broker.topics("projects/p") else ():
            stats = self.broker.subscription_stats(name)
            assert stats.num_undelivered == len(self.unacked[name])
            if name == SUBS[0]:
                self.broker.expire(name)
                leased = [
                    number
                    for number in self.unacked[name]
                    if self.leased_until.get((name, number), 0.0) > self.now_s
                ]
                assert self.broker.subscription_stats(name).outstanding == len(leased)


TestLeases = pytest.mark.slow(Leases.TestCase)
TestLeases.settings = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
