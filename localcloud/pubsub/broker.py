"""Topics, subscriptions, and the path of a message between them, without any I/O.

Everything is synchronous and runs in one thread. Time comes from a `Clock`, everything that must
survive a restart goes to a `Log`, and a `Listener` learns when messages are ready. Errors are
`PubSubError`s with the service's wording.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from typing_extensions import override

from localcloud.pubsub import names
from localcloud.pubsub.ack_ids import format_ack_id, parse_ack_ids
from localcloud.pubsub.backlog import Backlog
from localcloud.pubsub.clock import Clock
from localcloud.pubsub.dead_letters import dead_letter
from localcloud.pubsub.entry import Consumer, Entry
from localcloud.pubsub.errors import already_exists, not_found
from localcloud.pubsub.filters import Predicate, compile_filter
from localcloud.pubsub.log import Log, NoLog, Restored
from localcloud.pubsub.message import Delivery, Draft, Message, SubscriptionStats
from localcloud.pubsub.settings import SubscriptionSettings, TopicSettings

RESPONSE_BYTES = 3_500_000
"""Maximum size of a response. By default, gRPC clients accept at most 4 MiB."""

_LEASES_PER_START = 1 << 40


class Listener(Protocol):
    """Receives events of subscriptions, by name. Called inside the broker, so it must be quick."""

    def ready(self, subscription: str) -> None:
        """The subscription may have messages to pull, or it was deleted."""

    def deadline(self, subscription: str, at_s: float) -> None:
        """`expire` must be called for this subscription at `at_s` on the steady clock."""


class _NoListener(Listener):
    @override
    def ready(self, subscription: str) -> None:
        pass

    @override
    def deadline(self, subscription: str, at_s: float) -> None:
        pass


@dataclass(slots=True)
class _Subscription:
    settings: SubscriptionSettings
    matches: Predicate
    backlog: Backlog


class Broker:
    """All topics and subscriptions.

    Methods that take a name raise `PubSubError` with NOT_FOUND if it does not exist.

    Args:
        clock: the time; the system's clocks by default.
        log: records changes; nothing is recorded by default.
        restored: the state that the log kept from an earlier run.
    """

    def __init__(
        self, clock: Clock | None = None, log: Log | None = None, restored: Restored | None = None
    ) -> None:
        self.listener: Listener = _NoListener()
        self._clock = clock or Clock()
        self._log = log or NoLog()
        restored = restored or Restored()
        self._lease_numbers = itertools.count(restored.start * _LEASES_PER_START)
        self._next_message_id = restored.next_message_id
        self._topics = {topic.name: topic for topic in restored.topics}
        self._subscriptions: dict[str, _Subscription] = {}
        self._attached: dict[str, list[_Subscription]] = {name: [] for name in self._topics}
        self._holders: dict[int, int] = {}
        for settings in restored.subscriptions:
            subscription = self._attach(settings)
            for message in restored.backlog.get(settings.name, ()):
                subscription.backlog.add(message)
                self._holders[message.id] = self._holders.get(message.id, 0) + 1

    def create_topic(self, topic: TopicSettings) -> TopicSettings:
        """Create a topic; ALREADY_EXISTS if there is one with that name."""
        if topic.name in self._topics:
            raise already_exists(topic.name)
        self._attached[topic.name] = []
        return self._save_topic(topic)

    def topic(self, name: str) -> TopicSettings:
        """Return a topic's settings."""
        topic = self._topics.get(name)
        if topic is None:
            raise not_found(name)
        return topic

    def topics(self, project: str) -> list[TopicSettings]:
        """Return all topics of a `projects/<project>`, sorted by name."""
        return [
            self._topics[name] for name in sorted(self._topics) if name.startswith(f"{project}/")
        ]

    def update_topic(
        self, name: str, change: Callable[[TopicSettings], TopicSettings]
    ) -> TopicSettings:
        """Replace a topic's settings with what `change` returns for them."""
        return self._save_topic(change(self.topic(name)))

    def delete_topic(self, name: str) -> None:
        """Delete a topic. Its subscriptions keep their backlog, with topic `_deleted-topic_`."""
        self.topic(name)
        for subscription in self._attached.pop(name):
            self._save_subscription(
                subscription, replace(subscription.settings, topic=names.DELETED_TOPIC)
            )
        del self._topics[name]
        self._log.topic_deleted(name)

    def publish(self, topic: str, drafts: Sequence[Draft]) -> list[int]:
        """Add messages to the subscriptions of a topic; return the messages' ids in order."""
        self.topic(topic)
        now_ns = self._clock.wall_ns()
        messages = [
            Message.from_draft(self._next_message_id + index, now_ns, draft)
            for index, draft in enumerate(drafts)
        ]
        self._next_message_id += len(messages)
        batches = [
            (subscription, [each for each in messages if subscription.matches(each.attributes)])
            for subscription in self._attached[topic]
        ]
        for _, batch in batches:
            for message in batch:
                self._holders[message.id] = self._holders.get(message.id, 0) + 1
        # A message that matches no subscription need not be stored.
        self._log.stored(
            [message for message in messages if message.id in self._holders], self._next_message_id
        )
        for subscription, batch in batches:
            if batch:
                self._log.published(batch, subscription.settings.name)
                for message in batch:
                    subscription.backlog.add(message)
                self.listener.ready(subscription.settings.name)
        return [message.id for message in messages]

    def create_subscription(self, settings: SubscriptionSettings) -> SubscriptionSettings:
        """Create a subscription. It receives messages that are published from now on.

        Raises:
            PubSubError: ALREADY_EXISTS, there is one with that name; NOT_FOUND, its topic or
                dead-letter topic does not exist.
        """
        if settings.name in self._subscriptions:
            raise already_exists(settings.name)
        self.topic(settings.topic)
        self._check_dead_letter(settings)
        self._save_subscription(self._attach(settings), settings)
        return settings

    def subscription(self, name: str) -> SubscriptionSettings:
        """Return a subscription's settings."""
        return self._subscription(name).settings

    def subscriptions(self, project: str) -> list[SubscriptionSettings]:
        """Return all subscriptions of a `projects/<project>`, sorted by name."""
        return [
            self._subscriptions[name].settings
            for name in sorted(self._subscriptions)
            if name.startswith(f"{project}/")
        ]

    def subscriptions_of(self, topic: str) -> list[str]:
        """Return the sorted names of a topic's subscriptions."""
        self.topic(topic)
        return sorted(subscription.settings.name for subscription in self._attached[topic])

    def update_subscription(
        self, name: str, change: Callable[[SubscriptionSettings], SubscriptionSettings]
    ) -> SubscriptionSettings:
        """Replace a subscription's settings with what `change` returns for them."""
        subscription = self._subscription(name)
        settings = change(subscription.settings)
        self._check_dead_letter(settings)
        self._save_subscription(subscription, settings)
        return settings

    def delete_subscription(self, name: str) -> None:
        """Delete a subscription and its backlog, and wake all who wait for it."""
        subscription = self._subscription(name)
        del self._subscriptions[name]
        if subscription in (attached := self._attached.get(subscription.settings.topic, [])):
            attached.remove(subscription)
        for message in subscription.backlog.messages:
            self._release(message)
        self._log.subscription_deleted(name)
        self.listener.ready(name)

    def subscription_stats(self, name: str) -> SubscriptionStats:
        """Return a subscription's backlog statistics, at a cost independent of its size."""
        backlog = self._subscription(name).backlog
        self._apply_retention(backlog)
        oldest_ns = backlog.oldest_publish_ns()
        age_s = 0.0 if oldest_ns is None else (self._clock.wall_ns() - oldest_ns) / 1e9
        return SubscriptionStats(len(backlog), max(0.0, age_s), backlog.leased)

    def pull(
        self,
        name: str,
        limit: int,
        deadline_s: float | None = None,
        consumer: Consumer | None = None,
    ) -> list[Delivery]:
        """Lease messages, as many as fit into a response; possibly none.

        Args:
            name: the subscription.
            limit: maximum number of messages.
            deadline_s: how long the leases last, in seconds; the subscription's ack deadline by
                default.
            consumer: a streaming subscriber, whose limits also apply. The messages count against
                those limits until their leases end.
        """
        subscription = self._subscription(name)
        self._apply_retention(subscription.backlog)
        self.expire(name)
        if deadline_s is None:
            deadline_s = subscription.settings.ack_deadline_s
        until = self._clock.steady_s() + deadline_s
        entries = subscription.backlog.take(limit, RESPONSE_BYTES, until, consumer)
        self._watch(subscription)
        counted = subscription.settings.dead_letter is not None
        return [
            Delivery(
                format_ack_id(name, entry.message.id, entry.lease),
                entry.message,
                entry.attempts if counted else 0,
            )
            for entry in entries
        ]

    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> None:
        """Remove messages from a subscription. Outdated ack ids are ignored.

        Raises:
            PubSubError: INVALID_ARGUMENT; an ack id belongs to another subscription. Nothing has
                been acknowledged.
        """
        subscription = self._subscription(name)
        for message_id, lease in parse_ack_ids(name, ack_ids):
            subscription.backlog.ack(message_id, lease)
        if subscription.settings.ordered:
            # Messages that waited behind an ordering key may be deliverable now.
            self.listener.ready(name)

    def modify_ack_deadline(self, name: str, changes: Iterable[tuple[str, float]]) -> None:
        """Set how long leases last from now.

        Args:
            name: the subscription.
            changes: ack ids, each with seconds from now; 0 returns the message at once.

        Raises:
            PubSubError: INVALID_ARGUMENT; an ack id belongs to another subscription.
        """
        subscription = self._subscription(name)
        changes = list(changes)
        parsed = parse_ack_ids(name, (ack_id for ack_id, _ in changes))
        now = self._clock.steady_s()
        nacked = False
        for (message_id, lease), (_, seconds) in zip(parsed, changes, strict=True):
            if seconds > 0:
                subscription.backlog.extend(message_id, lease, now + seconds)
            else:
                nacked = True
                self._forward(subscription, subscription.backlog.nack(message_id, lease, now))
        self._watch(subscription)
        if nacked:
            self.listener.ready(name)

    def expire(self, name: str) -> None:
        """End the leases that are due, so that their messages can be pulled again."""
        subscription = self._subscription(name)
        any_ready, exhausted = subscription.backlog.expire(self._clock.steady_s())
        self._forward(subscription, exhausted)
        self._watch(subscription)
        if any_ready:
            self.listener.ready(name)

    def seek(self, name: str, time_ns: int) -> None:
        """Acknowledge all messages published before `time_ns`, nanoseconds since 1970.

        Acknowledged messages are not kept, so a seek into the past restores nothing. This is what
        the service does on a subscription that does not retain acknowledged messages.
        """
        subscription = self._subscription(name)
        subscription.backlog.drop_older(time_ns)
        if subscription.settings.ordered:
            self.listener.ready(name)

    def _subscription(self, name: str) -> _Subscription:
        subscription = self._subscriptions.get(name)
        if subscription is None:
            raise not_found(name)
        return subscription

    def _save_topic(self, topic: TopicSettings) -> TopicSettings:
        self._topics[topic.name] = topic
        self._log.topic_saved(topic)
        return topic

    def _save_subscription(
        self, subscription: _Subscription, settings: SubscriptionSettings
    ) -> None:
        subscription.settings = subscription.backlog.settings = settings
        self._log.subscription_saved(settings)

    def _attach(self, settings: SubscriptionSettings) -> _Subscription:
        def dropped(message: Message) -> None:
            self._log.dropped(settings.name, message.id)
            self._release(message)

        subscription = _Subscription(
            settings,
            compile_filter(settings.filter),
            Backlog(settings, self._lease_numbers, dropped),
        )
        self._subscriptions[settings.name] = subscription
        self._attached.get(settings.topic, []).append(subscription)
        return subscription

    def _release(self, message: Message) -> None:
        self._holders[message.id] -= 1
        if not self._holders[message.id]:
            del self._holders[message.id]
            self._log.forgotten(message.id)

    def _check_dead_letter(self, settings: SubscriptionSettings) -> None:
        if settings.dead_letter is not None and settings.dead_letter.topic not in self._topics:
            raise not_found(settings.dead_letter.topic)

    def _apply_retention(self, backlog: Backlog) -> None:
        backlog.drop_older(self._clock.wall_ns() - int(backlog.settings.retention_s * 1e9))

    def _watch(self, subscription: _Subscription) -> None:
        at_s = subscription.backlog.next_deadline()
        if at_s is not None:
            self.listener.deadline(subscription.settings.name, at_s)

    def _forward(self, subscription: _Subscription, exhausted: list[Entry]) -> None:
        """Publish messages to the dead-letter topic, or requeue them if that topic was deleted."""
        policy = subscription.settings.dead_letter
        for entry in exhausted:
            if policy is None or policy.topic not in self._topics:
                subscription.backlog.requeue(entry)
                continue
            draft = dead_letter(subscription.settings.name, entry.message, entry.attempts)
            # Bypass the overrides of `FaultyBroker`: the service forwards messages itself, so
            # faults of clients' publishes do not apply.
            Broker.publish(self, policy.topic, [draft])
            subscription.backlog.remove(entry)
