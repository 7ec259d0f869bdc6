"""Messages with attributes of any name, and requests that Pub/Sub accepts."""

import apache_beam as beam
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dataflow.ptransform_overrides import StreamingPubSubWriteDoFnOverride
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google import pubsub_v1
from google.api_core import exceptions as api_exceptions

from beam_jobs.pipeline.pubsub_batches import MAX_MESSAGES, batches_of
from beam_jobs.pipeline.pubsub_writer import WriteMessages

NAMES = ("topic", "data", "self", "timeout", "retry", "ordering_key", "client", "messages")


def message(size=0):
    return pubsub_v1.PubsubMessage.pb()(data=b"x" * size)


def test_a_job_publishes_attributes_of_any_name(lane):
    messages = [
        PubsubMessage(b"prompt %d" % number, {**dict.fromkeys(NAMES, "x"), "line": str(number)})
        for number in range(150)
    ]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        pipeline | beam.Create(messages) | WriteMessages(lane.topic("prompts"))
    received = {}
    while len(received) < 150:
        response = lane.subscriber.pull(
            subscription=lane.subscription("prompts"), max_messages=1000, timeout=20
        )
        for item in response.received_messages:
            received[item.message.data] = dict(item.message.attributes)
            assert item.message.ordering_key == ""
    assert received == {one.data: one.attributes for one in messages}


def test_a_topic_that_is_gone_fails_the_job(cloud):
    pipeline = beam.Pipeline(runner=FnApiRunner())
    messages = pipeline | beam.Create([PubsubMessage(b"a fox", {})])
    messages | WriteMessages("projects/demo-project/topics/no-such-topic")
    with pytest.raises(api_exceptions.NotFound, match="no-such-topic"):
        pipeline.run()


def test_dataflow_still_replaces_the_writer_of_a_stream():
    pipeline = beam.Pipeline(options=PipelineOptions([], streaming=True))
    (
        pipeline
        | beam.Create([PubsubMessage(b"a fox", {})])
        | WriteMessages("projects/demo-project/topics/t")
    )
    override, replaced = StreamingPubSubWriteDoFnOverride(), []

    class Visitor(beam.pipeline.PipelineVisitor):
        def visit_transform(self, transform):
            if override.matches(transform):
                write = override.get_replacement_transform_for_applied_ptransform(transform)
                replaced.append(write.sink.full_topic)

    pipeline.visit(Visitor())
    assert replaced == ["projects/demo-project/topics/t"]


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([], []),
        ([0] * (MAX_MESSAGES + 1), [MAX_MESSAGES, 1]),
        ([4_000_000] * 5, [2, 2, 1]),
        ([9_900_000, 0, 9_900_000], [1, 1, 1]),
    ],
    ids=["none", "many", "large", "larger than the rest"],
)
def test_messages_are_sent_in_requests_of_a_size_that_is_allowed(sizes, batches):
    assert [len(batch) for batch in batches_of(map(message, sizes))] == batches
