"""Topics, subscriptions and what happens to a message between them, without any I/O.

Everything is synchronous and runs in one thread; time comes from a `Clock`, what has to survive a
restart goes to a `Log`, and who waits for messages is told through a `Listener`. Refusals are
`PubSubError`s with the service's wording.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

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
"""Size at which a response is full. gRPC clients take 4 MiB at most unless told more."""

_LEASES_PER_START = 1 << 40


class Listener(Protocol):
    """Who wants to know of a subscription, by name. Called from within the broker: be brief."""

    def ready(self, subscription: str) -> None:
        """There may be messages to pull, or the subscription is gone."""

    def deadline(self, subscription: str, at_s: float) -> None:
        """`expire` has something to do for this subscription at `at_s` on the steady clock."""


class _Nobody:
    def ready(self, subscription: str) -> None:
        """Nobody waits."""

    def deadline(self, subscription: str, at_s: float) -> None:
        """Nobody keeps time."""


@dataclass(slots=True)
class _Subscription:
    settings: SubscriptionSettings
    wants: Predicate
    backlog: Backlog


class Broker:
    """See the module. `restored` is what the log kept of an earlier run."""

    def __init__(
        self, clock: Clock | None = None, log: Log | None = None, restored: Restored | None = None
    ) -> None:
        self.listener: Listener = _Nobody()
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
        """Add a topic. ALREADY_EXISTS if there is one of that name."""
        if topic.name in self._topics:
            raise already_exists(topic.name)
        self._attached[topic.name] = []
        return self._save_topic(topic)

    def topic(self, name: str) -> TopicSettings:
        """A topic's settings. NOT_FOUND if there is none."""
        topic = self._topics.get(name)
        if topic is None:
            raise not_found(name)
        return topic

    def topics(self, project: str) -> list[TopicSettings]:
        """Every topic of a `projects/<project>`, by name."""
        return [
            self._topics[name] for name in sorted(self._topics) if name.startswith(f"{project}/")
        ]

    def update_topic(
        self, name: str, change: Callable[[TopicSettings], TopicSettings]
    ) -> TopicSettings:
        """Replace a topic's settings by what `change` makes of them."""
        return self._save_topic(change(self.topic(name)))

    def delete_topic(self, name: str) -> None:
        """Remove a topic. Its subscriptions keep their backlog and name `_deleted-topic_`."""
        self.topic(name)
        for subscription in self._attached.pop(name):
            self._save_subscription(
                subscription, replace(subscription.settings, topic=names.DELETED_TOPIC)
            )
        del self._topics[name]
        self._log.topic_deleted(name)

    def publish(self, topic: str, drafts: Sequence[Draft]) -> list[int]:
        """Accept messages and hand them to the subscriptions of `topic`; ids in the same order."""
        self.topic(topic)
        now_ns = self._clock.wall_ns()
        messages = [
            Message.of(self._next_message_id + index, now_ns, draft)
            for index, draft in enumerate(drafts)
        ]
        self._next_message_id += len(messages)
        wanted = [
            (subscription, [each for each in messages if subscription.wants(each.attributes)])
            for subscription in self._attached[topic]
        ]
        for _, batch in wanted:
            for message in batch:
                self._holders[message.id] = self._holders.get(message.id, 0) + 1
        # A message that nobody holds has been delivered to all who wanted it.
        self._log.stored(
            [message for message in messages if message.id in self._holders], self._next_message_id
        )
        for subscription, batch in wanted:
            if batch:
                self._log.published(batch, subscription.settings.name)
                for message in batch:
                    subscription.backlog.add(message)
                self.listener.ready(subscription.settings.name)
        return [message.id for message in messages]

    def create_subscription(self, settings: SubscriptionSettings) -> SubscriptionSettings:
        """Attach a subscription to its topic. It sees what is published from now on."""
        if settings.name in self._subscriptions:
            raise already_exists(settings.name)
        self.topic(settings.topic)
        self._check_dead_letter(settings)
        self._save_subscription(self._attach(settings), settings)
        return settings

    def subscription(self, name: str) -> SubscriptionSettings:
        """A subscription's settings. NOT_FOUND if there is none."""
        return self._subscription(name).settings

    def subscriptions(self, project: str) -> list[SubscriptionSettings]:
        """Every subscription of a `projects/<project>`, by name."""
        return [
            self._subscriptions[name].settings
            for name in sorted(self._subscriptions)
            if name.startswith(f"{project}/")
        ]

    def subscriptions_of(self, topic: str) -> list[str]:
        """The names of a topic's subscriptions, sorted. NOT_FOUND if there is no such topic."""
        self.topic(topic)
        return sorted(subscription.settings.name for subscription in self._attached[topic])

    def update_subscription(
        self, name: str, change: Callable[[SubscriptionSettings], SubscriptionSettings]
    ) -> SubscriptionSettings:
        """Replace a subscription's settings by what `change` makes of them."""
        subscription = self._subscription(name)
        settings = change(subscription.settings)
        self._check_dead_letter(settings)
        self._save_subscription(subscription, settings)
        return settings

    def delete_subscription(self, name: str) -> None:
        """Remove a subscription and its backlog. Whoever waits for it is woken to find it gone."""
        subscription = self._subscription(name)
        del self._subscriptions[name]
        if subscription in (attached := self._attached.get(subscription.settings.topic, [])):
            attached.remove(subscription)
        for message in subscription.backlog.messages:
            self._let_go(message)
        self._log.subscription_deleted(name)
        self.listener.ready(name)

    def subscription_stats(self, name: str) -> SubscriptionStats:
        """How far behind a subscription is, at a cost that does not depend on it."""
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
        """Lease up to `limit` messages, or as many as fit a response; possibly none.

        The leases last for `deadline_s`, or what the subscription says. A `consumer` also limits
        what is taken, and is charged for it until each lease ends.
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
        """Forget messages for this subscription. An ack id that counts no longer does nothing.

        INVALID_ARGUMENT, and nothing acknowledged, if one of them is not of this subscription.
        """
        subscription = self._subscription(name)
        for message_id, lease in parse_ack_ids(name, ack_ids):
            subscription.backlog.ack(message_id, lease)
        if subscription.settings.ordered:
            # What waited behind an ordering key may go out now.
            self.listener.ready(name)

    def modify_ack_deadline(self, name: str, changes: Iterable[tuple[str, float]]) -> None:
        """Give each ack id's lease so many seconds from now; 0 returns the message at once.

        INVALID_ARGUMENT as for `acknowledge`.
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
        """End the leases that are due; their messages can be pulled again."""
        subscription = self._subscription(name)
        freed, exhausted = subscription.backlog.expire(self._clock.steady_s())
        self._forward(subscription, exhausted)
        self._watch(subscription)
        if freed:
            self.listener.ready(name)

    def seek(self, name: str, time_ns: int) -> None:
        """Acknowledge everything published before `time_ns`; what comes after stays as it is.

        Acknowledged messages are not kept, so a seek into the past brings nothing back: as on a
        subscription of the service that does not retain acknowledged messages.
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
            self._let_go(message)

        subscription = _Subscription(
            settings,
            compile_filter(settings.filter),
            Backlog(settings, self._lease_numbers, dropped),
        )
        self._subscriptions[settings.name] = subscription
        self._attached.get(settings.topic, []).append(subscription)
        return subscription

    def _let_go(self, message: Message) -> None:
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
        """Send messages to the dead-letter topic, or back into the queue if that was deleted."""
        policy = subscription.settings.dead_letter
        for entry in exhausted:
            if policy is None or policy.topic not in self._topics:
                subscription.backlog.requeue(entry)
                continue
            draft = dead_letter(subscription.settings.name, entry.message, entry.attempts)
            # Not `self`: forwarding is the service's own doing, which no client's trouble stops.
            Broker.publish(self, policy.topic, [draft])
            subscription.backlog.remove(entry)
