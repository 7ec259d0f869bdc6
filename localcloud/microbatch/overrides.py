"""Replaces Pub/Sub's two transforms inside a micro-batch.

The read returns the messages of the batch that the current thread runs. The write sends one publish
request per bundle, through one client for the whole process. Beam's own write would create a client
with a channel and threads of its own for every run of the pipeline.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub, WriteToPubSub
from apache_beam.pipeline import PTransformOverride
from google import pubsub_v1

from localcloud.clients import raw_client

# https://cloud.google.com/pubsub/quotas#resource_limits, with room for the rest of the request.
_MAX_MESSAGES = 1000
_MAX_BYTES = 9_000_000
_PUBLISH_TIMEOUT_S = 60.0

_thread = threading.local()


class Source:
    """The subscription that the pipeline reads from; None until it has been found."""

    def __init__(self) -> None:
        self.subscription: str | None = None


@contextlib.contextmanager
def bind_batch(batch: list[PubsubMessage]) -> Iterator[None]:
    """Make the pipeline read `batch` when this thread runs it.

    This works because FnApiRunner's embedded worker processes bundles in the thread that runs the
    pipeline.
    """
    _thread.batch = batch
    try:
        yield
    finally:
        del _thread.batch


def overrides_for(source: Source) -> list[PTransformOverride]:
    """Return the overrides. Applying them sets the subscription of `source`."""
    return [_ReadOverride(source), _WriteOverride()]


class _ReadOverride(PTransformOverride):
    def __init__(self, source: Source) -> None:
        self._source = source

    def matches(self, applied_ptransform: Any) -> bool:
        return isinstance(applied_ptransform.transform, ReadFromPubSub)

    def get_replacement_transform_for_applied_ptransform(self, applied_ptransform: Any) -> Any:
        pubsub_source = applied_ptransform.transform._source
        if not pubsub_source.full_subscription or not applied_ptransform.transform.with_attributes:
            raise ValueError("expected ReadFromPubSub(subscription=…, with_attributes=True)")
        self._source.subscription = pubsub_source.full_subscription
        return _ReadBatch()


class _ReadBatch(beam.PTransform):
    def expand(self, pbegin: Any) -> Any:
        return pbegin.pipeline | beam.Impulse() | beam.ParDo(_TakeBatch())


class _TakeBatch(beam.DoFn):
    def process(self, _: bytes) -> list[PubsubMessage]:
        batch: list[PubsubMessage] = _thread.batch
        return batch


class _WriteOverride(PTransformOverride):
    def matches(self, applied_ptransform: Any) -> bool:
        return isinstance(applied_ptransform.transform, WriteToPubSub)

    def get_replacement_transform_for_applied_ptransform(self, applied_ptransform: Any) -> Any:
        return _Publish(applied_ptransform.transform.full_topic)


class _Publish(beam.PTransform):
    def __init__(self, topic: str) -> None:
        super().__init__()
        self._topic = topic

    def expand(self, messages: Any) -> Any:
        return messages | beam.ParDo(_PublishBundle(self._topic))


class _PublishBundle(beam.DoFn):
    def __init__(self, topic: str) -> None:
        self._topic = topic

    def start_bundle(self) -> None:
        self._messages: list[Any] = []
        self._bytes = 0

    def process(self, message: PubsubMessage) -> None:
        packed = pubsub_v1.PubsubMessage.pb()(data=message.data, attributes=message.attributes)
        size = packed.ByteSize()
        if len(self._messages) == _MAX_MESSAGES or self._bytes + size > _MAX_BYTES:
            self.finish_bundle()
        self._messages.append(packed)
        self._bytes += size

    def finish_bundle(self) -> None:
        if self._messages:
            request = pubsub_v1.PublishRequest.pb()(topic=self._topic, messages=self._messages)
            _publisher().publish(
                request=pubsub_v1.PublishRequest.wrap(request), timeout=_PUBLISH_TIMEOUT_S
            )
        self.start_bundle()


@functools.cache
def _publisher() -> pubsub_v1.PublisherClient:
    return raw_client(pubsub_v1.PublisherClient)
