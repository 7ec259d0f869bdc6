"""Beam's AsyncWrapper around a DoFn that calls the model, with a thread for each call in flight.

It needs a stream: it emits what is done when a timer in real time fires, and with an input that
ends, Beam's local runners either stop with an error or drop what is not done by then. So the
prompts come from Pub/Sub, on Beam's streaming DirectRunner.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.io import ReadFromPubSub
from apache_beam.ml.inference.base import PredictionResult
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.async_dofn import AsyncWrapper
from google import genai, pubsub_v1
from google.genai import types

from bench.contenders.arguments import MODEL, parse_task
from bench.contenders.one_by_one import Save
from localcloud.clients import raw_client

PROJECT = "projects/demo-project"
# Its state and its timers are per key. Keys are few, as each of them is read as a whole.
KEYS = 16
PUBLISH_BATCH = 500
# It gives up on prompts that do not come back.
NOTHING_NEW_S = 60.0


class Call(beam.DoFn):
    def setup(self) -> None:
        self._client = genai.Client(vertexai=True, project="demo-project", location="global")

    def process(self, keyed: tuple[str, str]) -> Iterator[PredictionResult]:
        config = types.GenerateContentConfig(response_modalities=["IMAGE"])
        prompt = keyed[1]
        answer = self._client.models.generate_content(model=MODEL, contents=prompt, config=config)
        yield PredictionResult(prompt, answer)


def keyed(data: bytes) -> tuple[str, str]:
    return str(hashlib.sha256(data).digest()[0] % KEYS), data.decode()


def subscription_with(run: str, prompts: list[str]) -> str:
    """Publish the prompts, and return the subscription that has them."""
    topic, subscription = (
        f"{PROJECT}/{kind}/contender-{run}" for kind in ("topics", "subscriptions")
    )
    publisher, subscriber = map(raw_client, (pubsub_v1.PublisherClient, pubsub_v1.SubscriberClient))
    publisher.create_topic(name=topic)
    subscriber.create_subscription(name=subscription, topic=topic)
    for start in range(0, len(prompts), PUBLISH_BATCH):
        batch = prompts[start : start + PUBLISH_BATCH]
        publisher.publish(
            topic=topic,
            messages=[pubsub_v1.PubsubMessage(data=prompt.encode()) for prompt in batch],
        )
    return subscription


def main() -> None:
    task = parse_task(__doc__)
    subscription = subscription_with(task.run, task.prompts)
    pipeline = beam.Pipeline(options=PipelineOptions(runner="DirectRunner", streaming=True))
    calls: Any = AsyncWrapper(Call(), parallelism=task.in_flight, callback_frequency=1)
    _ = (
        pipeline
        | ReadFromPubSub(subscription=subscription)
        | beam.Map(keyed).with_output_types(tuple[str, str])
        | beam.ParDo(calls).with_output_types(PredictionResult)
        | beam.ParDo(Save(task.folder))
    )
    pipeline.run()
    written, last = 0, time.monotonic()
    while written < len(task.prompts) and time.monotonic() < last + NOTHING_NEW_S:
        time.sleep(0.2)
        before, written = written, sum(1 for _ in task.folder.iterdir())
        last = last if written == before else time.monotonic()
    # The runner's threads never end.
    os._exit(0)


if __name__ == "__main__":
    main()
