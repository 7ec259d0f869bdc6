"""Messages, from publishing to delivery. Subscriptions share one message object."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as a publisher sends it, within the service's limits."""

    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that has been accepted.

    Attributes:
        id: the message's id; ids increase.
        publish_ns: when it was published, in nanoseconds since 1970.
        size: the size of data, attributes and ordering key in bytes, as it counts for flow
            control and for the maximum size of a response.
    """

    id: int
    publish_ns: int
    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str
    size: int

    @classmethod
    def from_draft(cls, message_id: int, publish_ns: int, draft: Draft) -> "Message":
        """Return the message for an accepted draft."""
        size = len(draft.data) + len(draft.ordering_key)
        size += sum(len(key) + len(value) for key, value in draft.attributes.items())
        return cls(message_id, publish_ns, draft.data, draft.attributes, draft.ordering_key, size)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as delivered. `attempt` is 0 unless the subscription has a dead-letter policy."""

    ack_id: str
    message: Message
    attempt: int


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """Backlog statistics of a subscription.

    Attributes:
        num_undelivered: all unacknowledged messages, including leased ones, as in Cloud
            Monitoring's metric of that name.
        oldest_unacked_age_s: the age of the oldest of them, in seconds.
        outstanding: the messages under lease.
    """

    num_undelivered: int
    oldest_unacked_age_s: float
    outstanding: int
