"""The dead letters that a task is working on, leased from Pub/Sub until it has decided on them."""

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from imagen_ops.errors import ApiError

if TYPE_CHECKING:
    from imagen_ops.google.pubsub import Message, PubSubMessagesHook

# How long a killed task keeps its messages from the next try, so the DAG's retry delay has to be
# longer. Leases are renewed after a third of it, so no step may take longer than the other two.
LEASE_SECONDS = 60

_log = logging.getLogger(__name__)


class Leases:
    """The messages that a task holds. Use it in a `with` block, which gives back what is left.

    Args:
        messages: the hook to reach Pub/Sub with.
        subscription: projects/P/subscriptions/S.

    Raises:
        ApiError: by `pull`, `renew` and `acknowledge`, if Pub/Sub refuses or does not answer.
    """

    def __init__(self, messages: "PubSubMessagesHook", subscription: str) -> None:
        self._messages = messages
        self._subscription = subscription
        self._ack_ids: dict[str, str] = {}
        self._renewed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._lease(self._ack_ids.values(), 0)
        except ApiError as error:
            _log.warning("%s; Pub/Sub delivers them again within %d s", error, LEASE_SECONDS)

    def pull(self, max_messages: int) -> list["Message"]:
        """Pull up to `max_messages`, and lease them whatever the subscription's deadline is."""
        self.renew()
        messages = self._messages.pull_messages(self._subscription, max_messages)
        ack_ids = {message.id: message.ack_id for message in messages}
        self._ack_ids |= ack_ids
        self._lease(ack_ids.values(), LEASE_SECONDS)
        return messages

    def renew(self) -> None:
        """Extend all leases, if a third of their time is over."""
        now = time.monotonic()
        if now - self._renewed_at > LEASE_SECONDS / 3:
            self._lease(self._ack_ids.values(), LEASE_SECONDS)
            self._renewed_at = now

    def acknowledge(self, messages: Iterable["Message"]) -> None:
        """Acknowledge messages, so that Pub/Sub does not deliver them again."""
        ids = [message.id for message in messages]
        self._messages.acknowledge_all(
            self._subscription, [self._ack_ids[message_id] for message_id in ids]
        )
        for message_id in ids:
            del self._ack_ids[message_id]

    def _lease(self, ack_ids: Iterable[str], seconds: int) -> None:
        self._messages.lease(self._subscription, [*ack_ids], seconds)
