"""The settings of topics and subscriptions.

They are plain values, so that the broker needs to know neither protobuf nor defaults: `resources`
validates them and fills in defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """A topic. `retention_s` is only stored and returned; a topic cannot be replayed here."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    retention_s: float | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterPolicy:
    """The topic for messages that were delivered `max_attempts` times without an ack."""

    topic: str
    max_attempts: int = 5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The delay after a nack or an expired lease: it doubles from `minimum_s` to `maximum_s`."""

    minimum_s: float = 10.0
    maximum_s: float = 600.0

    def delay_s(self, attempts: int) -> float:
        """Return the seconds until the next delivery, after `attempts` (at least 1) deliveries."""
        return min(self.maximum_s, self.minimum_s * 2.0 ** min(attempts - 1, 32))


@dataclass(frozen=True, slots=True)
class SubscriptionSettings:
    """A subscription. `expiration_s` is only stored and returned; subscriptions never expire."""

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
