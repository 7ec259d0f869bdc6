"""Shows predictions and dead letters as they arrive.

`watch_topics` takes no messages from anyone: it creates subscriptions of its own and deletes them
afterwards. `consume` reads an existing subscription that nobody else consumes, and acknowledges
each message once it is shown.
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

from beam_jobs.cli.asking import PATIENCE_S, asking_pubsub, connected
from beam_jobs.outcomes import CANARY_ATTRIBUTE, FAILURE_SCHEMA, PREDICTION_SCHEMA
from beam_jobs.shown import shown, shown_words

# The minimum that Pub/Sub allows, so that the subscription of a killed watcher soon goes away.
_EXPIRES_AFTER = duration_pb2.Duration(seconds=24 * 3600)
# How long one pull waits, and how many messages it leases: few enough to be shown before their
# leases end.
_PULL_S = 20.0
_PULL_MAX = 100


@contextlib.contextmanager
def watch_topics(project: str, topics: list[str]) -> Iterator["queue.Queue[dict[str, Any]]"]:
    """Yield a queue that receives each new message of `topics`, decoded.

    Each message has an extra key, `canary`: whether it answers a health probe.

    Args:
        project: the Google Cloud project of the topics.
        topics: their short names.

    Raises:
        CommandError: a topic does not exist, or may not be read.
        TimeoutError: nothing answers at Pub/Sub's address.
    """
    subscriber = connected(pubsub_v1.SubscriberClient())
    arrived: queue.Queue[dict[str, Any]] = queue.Queue()

    def on_message(message: Any) -> None:
        message.ack()
        if content := decoded(message.data):
            arrived.put({**content, "canary": CANARY_ATTRIBUTE in message.attributes})

    with contextlib.ExitStack() as stack:
        for topic in topics:
            name = f"projects/{project}/subscriptions/watch-{getpass.getuser()}-{uuid.uuid4().hex}"
            with asking_pubsub("roles/pubsub.editor", what=f"topic {topic} in {project}"):
                subscriber.create_subscription(
                    request={
                        "name": name,
                        "topic": f"projects/{project}/topics/{topic}",
                        "expiration_policy": {"ttl": _EXPIRES_AFTER},
                    },
                    retry=None,
                    timeout=PATIENCE_S,
                )
            stack.callback(_delete, subscriber, name)
            stream = subscriber.subscribe(name, on_message)
            stack.callback(_end, stream)
        yield arrived


def consume(
    project: str,
    subscription: str,
    *,
    count: int | None,
    seconds: float | None,
    on_foreign_message: Callable[[str], None],
) -> Generator[dict[str, Any], None, None]:
    """Yield the messages of a subscription, decoded as by `watch_topics`, and acknowledge them.

    A message is acknowledged when the caller asks for the next one. If the caller fails to show it,
    it is delivered again.

    Args:
        project: the Google Cloud project of the subscription.
        subscription: its short name.
        count: stop after this many messages, and lease no more than that; None for no limit.
        seconds: stop after this many seconds; None for no limit.
        on_foreign_message: called once with the id of each message that is neither a prediction
            nor a dead letter. Such a message stays in the subscription.

    Raises:
        google.api_core.exceptions.GoogleAPIError: the subscription does not exist, or may not be
            read.
        TimeoutError: nothing answers at Pub/Sub's address.
    """
    subscriber = connected(pubsub_v1.SubscriberClient())
    name = f"projects/{project}/subscriptions/{subscription}"
    deadline = None if seconds is None else time.monotonic() + seconds
    leased: list[Any] = []
    foreign: dict[str, str] = {}
    shown = 0
    try:
        while count is None or shown < count:
            remaining_s = _PULL_S if deadline is None else min(deadline - time.monotonic(), _PULL_S)
            if remaining_s <= 0:
                return
            max_messages = _PULL_MAX if count is None else min(count - shown, _PULL_MAX)
            with contextlib.suppress(api_exceptions.DeadlineExceeded):
                response = subscriber.pull(
                    subscription=name, max_messages=max_messages, timeout=remaining_s
                )
                leased.extend(response.received_messages)
            while leased:
                message, ack_id = leased[0].message, leased[0].ack_id
                content = decoded(message.data)
                if content is None:
                    if message.message_id not in foreign:
                        on_foreign_message(message.message_id)
                    foreign[message.message_id] = ack_id
                else:
                    yield {**content, "canary": CANARY_ATTRIBUTE in message.attributes}
                    subscriber.acknowledge(subscription=name, ack_ids=[ack_id])
                    shown += 1
                del leased[0]
    finally:
        _release(subscriber, name, [*(item.ack_id for item in leased), *foreign.values()])


def decoded(data: bytes) -> dict[str, Any] | None:
    """Return the prediction or dead letter in `data`; None for another sender's message."""
    try:
        content = json.loads(data)
    except ValueError:
        return None
    schema = content.get("schema") if isinstance(content, dict) else None
    return content if schema in (PREDICTION_SCHEMA, FAILURE_SCHEMA) else None


def arrivals(
    arrived: "queue.Queue[dict[str, Any]]", *, count: int | None, seconds: float | None
) -> Iterator[dict[str, Any]]:
    """Yield messages from the queue until `count` have arrived or `seconds` are over."""
    deadline = None if seconds is None else time.monotonic() + seconds
    seen = 0
    while count is None or seen < count:
        remaining_s = 1.0 if deadline is None else deadline - time.monotonic()
        if remaining_s <= 0:
            return
        with contextlib.suppress(queue.Empty):
            yield arrived.get(timeout=min(remaining_s, 1.0))
            seen += 1


def describe(message: dict[str, Any]) -> str:
    """Describe a message in a line or more, with control characters in untrusted text replaced."""
    if "reason" in message:
        replay = ", can be replayed" if message["retryable"] else ""
        detail, prompt_id = shown_words(message["detail"]), shown(message["prompt_id"])
        return f"✗ {message['reason']}: {detail} ({prompt_id}{replay})"
    if message.get("canary"):
        return f"◇ canary {shown(message['prompt_id'].removeprefix('~canary:'))}"
    result = "reused" if message["reused"] else f"{message['latency_ms'] / 1000:.1f} s"
    if usd := message.get("cost_usd"):  # null if it is unknown
        result += f", {usd:.4f} USD"
    prompt = shown_words(" ".join(message["prompt"].split()), 60)
    return "\n".join([f"✓ {prompt} ({result})", *(f"  {path}" for path in message["images"])])


def _release(subscriber: Any, name: str, ack_ids: list[str]) -> None:
    """End the leases now, so that the messages can be delivered again at once."""
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
