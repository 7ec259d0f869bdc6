"""Pub/Sub, as far as the DAGs need it: canaries, dead letters, and whether all is there."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.google.cloud.hooks.pubsub import PubSubHook
from google import pubsub_v1
from google.api_core import exceptions as api_exceptions
from google.api_core.retry import Retry

from imagen_ops.google.rest import explained

# The jobs pass a message with this attribute through, without a model call.
_CANARY = "canary"
# Somebody else's canary is left to them for this long; then nobody comes for it any more.
_ABANDONED_AFTER = timedelta(minutes=30)
_PULL_SECONDS = 3.0
_CALL_SECONDS = 30.0
_MOST = 100
# A request with acknowledgements has at most 512 KiB, at up to 0.25 KB each; one that publishes
# at most 1,000 messages and 10 MB: https://cloud.google.com/pubsub/quotas#resource_limits
_MAX_ACKS = 1_000
_MAX_PUBLISHED = 1_000
_MAX_PUBLISHED_BYTES = 8_000_000


@dataclasses.dataclass(frozen=True)
class Message:
    """A message that was pulled; `id` is the same each time it comes, `ack_id` is not."""

    id: str
    ack_id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime


class PubSubMessagesHook(PubSubHook):
    """Every method raises `ApiError` when Pub/Sub refuses, or does not answer."""

    def send_canary(self, topic: str, name: str) -> None:
        """Publish a canary; the stream passes it on to the predictions."""
        with explained(f"publishing a canary to {topic}"):
            future = self.get_conn().publish(topic, b"canary", **{_CANARY: name})
            future.result(timeout=_CALL_SECONDS)

    def take_canary(self, subscription: str, name: str) -> datetime | None:
        """Take the canary of that name if it is back; return when it came, by Pub/Sub's clock.

        Those of others stay; those that nobody has come for are cleared away.
        """
        now = datetime.now(UTC)
        returned_at: datetime | None = None
        done: list[str] = []
        left: list[str] = []
        for message in self.take(subscription, _MOST):
            mine = message.attributes.get(_CANARY) == name
            if mine:
                returned_at = message.published_at
            old = now - message.published_at > _ABANDONED_AFTER
            (done if mine or old else left).append(message.ack_id)
        self.acknowledge_all(subscription, done)
        self.lease(subscription, left, 0)
        return returned_at

    def take(self, subscription: str, most: int) -> list[Message]:
        """Pull up to `most` messages; none if none come within a few seconds.

        They come back after the subscription's deadline, unless `lease` or `acknowledge` is called.
        """
        with explained(f"pulling from {subscription}"):
            return [
                Message(
                    item.message.message_id,
                    item.ack_id,
                    item.message.data,
                    dict(item.message.attributes),
                    item.message.publish_time,
                )
                for item in self._pull(subscription, most)
            ]

    def lease(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        """Keep messages from coming back for so long from now; 0 gives them back at once."""
        with explained(f"leasing messages of {subscription}"):
            for some in _chunks(ack_ids, _MAX_ACKS):
                self.subscriber_client.modify_ack_deadline(
                    subscription=subscription,
                    ack_ids=some,
                    ack_deadline_seconds=seconds,
                    timeout=_CALL_SECONDS,
                )

    def acknowledge_all(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Acknowledge messages: they do not come back."""
        with explained(f"acknowledging messages of {subscription}"):
            for some in _chunks(ack_ids, _MAX_ACKS):
                self.subscriber_client.acknowledge(
                    subscription=subscription, ack_ids=some, timeout=_CALL_SECONDS
                )

    def publish_all(self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> None:
        """Publish bodies with their attributes; returns when Pub/Sub has all of them.

        On an error some may have been published.
        """
        with explained(f"publishing to {topic}"):
            for some in _requests(messages):
                # Not the client's own `publish`, which takes attributes as keyword arguments and
                # so none with the names of its parameters, such as "topic" or "timeout".
                pubsub_v1.PublisherClient.publish(
                    self.get_conn(),
                    topic=topic,
                    messages=some,
                    retry=Retry(timeout=_CALL_SECONDS),
                    timeout=_CALL_SECONDS,
                )

    def topic_exists(self, topic: str) -> bool:
        """Whether there is such a topic."""
        with explained(f"looking at {topic}"):
            try:
                self.get_conn().get_topic(topic=topic, timeout=_CALL_SECONDS)
            except api_exceptions.NotFound:
                return False
        return True

    def subscription_exists(self, subscription: str) -> bool:
        """Whether there is such a subscription."""
        with explained(f"looking at {subscription}"):
            try:
                self.subscriber_client.get_subscription(
                    subscription=subscription, timeout=_CALL_SECONDS
                )
            except api_exceptions.NotFound:
                return False
        return True

    def _pull(self, subscription: str, most: int) -> list[Any]:
        try:
            response = self.subscriber_client.pull(
                subscription=subscription, max_messages=most, timeout=_PULL_SECONDS, retry=None
            )
        except api_exceptions.DeadlineExceeded:
            return []  # nothing came: a pull waits for messages
        return list(response.received_messages)


def _chunks(items: Sequence[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _requests(
    messages: Sequence[tuple[bytes, Mapping[str, str]]],
) -> Iterator[list[pubsub_v1.PubsubMessage]]:
    """Yield messages in groups that fit into a request each."""
    group: list[pubsub_v1.PubsubMessage] = []
    size = 0
    for body, attributes in messages:
        message = pubsub_v1.PubsubMessage(data=body, attributes=dict(attributes))
        message_size = pubsub_v1.PubsubMessage.pb(message).ByteSize()
        if group and (len(group) == _MAX_PUBLISHED or size + message_size > _MAX_PUBLISHED_BYTES):
            yield group
            group, size = [], 0
        group.append(message)
        size += message_size
    if group:
        yield group
