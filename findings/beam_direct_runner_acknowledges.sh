#!/usr/bin/env bash
# apache-beam 2.77.0, DirectRunner: a stream acknowledges Pub/Sub messages before it processes them.
#
# The source pulls up to ten messages and acknowledges them at once.
#
# Seen: a pipeline whose only step fails had already acknowledged its message when it ended with
# that error.
#
# Why it matters: whatever is in progress when the process ends is lost, and is never redelivered.
# Trials on one machine say nothing about what a crash does in production.
#
# Instead: test failures on a runner that acknowledges after processing.
. "$(dirname "$0")/lib.sh"
packages "apache-beam==${1:-2.77.0}" google-cloud-pubsub==2.44.0

python - <<'PY'
import concurrent.futures
import logging
import os

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1 import types

SUBSCRIPTION = "projects/demo-project/subscriptions/prompts"
logging.disable(logging.CRITICAL)  # the step's error, repeated
message = types.PubsubMessage(data=b"a fox", message_id="1", publish_time=Timestamp(seconds=1))
left = [types.ReceivedMessage(ack_id="1", message=message)]
acknowledged = []


def pull(_request, _context):
    return types.PullResponse(received_messages=[left.pop()] if left else [])


def acknowledge(request, _context):
    acknowledged.extend(request.ack_ids)
    return Empty()


def method(act, request):
    return grpc.unary_unary_rpc_method_handler(
        act,
        request_deserializer=request.deserialize,
        response_serializer=lambda answer: (
            answer.SerializeToString() if isinstance(answer, Empty) else type(answer).serialize(answer)
        ),
    )


server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
port = server.add_insecure_port("127.0.0.1:0")
methods = {
    "Pull": method(pull, types.PullRequest),
    "Acknowledge": method(acknowledge, types.AcknowledgeRequest),
}
server.add_generic_rpc_handlers(
    [grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", methods)]
)
server.start()
os.environ["PUBSUB_EMULATOR_HOST"] = f"127.0.0.1:{port}"


def fail(_message):
    raise RuntimeError("the step failed")


# What the DirectRunner uses for a stream from Pub/Sub.
pipeline = beam.Pipeline(BundleBasedDirectRunner(), options=PipelineOptions(["--streaming"]))
pipeline | beam.io.ReadFromPubSub(subscription=SUBSCRIPTION) | beam.Map(fail)
error = None
try:
    pipeline.run().wait_until_finish()
except Exception as raised:
    error = raised
if acknowledged != ["1"] or "the step failed" not in str(error):
    raise SystemExit(f"Changed: acknowledged {acknowledged}, ended with {error!r}.")
print(f"Still so: acknowledged {acknowledged}, and ended with: {error!r:.60}", flush=True)
os._exit(0)  # the runner would go on polling
PY
