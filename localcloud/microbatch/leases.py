"""Leases on messages: pulls them, extends their leases, and acknowledges or releases them."""

import logging
import threading

from google import pubsub_v1
from google.api_core import exceptions as api_exceptions

from localcloud.clients import raw_client

_log = logging.getLogger(__name__)

# The duration of a lease, and how often it is renewed. Two renewals in a row can fail.
LEASE_S = 60
RENEW_EVERY_S = 20
# How long a pull waits for a first message, and so how long a drain takes to be noticed.
PULL_WAIT_S = 1.0
# Maximum number of ack ids in a request: an id has some 200 bytes, a request can have 512 KB.
_MAX_IDS = 1000


class Leases:
    """The leases of one process on one subscription. Thread-safe."""

    def __init__(self, subscription: str) -> None:
        self._subscription = subscription
        self._client = raw_client(pubsub_v1.SubscriberClient)
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._renew, name="leases", daemon=True).start()

    def pull(self, max_messages: int) -> list[pubsub_v1.ReceivedMessage]:
        """Lease and return up to `max_messages` messages; none if none arrive within 1 s."""
        try:
            response = self._client.pull(
                subscription=self._subscription,
                max_messages=max_messages,
                timeout=PULL_WAIT_S,
                retry=None,
            )
        except (api_exceptions.DeadlineExceeded, api_exceptions.Cancelled):
            return []
        ids = [message.ack_id for message in response.received_messages]
        with self._lock:
            self._held.update(ids)
        self._extend(ids, LEASE_S)
        return list(response.received_messages)

    def acknowledge(self, ids: list[str]) -> None:
        """Acknowledge messages, whose outcomes have been published."""
        for part in _parts(ids):
            self._client.acknowledge(subscription=self._subscription, ack_ids=part, timeout=30.0)
        self._drop(ids)

    def release(self, ids: list[str], after_s: int) -> None:
        """Have messages delivered again after `after_s` seconds."""
        self._drop(ids)
        self._extend(ids, after_s)

    def close(self) -> None:
        """Stop renewing leases. Messages still held are delivered again when they expire."""
        self._closed.set()

    def _drop(self, ids: list[str]) -> None:
        with self._lock:
            self._held.difference_update(ids)

    def _renew(self) -> None:
        while not self._closed.wait(RENEW_EVERY_S):
            with self._lock:
                ids = list(self._held)
            self._extend(ids, LEASE_S)

    def _extend(self, ids: list[str], seconds: int) -> None:
        for part in _parts(ids):
            try:
                self._client.modify_ack_deadline(
                    subscription=self._subscription,
                    ack_ids=part,
                    ack_deadline_seconds=seconds,
                    timeout=10.0,
                )
            except api_exceptions.GoogleAPIError as error:
                # At worst the messages are delivered again, and their images are reused.
                _log.warning("cannot extend the leases of %d messages: %s", len(part), error)


def _parts(ids: list[str]) -> list[list[str]]:
    return [ids[i : i + _MAX_IDS] for i in range(0, len(ids), _MAX_IDS)]
