"""Publishes messages with attributes of any name.

The `publish` of Google's client takes attributes as keyword arguments, and Beam's writer for batch
jobs passes them on like that. So neither can send an attribute that is called like one of that
method's parameters, such as `topic`, `data` or `timeout`. A request to the API can.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp import pubsub as beam_pubsub
from apache_beam.pvalue import PCollection
from google import pubsub_v1
from google.api_core import exceptions as api_exceptions
from google.api_core.retry import Retry
from google.cloud.pubsub_v1 import PublisherClient
from typing_extensions import override

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
) -> None:
    """Publish messages that fit into one request, and wait until Pub/Sub has confirmed them.

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
        pubsub_v1.PublisherClient.publish(
            client,
            request=pubsub_v1.PublishRequest.wrap(request),
            retry=Retry(timeout=timeout_s),
            timeout=timeout_s,
        )
    except (api_exceptions.RetryError, api_exceptions.DeadlineExceeded) as error:
        raise TimeoutError(f"no answer within {timeout_s:g} s: {error}") from error


class WriteMessages(beam.io.WriteToPubSub):
    """Beam's `WriteToPubSub` for messages with attributes of any name.

    Its steps have the names of Beam's, and runners that replace Beam's replace these too: Dataflow
    writes a stream's messages itself.
    """

    def __init__(self, topic: str) -> None:
        super().__init__(topic, with_attributes=True)

    @override
    def expand(self, messages: PCollection[Any]) -> PCollection[Any]:
        return (
            messages
            | "ToProtobufX"
            >> beam.Map(self.message_to_proto_str)
            .with_input_types(beam_pubsub.PubsubMessage)
            .with_output_types(bytes)
            | beam.ParDo(_PubSubWriteDoFn(self))
        )


class _PubSubWriteDoFn(beam_pubsub._PubSubWriteDoFn):
    """Beam's writer (Beam 2.77) with another way to send. Its name is part of the step's name."""

    _buffer: list[bytes]

    @override
    def _flush(self) -> None:
        messages = map(pubsub_v1.PubsubMessage.pb().FromString, self._buffer)
        for batch in batches_of(messages):
            publish_batch(self._pub_client, self._topic, batch, timeout_s=self.FLUSH_TIMEOUT_SECS)
        self._buffer = []
