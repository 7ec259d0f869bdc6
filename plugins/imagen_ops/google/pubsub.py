"""Pub/Sub: canaries, dead letters, and whether topics and subscriptions exist."""

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.google.cloud.hooks.pubsub import PubSubHook
from google import pubsub_v1
from google.api_core import exceptions as api_exceptions
from google.api_core.retry import Retry

from beam_jobs.outcomes import CANARY_ATTRIBUTE
from beam_jobs.prompts.canary import SIGNATURE_ATTRIBUTE, is_name
from imagen_ops.google.rest import explained

# For this long, a task may still be waiting for its canary: a start, or a health check.
_ABANDONED_AFTER = timedelta(minutes=30)
_MAX_AWAITED = 20
_PULL_TIMEOUT_S = 3.0
_CALL_TIMEOUT_S = 30.0
# How long one look for a canary may take. It takes what lies in the subscription in batches.
_LOOK_S = 20.0
_CANARIES_PER_PULL = 1_000
# An acknowledge request may have 512 KiB, and an id takes up to 0.25 KB. A publish request may have
# 1,000 messages and 10 MB: https://cloud.google.com/pubsub/quotas#resource_limits
_MAX_ACK_IDS_PER_REQUEST = 1_000
_MAX_MESSAGES_PER_REQUEST = 1_000
_MAX_BYTES_PER_REQUEST = 8_000_000


@dataclasses.dataclass(frozen=True)
class Message:
    """A pulled message.

    Args:
        id: the same for every delivery of the message.
        ack_id: different for every delivery.
        data: the body.
        attributes: the message attributes.
        published_at: in UTC, by Pub/Sub's clock.
    """

    id: str
    ack_id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime


