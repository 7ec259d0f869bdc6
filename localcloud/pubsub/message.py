"""A published message, shared by every subscription that has yet to acknowledge it."""

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
    """A message that has been accepted. Ids increase; `publish_ns` is nanoseconds since 1970.

    `size` in bytes is what flow control and the cap on a response count: body, attributes, key.
    """

    id: int
    publish_ns: int
    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str
    size: int

    @classmethod
    def of(cls, message_id: int, publish_ns: int, draft: Draft) -> "Message":
        """`draft`, accepted under an id and a time."""
        size = len(draft.data) + len(draft.ordering_key)
        size += sum(len(key) + len(value) for key, value in draft.attributes.items())
        return cls(message_id, publish_ns, draft.data, draft.attributes, draft.ordering_key, size)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as a subscriber gets it. `attempt` is 0 unless the subscription dead-letters."""

    ack_id: str
    message: Message
    attempt: int


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """How far behind a subscription is.

    `num_undelivered` counts every unacknowledged message, leased ones included, as Cloud
    Monitoring's metric of that name does; `outstanding` those that are leased right now.
    """

    num_undelivered: int
    oldest_unacked_age_s: float
    outstanding: int
