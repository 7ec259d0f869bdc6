"""The dead letters that a task has in hand, leased from Pub/Sub while it decides about them."""

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from imagen_ops.errors import ApiError

if TYPE_CHECKING:
    from imagen_ops.google.pubsub import Message, PubSubMessagesHook

# How long a task that is killed keeps its messages from the next try; a DAG's retry delay has to
# be longer. Renewed after a third of it, so that no step may take longer than the rest.
LEASE_SECONDS = 60

_log = logging.getLogger(__name__)


class Leases:
    """The messages in hand: kept while it takes, given back at the end, however that comes."""

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
            _log.warning("%s; they come back within %d s", error, LEASE_SECONDS)

    def take(self, most: int) -> list["Message"]:
        """Pull up to `most`; whatever the subscription's deadline is, they are ours for longer."""
        self.renew()
        taken = self._messages.take(self._subscription, most)
        ack_ids = {one.id: one.ack_id for one in taken}
        self._ack_ids |= ack_ids
        self._lease(ack_ids.values(), LEASE_SECONDS)
        return taken

    def renew(self) -> None:
        """Keep all for longer, if it is time."""
        now = time.monotonic()
        if now - self._renewed_at > LEASE_SECONDS / 3:
            self._lease(self._ack_ids.values(), LEASE_SECONDS)
            self._renewed_at = now

    def acknowledge(self, messages: Iterable["Message"]) -> None:
        """Be done with some."""
        ids = [one.id for one in messages]
        self._messages.acknowledge_all(self._subscription, [self._ack_ids[one] for one in ids])
        for one in ids:
            del self._ack_ids[one]

    def _lease(self, ack_ids: Iterable[str], seconds: int) -> None:
        self._messages.lease(self._subscription, [*ack_ids], seconds)
