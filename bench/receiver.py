"""Receives predictions and dead letters, with little impact on what is measured."""

import contextlib
import json
import threading
import time
from typing import Any

from google import pubsub_v1
from google.api_core import exceptions as api_exceptions

from bench.stand_ins import NAMES
from localcloud.clients import raw_client

_WAIT_S = 1.0
# Pulling at intervals gets many messages with one request. Latencies include this interval.
_EVERY_S = 0.2


class Receiver:
    """Receives from both topics; `arrived` has the times and messages.

    Only the first message of each prompt counts: a redelivery is not work of the job.
    """

    def __init__(self) -> None:
        self.arrived: list[tuple[float, dict[str, Any]]] = []
        self._keys: set[str] = set()
        self._changed = threading.Condition()
        self._done = threading.Event()
        self._client = raw_client(pubsub_v1.SubscriberClient)
        for topic in ("predictions", "dead-letters"):
            name = f"projects/{NAMES.project}/subscriptions/bench-{topic}"
            with contextlib.suppress(api_exceptions.NotFound):
                self._client.delete_subscription(subscription=name)
            topic_name = f"projects/{NAMES.project}/topics/{topic}"
            self._client.create_subscription(name=name, topic=topic_name)
            threading.Thread(target=self._take, args=(name,), daemon=True).start()

    def wait(self, count: int, within_s: float) -> None:
        """Wait until the outcomes of `count` prompts have arrived in total.

        Raises:
            TimeoutError: they did not arrive within `within_s` seconds.
        """
        deadline = time.monotonic() + within_s
        with self._changed:
            while len(self.arrived) < count:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(
                        f"only {len(self.arrived)} of {count} prompts came back within "
                        f"{within_s:g} s"
                    )

    def times(self, since: int) -> list[float]:
        """Return when each outcome arrived, without the first `since`."""
        return [at for at, _ in self.arrived[since:]]

    def failures(self) -> list[dict[str, Any]]:
        """Return the dead letters that have arrived."""
        return [message for _, message in self.arrived if "reason" in message]

    def close(self) -> None:
        self._done.set()

    def _take(self, name: str) -> None:
        while not self._done.wait(_EVERY_S):
            try:
                response = self._client.pull(subscription=name, max_messages=1000, timeout=_WAIT_S)
            except (api_exceptions.DeadlineExceeded, api_exceptions.Cancelled):
                continue
            except api_exceptions.NotFound:  # another receiver has replaced the subscription
                return
            if not response.received_messages:
                continue
            now = time.monotonic()
            outcomes = [(now, json.loads(each.message.data)) for each in response.received_messages]
            ids = [each.ack_id for each in response.received_messages]
            self._client.acknowledge(subscription=name, ack_ids=ids)
            with self._changed:
                for at, message in outcomes:
                    if message["deduplication_key"] not in self._keys:
                        self._keys.add(message["deduplication_key"])
                        self.arrived.append((at, message))
                self._changed.notify_all()
