"""Injects faults into Pub/Sub: rejected publishes, lost acks, messages in any order.

All of them are within what the service promises: at-least-once delivery in no particular order,
with temporary errors.
"""

import dataclasses
import random
from collections.abc import Iterable, Sequence

from typing_extensions import override

from localcloud.pubsub.ack_ids import parse_ack_ids
from localcloud.pubsub.broker import Broker
from localcloud.pubsub.clock import Clock
from localcloud.pubsub.entry import Consumer
from localcloud.pubsub.errors import PubSubError, Status
from localcloud.pubsub.log import Log, Restored
from localcloud.pubsub.message import Delivery, Draft


@dataclasses.dataclass
class Settings:
    """Set by a PATCH of `/localcloud/pubsub` of the stand-in for Monitoring.

    Attributes:
        publish_down: reject every publish.
        lost_ack_rate: the share of messages, from 0 to 1, whose first acknowledgement is lost, so
            that they are delivered again at once.
        shuffled: return the messages of a pull in random order.
    """

    publish_down: bool = False
    lost_ack_rate: float = 0.0
    shuffled: bool = False


@dataclasses.dataclass
class Counts:
    """Counters since the start: rejected publishes, and lost acks by subscription."""

    publishes_refused: int = 0
    acks_lost: dict[str, int] = dataclasses.field(default_factory=dict)


class Faults:
    """Settings, counters, and which acks were lost. `seed` makes random faults repeatable."""

    def __init__(self, *, seed: int | None = None) -> None:
        self.settings = Settings()
        self.counts = Counts()
        self.chance = random.Random(seed)  # noqa: S311 - chance, not a secret
        self._acknowledged: set[tuple[str, int]] = set()

    def loses_ack(self, subscription: str, message_id: int) -> bool:
        """Decide whether an acknowledgement is lost. Only the first of a message can be."""
        if (subscription, message_id) in self._acknowledged:
            return False
        self._acknowledged.add((subscription, message_id))
        if self.chance.random() >= self.settings.lost_ack_rate:
            return False
        lost = self.counts.acks_lost
        lost[subscription] = lost.get(subscription, 0) + 1
        return True


class FaultyBroker(Broker):
    """A broker with injected faults.

    `publish` raises UNAVAILABLE while `publish_down` is set, `pull` shuffles messages while
    `shuffled` is set, and `acknowledge` loses acks at `lost_ack_rate`.
    """

    def __init__(
        self,
        faults: Faults,
        clock: Clock | None = None,
        log: Log | None = None,
        restored: Restored | None = None,
    ) -> None:
        super().__init__(clock, log, restored)
        self._faults = faults

    @override
    def publish(self, topic: str, drafts: Sequence[Draft]) -> list[int]:
        if self._faults.settings.publish_down:
            self._faults.counts.publishes_refused += 1
            raise PubSubError(Status.UNAVAILABLE, "The service is currently unavailable.")
        return super().publish(topic, drafts)

    @override
    def pull(
        self,
        name: str,
        limit: int,
        deadline_s: float | None = None,
        consumer: Consumer | None = None,
    ) -> list[Delivery]:

        deliveries = super().pull(name, limit, deadline_s, consumer)
        if self._faults.settings.shuffled:
            self._faults.chance.shuffle(deliveries)
        return deliveries

    @override
    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> None:
        if not self._faults.settings.lost_ack_rate:
            super().acknowledge(name, ack_ids)
            return
        ids = list(ack_ids)
        parsed = parse_ack_ids(name, ids)
        lost = [
            ack_id
            for ack_id, (message_id, _) in zip(ids, parsed, strict=True)
            if self._faults.loses_ack(name, message_id)
        ]
        super().acknowledge(name, set(ids).difference(lost))
        self.modify_ack_deadline(name, [(ack_id, 0) for ack_id in lost])
