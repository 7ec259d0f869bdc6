"""Takes predictions and dead letters as they come, at little cost to what is measured."""

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
# Gathered, so that many come with one request; what it adds to a latency is taken off nowhere.
_EVERY_S = 0.2


class Receiver:
    """What has arrived on both topics since it was made: `arrived` has times and messages.

    The first of each prompt: what is delivered again is nobody's work.
    """

    def __init__(self) -> None:
        self.arrived: list[tuple[float, dict[str, Any]]] = []
        self._prompt_ids: set[str] = set()
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
        """Wait until `count` prompts have come back in all.

        Raises:
            TimeoutError: they do not come.
        """
        deadline = time.monotonic() + within_s
        with self._changed:
            while len(self.arrived) < count:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{len(self.arrived)} of {count} arrived in {within_s} s")

    def times(self, since: int) -> list[float]:
        """When each came, but for the first `since`."""
        return [at for at, _ in self.arrived[since:]]

    def failures(self) -> list[dict[str, Any]]:
        """Those of them that are dead letters."""
        return [message for _, message in self.arrived if "reason" in message]

    def close(self) -> None:
        self._done.set()

    def _take(self, name: str) -> None:
        while not self._done.wait(_EVERY_S):
            try:
                found = self._client.pull(subscription=name, max_messages=1000, timeout=_WAIT_S)
            except (api_exceptions.DeadlineExceeded, api_exceptions.Cancelled):
                continue
            except api_exceptions.NotFound:  # another receiver has taken its place
                return
            if not found.received_messages:
                continue
            now = time.monotonic()
            taken = [(now, json.loads(one.message.data)) for one in found.received_messages]
            ids = [one.ack_id for one in found.received_messages]
            self._client.acknowledge(subscription=name, ack_ids=ids)
            with self._changed:
                for at, message in taken:
                    if message["prompt_id"] not in self._prompt_ids:
                        self._prompt_ids.add(message["prompt_id"])
                        self.arrived.append((at, message))
                self._changed.notify_all()
