"""Publishes prompts: one from the command line, or all of a file."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from google.cloud import pubsub_v1

from beam_jobs.files import read_prompts
from beam_jobs.outcomes import Failure


def body_of(text: str, fields: Mapping[str, Any]) -> bytes:
    """Return the message for one prompt: the text as it is, or JSON where it has parameters."""
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        return text.encode("utf-8")
    return json.dumps({"prompt": text, **given}, ensure_ascii=False).encode("utf-8")


def bodies_of_file(path: str) -> Iterator[bytes]:
    """Yield the messages for the prompts in a .txt, .jsonl or .csv file, local or on storage.

    Raises:
        ValueError: a row is no prompt; says which, before anything is published.
    """
    rows = list(read_prompts(path, source="publish"))
    wrong = [row.detail for row in rows if isinstance(row, Failure)]
    if wrong:
        raise ValueError("\n".join(wrong))
    yield from (row.body for row in rows if not isinstance(row, Failure))


def publish(topic: str, bodies: Iterator[bytes], attributes: Mapping[str, str]) -> int:
    """Publish `bodies` to `topic` (projects/P/topics/T) and return how many, once all are there.

    Raises:
        google.api_core.exceptions.GoogleAPIError: they are not.
    """
    publisher = pubsub_v1.PublisherClient()
    futures = [publisher.publish(topic, body, **attributes) for body in bodies]
    for future in futures:
        future.result(timeout=60)
    return len(futures)
