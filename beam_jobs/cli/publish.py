"""Publishes one prompt from the command line, or all prompts of a file."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from google.cloud import pubsub_v1

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.beam_files import read_prompts

# Messages that wait for their confirmation. Enough to fill several batches, which the client sends
# in parallel; few enough to finish soon after the last one.
MAX_WAITING = 2000
_TIMEOUT_S = 60


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
    """Yield the message bodies for the prompts in a .txt, .jsonl or .csv file, local or `gs://`.

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
        attributes: added to each message.
        published: called for each confirmed message.

    Raises:
        google.api_core.exceptions.GoogleAPIError: Pub/Sub refused a message.
        TimeoutError: Pub/Sub did not answer within 60 s.
    """
    publisher = pubsub_v1.PublisherClient()
    waiting: deque[Any] = deque()
    count = 0

    def settle(max_waiting: int) -> None:
        nonlocal count
        while len(waiting) > max_waiting:
            waiting[0].result(timeout=_TIMEOUT_S)
            waiting.popleft()
            count += 1
            published()

    for body in bodies:
        waiting.append(publisher.publish(topic, body, **attributes))
        settle(MAX_WAITING - 1)
    settle(0)
    return count
