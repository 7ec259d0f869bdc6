"""What a topic and a subscription are told to be, apart from the messages they hold.

Plain values, so that the broker neither knows protobuf nor asks for defaults: `resources` has
checked them and filled them in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """A topic. `retention_s` is kept for who reads it; nothing is replayed from a topic here."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    retention_s: float | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterPolicy:
    """Where a message goes that has been delivered `max_attempts` times without an ack."""

    topic: str
    max_attempts: int = 5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a message stays away after a nack or an expired lease: doubling, between the two."""

    minimum_s: float = 10.0
    maximum_s: float = 600.0

    def delay_s(self, attempts: int) -> float:
        """The wait before the next delivery of a message that has had `attempts` (1 or more)."""
        return min(self.maximum_s, self.minimum_s * 2.0 ** min(attempts - 1, 32))


@dataclass(frozen=True, slots=True)
class SubscriptionSettings:
    """A subscription. `expiration_s` (None: never) is kept for who reads it; none expires here."""

    name: str
    topic: str
    ack_deadline_s: int = 10
    retention_s: float = 7 * DAY_S
    labels: Mapping[str, str] = field(default_factory=dict)
    filter: str = ""
    ordered: bool = False
    expiration_s: float | None = 31 * DAY_S
    dead_letter: DeadLetterPolicy | None = None
    retry: RetryPolicy | None = None