class PubSubMessagesHook(PubSubHook):
    """Messages, topics and subscriptions.

    Topics and subscriptions are full resource names, such as `projects/PROJECT/topics/NAME`.

    Raises:
        ApiError: by every method, if Pub/Sub refuses or does not answer.
    """

    def send_canary(self, topic: str, name: str, signature: str) -> None:
        """Publish a signed canary, which the stream passes on to the predictions."""
        attributes = {CANARY_ATTRIBUTE: name, SIGNATURE_ATTRIBUTE: signature}
        with explained(f"publishing a canary to {topic}"):
            future = self.get_conn().publish(topic, b"", **attributes)
            future.result(timeout=_CALL_TIMEOUT_S)

    def find_canary(self, subscription: str, name: str) -> datetime | None:
        """Return when the canary called `name` returned, and acknowledge what lies in its way.

        Takes batches until the canary is among them, none are left, or 20 s are over. Everything
        is acknowledged, except for the newest 20 canaries that are less than 30 minutes old: other
        tasks may be waiting for them, and so may the next try of this one, if it is killed before
        it has told anybody.

        Returns:
            The time in UTC by Pub/Sub's clock; None if it has not returned.
        """
        deadline = time.monotonic() + _LOOK_S
        awaited: dict[str, Message] = {}
        returned_at: datetime | None = None
        while returned_at is None and time.monotonic() < deadline:
            messages = self.pull_messages(subscription, _CANARIES_PER_PULL)
            if not messages:
                break
            finished = []
            for message in messages:
                if message.attributes.get(CANARY_ATTRIBUTE) == name:
                    returned_at = message.published_at
                if _may_be_awaited(message):
                    awaited[message.id] = message
                else:
                    finished.append(message)
            by_age = sorted(awaited.values(), key=lambda message: message.published_at)
            finished += [awaited.pop(old.id) for old in by_age[:-_MAX_AWAITED]]
            self.acknowledge_all(subscription, [message.ack_id for message in finished])
        self.lease(subscription, [message.ack_id for message in awaited.values()], 0)
        return returned_at

    def pull_messages(self, subscription: str, max_messages: int) -> list[Message]:
        """Pull up to `max_messages` messages; none if none arrive within 3 s.

        Pub/Sub redelivers them after the subscription's acknowledgement deadline, unless you call
        `lease` or `acknowledge_all`.
        """
        with explained(f"pulling from {subscription}"):
            return [
                Message(
                    id=item.message.message_id,
                    ack_id=item.ack_id,
                    data=item.message.data,
                    attributes=dict(item.message.attributes),
                    published_at=item.message.publish_time,
                )
                for item in self._pull(subscription, max_messages)
            ]

    def lease(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        """Postpone the redelivery of messages by `seconds` from now; 0 redelivers them at once."""
        with explained(f"extending the deadlines of messages of {subscription}"):
            for chunk in _chunks(ack_ids, _MAX_ACK_IDS_PER_REQUEST):
                self.subscriber_client.modify_ack_deadline(
                    subscription=subscription,
                    ack_ids=chunk,
                    ack_deadline_seconds=seconds,
                    timeout=_CALL_TIMEOUT_S,
                )

    def acknowledge_all(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Acknowledge messages, so that Pub/Sub does not redeliver them."""
        with explained(f"acknowledging messages of {subscription}"):
            for chunk in _chunks(ack_ids, _MAX_ACK_IDS_PER_REQUEST):
                self.subscriber_client.acknowledge(
                    subscription=subscription, ack_ids=chunk, timeout=_CALL_TIMEOUT_S
                )

    def publish_all(self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> None:
        """Publish messages and wait until Pub/Sub has stored all of them.

        After an error, some of them may have been published.

        Args:
            topic: the full name of the topic.
            messages: bodies with their attributes.
        """
        with explained(f"publishing to {topic}"):
            for batch in _batches(messages):
                # The client's own `publish` takes attributes as keyword arguments, so it cannot
                # send one that is called like a parameter, such as "topic" or "timeout".
                pubsub_v1.PublisherClient.publish(
                    self.get_conn(),
                    topic=topic,
                    messages=batch,
                    retry=Retry(timeout=_CALL_TIMEOUT_S),
                    timeout=_CALL_TIMEOUT_S,
                )

    def topic_exists(self, topic: str) -> bool:
        """Whether the topic exists."""
        with explained(f"checking whether {topic} exists"):
            try:
                self.get_conn().get_topic(topic=topic, timeout=_CALL_TIMEOUT_S)
            except api_exceptions.NotFound:
                return False
        return True

    def subscription_exists(self, subscription: str) -> bool:
        """Whether the subscription exists."""
        with explained(f"checking whether {subscription} exists"):
            try:
                self.subscriber_client.get_subscription(
                    subscription=subscription, timeout=_CALL_TIMEOUT_S
                )
            except api_exceptions.NotFound:
                return False
        return True

    def _pull(self, subscription: str, max_messages: int) -> list[Any]:
        try:
            response = self.subscriber_client.pull(
                subscription=subscription,
                max_messages=max_messages,
                timeout=_PULL_TIMEOUT_S,
                retry=None,
            )
        except api_exceptions.DeadlineExceeded:
            return []  # a pull waits for messages, and none arrived
        return list(response.received_messages)


def _may_be_awaited(message: Message) -> bool:
    is_canary = is_name(message.attributes.get(CANARY_ATTRIBUTE, ""))
    return is_canary and datetime.now(UTC) - message.published_at < _ABANDONED_AFTER


def _chunks(items: Sequence[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _batches(
    messages: Sequence[tuple[bytes, Mapping[str, str]]],
) -> Iterator[list[pubsub_v1.PubsubMessage]]:
    """Yield the messages in batches that each fit into one request."""
    batch: list[pubsub_v1.PubsubMessage] = []
    size = 0
    for body, attributes in messages:
        message = pubsub_v1.PubsubMessage(data=body, attributes=dict(attributes))
        message_size = pubsub_v1.PubsubMessage.pb(message).ByteSize()
        if batch and (
            len(batch) == _MAX_MESSAGES_PER_REQUEST or size + message_size > _MAX_BYTES_PER_REQUEST
        ):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += message_size
    if batch:
        yield batch
