"""Publishes messages in as few requests as possible. Must not import Beam, which takes seconds."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google import pubsub_v1
from google.api_core import exceptions as api_exceptions
from google.api_core.retry import Retry
from google.cloud.pubsub_v1 import PublisherClient

# A publish request may have 1,000 messages and 10 MB:
# https://cloud.google.com/pubsub/quotas#resource_limits
MAX_MESSAGES = 1_000
_MAX_BYTES = 9_000_000


def batches_of(messages: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield the messages in lists that each fit into one request.

    Args:
        messages: of the raw type `pubsub_v1.PubsubMessage.pb()`.
    """
    batch: list[Any] = []
    size = 0
    for message in messages:
        message_size = message.ByteSize()
        if batch and size + message_size > _MAX_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += message_size
        if len(batch) == MAX_MESSAGES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def publish_batch(
    client: PublisherClient, topic: str, batch: Sequence[Any], *, timeout_s: float
) -> list[str]:
    """Publish messages that fit into one request, and return their ids once Pub/Sub has them.

    Args:
        client: Google's client, which knows the credentials, or the emulator.
        topic: `projects/PROJECT/topics/NAME`.
        batch: messages of the raw type `pubsub_v1.PubsubMessage.pb()`.
        timeout_s: how long to try.

    Raises:
        google.api_core.exceptions.GoogleAPIError: Pub/Sub refused the messages.
        TimeoutError: it did not answer in time.
    """
    request = pubsub_v1.PublishRequest.pb()(topic=topic, messages=batch)
    try:
        response = pubsub_v1.PublisherClient.publish(
            client,
            request=pubsub_v1.PublishRequest.wrap(request),
            retry=Retry(timeout=timeout_s),
            timeout=timeout_s,
        )
        return list(response.message_ids)
    except (api_exceptions.RetryError, api_exceptions.DeadlineExceeded) as error:
        raise TimeoutError(f"no answer within {timeout_s:g} s: {error}") from error
