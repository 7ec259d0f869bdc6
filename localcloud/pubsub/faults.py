"""What may go wrong with Pub/Sub, on demand: refused publishes, lost acks, messages in any order.

All of it is within what the service promises: at least once, in no order, with errors that pass.
"""

import dataclasses
import random
from collections.abc import Iterable, Sequence

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

    While `publish_down` is set every publish is refused. Of all messages that are acknowledged for
    the first time the share `lost_ack_rate`, from 0 to 1, comes again at once. With `shuffled` what
    a pull gives comes in any order.
    """

    publish_down: bool = False
    lost_ack_rate: float = 0.0
    shuffled: bool = False


@dataclasses.dataclass
class Counts:
    """What has happened since the start: refused publishes, and lost acks by subscription."""

    publishes_refused: int = 0
    acks_lost: dict[str, int] = dataclasses.field(default_factory=dict)


class Faults:
    """Settings, counts, and what has been lost already. `seed` makes the rates repeatable."""

    def __init__(self, *, seed: int | None = None) -> None:
        self.settings = Settings()
        self.counts = Counts()
        self.chance = random.Random(seed)  # noqa: S311 - chance, not a secret
        self._acknowledged: set[tuple[str, int]] = set()

    def strikes_ack(self, subscription: str, message_id: int) -> bool:
        """Whether this acknowledgement is lost; the first of a message at most is."""
        if (subscription, message_id) in self._acknowledged:
            return False
        self._acknowledged.add((subscription, message_id))
        if self.chance.random() >= self.settings.lost_ack_rate:
            return False
        lost = self.counts.acks_lost
        lost[subscription] = lost.get(subscription, 0) + 1
        return True


class FaultyBroker(Broker):
    """A broker on which `faults` strike; without any it is as any other."""

    def __init__(
        self,
        faults: Faults,
        clock: Clock | None = None,
        log: Log | None = None,
        restored: Restored | None = None,
    ) -> None:
        super().__init__(clock, log, restored)
        self._faults = faults

    def publish(self, topic: str, drafts: Sequence[Draft]) -> list[int]:
        """See `Broker`; UNAVAILABLE while that is asked for."""
        if self._faults.settings.publish_down:
            self._faults.counts.publishes_refused += 1
            raise PubSubError(Status.UNAVAILABLE, "The service is currently unavailable.")
        return super().publish(topic, drafts)

    def pull(
        self,
        name: str,
        limit: int,
        deadline_s: float | None = None,
        consumer: Consumer | None = None,
    ) -> list[Delivery]:
        """See `Broker`; in any order if that is asked for."""
        deliveries = super().pull(name, limit, deadline_s, consumer)
        if self._faults.settings.shuffled:
            self._faults.chance.shuffle(deliveries)
        return deliveries

    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> None:
        """See `Broker`; those that are lost come again at once."""
        if not self._faults.settings.lost_ack_rate:
            super().acknowledge(name, ack_ids)
            return
        ids = list(ack_ids)
        parsed = parse_ack_ids(name, ids)
        lost = [
            ack_id
            for ack_id, (message_id, _) in zip(ids, parsed, strict=True)
            if self._faults.strikes_ack(name, message_id)
        ]
        super().acknowledge(name, set(ids).difference(lost))
        self.modify_ack_deadline(name, [(ack_id, 0) for ack_id in lost])
