"""The interface between the broker and the storage of its state."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from typing_extensions import override

from localcloud.pubsub.message import Message
from localcloud.pubsub.settings import SubscriptionSettings, TopicSettings


@dataclass(frozen=True, slots=True)
class Restored:
    """The saved state. `start` is the number of this run; `backlog` is by subscription name."""

    start: int = 1
    next_message_id: int = 1
    topics: Sequence[TopicSettings] = ()
    subscriptions: Sequence[SubscriptionSettings] = ()
    backlog: dict[str, list[Message]] = field(default_factory=dict)


class Log(Protocol):
    """Records changes in order. Methods must not fail: changes are written to disk later."""

    def topic_saved(self, topic: TopicSettings) -> None:
        """A topic was created or updated."""

    def topic_deleted(self, name: str) -> None:
        """A topic was deleted. Its subscriptions are saved separately."""

    def subscription_saved(self, subscription: SubscriptionSettings) -> None:
        """A subscription was created or updated."""

    def subscription_deleted(self, name: str) -> None:
        """A subscription was deleted, together with its backlog."""

    def published(self, messages: Sequence[Message], subscription: str) -> None:
        """Messages were added to a subscription's backlog."""

    def stored(self, messages: Sequence[Message], next_message_id: int) -> None:
        """Messages were accepted. Ids from `next_message_id` on are unused."""

    def dropped(self, subscription: str, message_id: int) -> None:
        """A message was removed from a subscription's backlog."""

    def forgotten(self, message_id: int) -> None:
        """A message is in no subscription's backlog any more."""


class NoLog(Log):
    """Records nothing, for a server without a state folder."""

    @override
    def topic_saved(self, topic: TopicSettings) -> None:
        pass

    @override
    def topic_deleted(self, name: str) -> None:
        pass

    @override
    def subscription_saved(self, subscription: SubscriptionSettings) -> None:
        pass

    @override
    def subscription_deleted(self, name: str) -> None:
        pass

    @override
    def published(self, messages: Sequence[Message], subscription: str) -> None:
        pass

    @override
    def stored(self, messages: Sequence[Message], next_message_id: int) -> None:
        pass

    @override
    def dropped(self, subscription: str, message_id: int) -> None:
        pass

    @override
    def forgotten(self, message_id: int) -> None:
        pass
