"""Watches predictions and dead letters as they come.

`watching` takes nothing from anybody: it reads through subscriptions of its own, made for the
purpose and deleted afterwards. `taken` is for a subscription that nobody else consumes, to see what
it holds: what is shown is acknowledged.
"""

import contextlib
import getpass
import json
import queue
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from typing import Any

from google.api_core import exceptions as api_exceptions
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2

from beam_jobs.cli.terminal import printable
from beam_jobs.outcomes import CANARY_ATTRIBUTE, FAILURE_SCHEMA, PREDICTION_SCHEMA

# The least that Pub/Sub allows: a watcher that was killed leaves nothing behind for long.
_EXPIRES_AFTER_S = 24 * 3600
# How long one pull waits, and how many it leases: few enough to be shown within the lease.
_PULL_S = 20.0
_PULL_MAX = 100


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


def taken(
    project: str,
    subscription: str,
    *,
    count: int | None,
    seconds: float | None,
    passed_over: Callable[[str], None],
) -> Generator[dict[str, Any], None, None]:
    """Yield what a subscription holds and gets, as `watching` does, and take it from there.

    A message is acknowledged when the next one is asked for, so one that the caller did not come
    to show comes again. No more are leased than `count`. What is neither a prediction nor a failure
    belongs to somebody else: `passed_over` is told its id, once, and it stays in the subscription.

    Raises:
        google.api_core.exceptions.GoogleAPIError: the subscription is not there, or not to be read.
    """
    subscriber = pubsub_v1.SubscriberClient()
    name = f"projects/{project}/subscriptions/{subscription}"
    deadline = None if seconds is None else time.monotonic() + seconds
    leased: list[Any] = []
    foreign: dict[str, str] = {}
    shown = 0
    try:
        while count is None or shown < count:
            left = _PULL_S if deadline is None else min(deadline - time.monotonic(), _PULL_S)
            if left <= 0:
                return
            most = _PULL_MAX if count is None else min(count - shown, _PULL_MAX)
            with contextlib.suppress(api_exceptions.DeadlineExceeded):
                response = subscriber.pull(subscription=name, max_messages=most, timeout=left)
                leased.extend(response.received_messages)
            while leased:
                message, ack_id = leased[0].message, leased[0].ack_id
                content = decoded(message.data)
                if content is None:
                    if message.message_id not in foreign:
                        passed_over(message.message_id)
                    foreign[message.message_id] = ack_id
                else:
                    yield {**content, "canary": CANARY_ATTRIBUTE in message.attributes}
                    subscriber.acknowledge(subscription=name, ack_ids=[ack_id])
                    shown += 1
                del leased[0]
    finally:
        _give_back(subscriber, name, [*(item.ack_id for item in leased), *foreign.values()])


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
    """Return one line for a person: what became of which prompt; what is theirs made harmless."""
    if "reason" in message:
        again = ", may be replayed" if message["retryable"] else ""
        detail, prompt_id = printable(message["detail"]), printable(message["prompt_id"])
        return f"✗ {message['reason']}: {detail} ({prompt_id}{again})"
    if message.get("canary"):
        return f"◇ canary {printable(message['prompt_id'])}"
    note = "reused" if message["reused"] else f"{message['latency_ms'] / 1000:.1f} s"
    prompt = printable(" ".join(message["prompt"].split()))
    prompt = prompt if len(prompt) <= 60 else prompt[:59] + "…"
    return "\n".join([f"✓ {prompt} ({note})", *(f"  {path}" for path in message["images"])])


def _give_back(subscriber: Any, name: str, ack_ids: list[str]) -> None:
    """End leases at once, rather than with their time."""
    if ack_ids:
        with contextlib.suppress(api_exceptions.GoogleAPIError):
            subscriber.modify_ack_deadline(
                subscription=name, ack_ids=ack_ids, ack_deadline_seconds=0
            )


def _delete(subscriber: Any, name: str) -> None:
    with contextlib.suppress(api_exceptions.GoogleAPIError):
        subscriber.delete_subscription(subscription=name)


def _end(stream: Any) -> None:
    stream.cancel()
    with contextlib.suppress(Exception):
        stream.result(timeout=5)
