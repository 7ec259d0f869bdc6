"""Publishes prompts from the command line."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google import pubsub_v1
from google.cloud.pubsub_v1 import PublisherClient

from beam_jobs.cli.asking import connected
from beam_jobs.pipeline.pubsub_batches import MAX_MESSAGES, batches_of, publish_batch

# Messages that wait for their confirmation: those of one request.
MAX_WAITING = MAX_MESSAGES
_TIMEOUT_S = 60.0


def body_of(text: str | None, fields: Mapping[str, Any]) -> bytes:
    """Return the message body for one prompt: plain text, or JSON if any field has a value.

    Args:
        text: the prompt; None for one that a template makes.
        fields: the other fields by name; None means no value.
    """
    values = {name: value for name, value in fields.items() if value is not None}
    if text is not None and not values:
        return text.encode("utf-8")
    own = {} if text is None else {"prompt": text}
    return json.dumps({**own, **values}, ensure_ascii=False).encode("utf-8")


def publish(
    topic: str,
    bodies: Iterable[bytes],
    attributes: Mapping[str, str],
    *,
    published: Callable[[], None] = lambda: None,
    timeout_s: float = _TIMEOUT_S,
) -> list[str]:
    """Publish messages, wait until Pub/Sub has confirmed all of them, and return their ids.

    If this is interrupted, up to `MAX_WAITING` messages more than `published` has counted may have
    been published.

    Args:
        topic: `projects/PROJECT/topics/NAME`.
        bodies: one for each message.
        attributes: added to each message; they can have any name.
        published: called for each confirmed message.
        timeout_s: how many seconds to wait for the answer to one request.

    Raises:
        google.api_core.exceptions.GoogleAPIError: Pub/Sub refused a message.
        google.auth.exceptions.GoogleAuthError: there are no credentials that work.
        TimeoutError: nothing answers at Pub/Sub's address, or not in time.
    """
    client = connected(PublisherClient())
    ids = []
    new_message = pubsub_v1.PubsubMessage.pb()
    for batch in batches_of(new_message(data=body, attributes=attributes) for body in bodies):
        for message_id in publish_batch(client, topic, batch, timeout_s=timeout_s):
            ids.append(message_id)
            published()
    return ids
