"""What the broker tells whoever keeps its state, and what it wants back at the next start."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from localcloud.pubsub.message import Message
from localcloud.pubsub.settings import SubscriptionSettings, TopicSettings


@dataclass(frozen=True, slots=True)
class Restored:
    """The state of an earlier run. `start` counts the runs; `backlog` is per subscription name."""

    start: int = 1
    next_message_id: int = 1
    topics: Sequence[TopicSettings] = ()
    subscriptions: Sequence[SubscriptionSettings] = ()
    backlog: dict[str, list[Message]] = field(default_factory=dict)


class Log(Protocol):
    """Records changes in the order they are made. Must not fail: writing them out comes later."""

    def topic_saved(self, topic: TopicSettings) -> None:
        """A topic was created or updated."""

    def topic_deleted(self, name: str) -> None:
        """A topic is gone; its subscriptions are saved separately."""

    def subscription_saved(self, subscription: SubscriptionSettings) -> None:
        """A subscription was created or updated."""

    def subscription_deleted(self, name: str) -> None:
        """A subscription is gone, and its part of the backlog with it."""

    def published(self, messages: Sequence[Message], subscription: str) -> None:
        """These messages are in this subscription's backlog from now on."""

    def stored(self, messages: Sequence[Message], next_message_id: int) -> None:
        """These messages have been accepted. Ids from `next_message_id` on are unused."""

    def dropped(self, subscription: str, message_id: int) -> None:
        """A message has left a subscription's backlog."""

    def forgotten(self, message_id: int) -> None:
        """No subscription holds this message any longer."""


class NoLog:
    """Keeps nothing: for a server without a state folder."""

    def topic_saved(self, topic: TopicSettings) -> None:
        """Not kept."""

    def topic_deleted(self, name: str) -> None:
        """Not kept."""

    def subscription_saved(self, subscription: SubscriptionSettings) -> None:
        """Not kept."""

    def subscription_deleted(self, name: str) -> None:
        """Not kept."""

    def published(self, messages: Sequence[Message], subscription: str) -> None:
        """Not kept."""

    def stored(self, messages: Sequence[Message], next_message_id: int) -> None:
        """Not kept."""

    def dropped(self, subscription: str, message_id: int) -> None:
        """Not kept."""

    def forgotten(self, message_id: int) -> None:
        """Not kept."""
