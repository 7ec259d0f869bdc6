"""Publishes prompts: one from the command line, or all of a file."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from google.cloud import pubsub_v1

from beam_jobs.outcomes import Failure
from beam_jobs.prompts.files import read_prompts

# Enough to fill some batches, which the client sends side by side; few enough to end soon.
MAX_WAITING = 2000
_WITHIN_S = 60


def body_of(text: str, fields: Mapping[str, Any]) -> bytes:
    """Return the message for one prompt: the text as it is, or JSON where it has parameters."""
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        return text.encode("utf-8")
    return json.dumps({"prompt": text, **given}, ensure_ascii=False).encode("utf-8")


def bodies_of_file(path: str, *, read: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """Yield the messages for the prompts in a .txt, .jsonl or .csv file, local or on storage.

    Args:
        path: of the file.
        read: called for each row that was read.

    Raises:
        ValueError: a row is no prompt; says which, before anything is published.
    """
    bodies, wrong = [], []
    for row in read_prompts(path, source="publish"):
        if isinstance(row, Failure):
            wrong.append(row.detail)
        else:
            bodies.append(row.body)
        read()
    if wrong:
        raise ValueError("\n".join(wrong))
    yield from bodies


def publish(
    topic: str,
    bodies: Iterable[bytes],
    attributes: Mapping[str, str],
    *,
    published: Callable[[], None] = lambda: None,
) -> int:
    """Publish `bodies` to `topic` (projects/P/topics/T) and return how many, once all are there.

    Where it is broken off, up to `MAX_WAITING` more may be there than `published` was called for.

    Args:
        topic: where to.
        bodies: of the messages.
        attributes: of each message.
        published: called for each message that is there.

    Raises:
        google.api_core.exceptions.GoogleAPIError: they are not.
        TimeoutError: there was no answer within a minute.
    """
    publisher = pubsub_v1.PublisherClient()
    waiting: deque[Any] = deque()
    count = 0

    def settle(most: int) -> None:
        nonlocal count
        while len(waiting) > most:
            waiting[0].result(timeout=_WITHIN_S)
            waiting.popleft()
            count += 1
            published()

    for body in bodies:
        waiting.append(publisher.publish(topic, body, **attributes))
        settle(MAX_WAITING - 1)
    settle(0)
    return count
