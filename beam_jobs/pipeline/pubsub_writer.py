"""Publishes messages with attributes of any name.

The `publish` of Google's client takes attributes as keyword arguments, and Beam's writer for batch
jobs passes them on like that. So neither can send an attribute that is called like one of that
method's parameters, such as `topic`, `data` or `timeout`. A request to the API can.
"""

from typing import Any

import apache_beam as beam
from apache_beam.io.gcp import pubsub as beam_pubsub
from apache_beam.pvalue import PCollection
from google import pubsub_v1
from typing_extensions import override

from beam_jobs.pipeline.pubsub_batches import batches_of, publish_batch


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
