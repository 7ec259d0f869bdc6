"""Publishes one prompt from the command line, or all prompts of a file."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from google import pubsub_v1
from google.cloud.pubsub_v1 import PublisherClient

from beam_jobs.outcomes import Failure
from beam_jobs.pipeline.pubsub_writer import MAX_MESSAGES, batches_of, publish_batch
from beam_jobs.prompts.beam_files import read_prompts

# Messages that wait for their confirmation: those of one request.
MAX_WAITING = MAX_MESSAGES
_TIMEOUT_S = 60.0


def body_of(text: str, fields: Mapping[str, Any]) -> bytes:
    """Return the message body for one prompt: plain text, or JSON if any field has a value.

    Args:
        text: the prompt.
        fields: the other fields by name; None means no value.
    """
    values = {name: value for name, value in fields.items() if value is not None}
    if not values:
        return text.encode("utf-8")
    return json.dumps({"prompt": text, **values}, ensure_ascii=False).encode("utf-8")


def bodies_of_file(path: str, *, read: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """Yield the message bodies for the prompts in a prompt file, local or `gs://`.

    Args:
        path: a local path or `gs://` URL.
        read: called after each row.

    Raises:
        ValueError: rows are invalid; raised before the first body, with one line for each row.
    """
    bodies, problems = [], []
    for row in read_prompts(path, source="publish"):
        if isinstance(row, Failure):
            problems.append(row.detail)
        else:
            bodies.append(row.body)
        read()
    if problems:
        raise ValueError("\n".join(problems))
    yield from bodies


def publish(
    topic: str,
    bodies: Iterable[bytes],
    attributes: Mapping[str, str],
    *,
    published: Callable[[], None] = lambda: None,
) -> int:
    """Publish messages, wait until Pub/Sub has confirmed all of them, and return their number.

    If this is interrupted, up to `MAX_WAITING` messages more than `published` has counted may have
    been published.

    Args:
        topic: `projects/PROJECT/topics/NAME`.
        bodies: one for each message.
        attributes: added to each message; they can have any name.
        published: called for each confirmed message.

    Raises:
        google.api_core.exceptions.GoogleAPIError: Pub/Sub refused a message.
        TimeoutError: Pub/Sub did not answer within 60 s.
    """
    client = PublisherClient()
    count = 0
    new_message = pubsub_v1.PubsubMessage.pb()
    for batch in batches_of(new_message(data=body, attributes=attributes) for body in bodies):
        publish_batch(client, topic, batch, timeout_s=_TIMEOUT_S)
        for _ in batch:
            count += 1
            published()
    return count
