"""Watches predictions and dead letters as they come, without taking them from anybody.

Reads through subscriptions of its own, made for the purpose and deleted afterwards; whoever
consumes `predictions-sub` does not miss anything.
"""

import contextlib
import getpass
import json
import queue
import time
import uuid
from collections.abc import Iterator
from typing import Any

from google.api_core import exceptions as api_exceptions
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2

from beam_jobs.outcomes import CANARY_ATTRIBUTE, FAILURE_SCHEMA, PREDICTION_SCHEMA

# The least that Pub/Sub allows: a watcher that was killed leaves nothing behind for long.
_EXPIRES_AFTER_S = 24 * 3600


@contextlib.contextmanager
def watching(project: str, topics: list[str]) -> Iterator["queue.Queue[dict[str, Any]]"]:
    """Give a queue that the messages of `topics` arrive in from now on, decoded.

    Each has the key `canary` besides its own, true for a health probe.

    Raises:
        google.api_core.exceptions.GoogleAPIError: a topic is not there, or not to be read.
    """
    subscriber = pubsub_v1.SubscriberClient()
    arrived: queue.Queue[dict[str, Any]] = queue.Queue()

    def on_message(message: Any) -> None:
        message.ack()
        if content := decoded(message.data):
            arrived.put({**content, "canary": CANARY_ATTRIBUTE in message.attributes})

    with contextlib.ExitStack() as stack:
        for topic in topics:
            name = f"projects/{project}/subscriptions/watch-{getpass.getuser()}-{uuid.uuid4().hex}"
            subscriber.create_subscription(
                request={
                    "name": name,
                    "topic": f"projects/{project}/topics/{topic}",
                    "expiration_policy": {"ttl": duration_pb2.Duration(seconds=_EXPIRES_AFTER_S)},
                }
            )
            stack.callback(_delete, subscriber, name)
            stream = subscriber.subscribe(name, on_message)
            stack.callback(_end, stream)
        yield arrived


def decoded(data: bytes) -> dict[str, Any] | None:
    """Return the prediction or failure that `data` is, or None: the topic is not ours alone."""
    try:
        content = json.loads(data)
    except ValueError:
        return None
    schema = content.get("schema") if isinstance(content, dict) else None
    return content if schema in (PREDICTION_SCHEMA, FAILURE_SCHEMA) else None


def arrivals(
    arrived: "queue.Queue[dict[str, Any]]", *, count: int | None, seconds: float | None
) -> Iterator[dict[str, Any]]:
    """Yield what arrives, until `count` have or `seconds` are over."""
    deadline = None if seconds is None else time.monotonic() + seconds
    seen = 0
    while count is None or seen < count:
        left = 1.0 if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return
        with contextlib.suppress(queue.Empty):
            yield arrived.get(timeout=min(left, 1.0))
            seen += 1


def line(message: dict[str, Any]) -> str:
    """Return one line for a person: what became of which prompt."""
    if "reason" in message:
        again = ", may be replayed" if message["retryable"] else ""
        return f"✗ {message['reason']}: {message['detail']} ({message['prompt_id']}{again})"
    if message.get("canary"):
        return f"◇ canary {message['prompt_id']}"
    note = "reused" if message["reused"] else f"{message['latency_ms'] / 1000:.1f} s"
    prompt = " ".join(message["prompt"].split())
    prompt = prompt if len(prompt) <= 60 else prompt[:59] + "…"
    return "\n".join([f"✓ {prompt} ({note})", *(f"  {path}" for path in message["images"])])


def _delete(subscriber: Any, name: str) -> None:
    with contextlib.suppress(api_exceptions.GoogleAPIError):
        subscriber.delete_subscription(subscription=name)


def _end(stream: Any) -> None:
    stream.cancel()
    with contextlib.suppress(Exception):
        stream.result(timeout=5)
