"""Pub/Sub, as far as the DAGs need it: canaries there and back, and whether all is there."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.google.cloud.hooks.pubsub import PubSubHook
from google.api_core import exceptions as api_exceptions

from imagen_ops.hooks.rest import explained

# The jobs pass a message with this attribute through, without a model call.
_CANARY = "canary"
# Somebody else's canary is left to them for this long; then nobody comes for it any more.
_ABANDONED_AFTER = timedelta(minutes=30)
_PULL_SECONDS = 3.0
_CALL_SECONDS = 30.0
_MOST = 100


@dataclasses.dataclass(frozen=True)
class Canary:
    """A canary's name and when it was published, by Pub/Sub's clock."""

    name: str
    at: datetime


class MessagesHook(PubSubHook):
    """Every method raises `ApiError` when Pub/Sub refuses, or does not answer."""

    def send_canary(self, topic: str, name: str) -> None:
        """Publish a canary; the stream passes it on to the predictions."""
        with explained(f"publishing a canary to {topic}"):
            future = self.get_conn().publish(topic, b"canary", **{_CANARY: name})
            future.result(timeout=_CALL_SECONDS)

    def take_canary(self, subscription: str, name: str) -> Canary | None:
        """Return the canary of that name if it is back, and take it.

        Those of others stay; those that nobody has come for are cleared away.
        """
        now = datetime.now(UTC)
        ours: Canary | None = None
        done: list[str] = []
        left: list[str] = []
        with explained(f"pulling from {subscription}"):
            for item in self._pull(subscription):
                found = Canary(item.message.attributes.get(_CANARY, ""), item.message.publish_time)
                mine = found.name == name
                ours = found if mine else ours
                old = now - found.at > _ABANDONED_AFTER
                (done if mine or old else left).append(item.ack_id)
            if done:
                self.subscriber_client.acknowledge(
                    subscription=subscription, ack_ids=done, timeout=_CALL_SECONDS
                )
            if left:
                self.subscriber_client.modify_ack_deadline(
                    subscription=subscription,
                    ack_ids=left,
                    ack_deadline_seconds=0,
                    timeout=_CALL_SECONDS,
                )
        return ours

    def topic_is_there(self, topic: str) -> bool:
        """Whether there is such a topic."""
        with explained(f"looking at {topic}"):
            try:
                self.get_conn().get_topic(topic=topic, timeout=_CALL_SECONDS)
            except api_exceptions.NotFound:
                return False
        return True

    def subscription_is_there(self, subscription: str) -> bool:
        """Whether there is such a subscription."""
        with explained(f"looking at {subscription}"):
            try:
                self.subscriber_client.get_subscription(
                    subscription=subscription, timeout=_CALL_SECONDS
                )
            except api_exceptions.NotFound:
                return False
        return True

    def _pull(self, subscription: str) -> list[Any]:
        try:
            response = self.subscriber_client.pull(
                subscription=subscription, max_messages=_MOST, timeout=_PULL_SECONDS, retry=None
            )
        except api_exceptions.DeadlineExceeded:
            return []  # nothing came: a pull waits for messages
        return list(response.received_messages)
