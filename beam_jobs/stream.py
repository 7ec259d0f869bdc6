"""The streaming job: reads prompts from a subscription until it is drained.

python -m beam_jobs.stream --messages_subscription=projects/P/subscriptions/prompts-sub …
"""

import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.options import ImagenOptions, print_help
from beam_jobs.pipeline import submit
from beam_jobs.pipeline.transforms import PromptsToOutcomes, PublishOutcomes, raw_prompt_of


def build(pipeline: beam.Pipeline, config: JobConfig, subscription: str) -> None:
    """Add the streaming job's transforms to `pipeline`."""
    processed = (
        pipeline
        | "Prompts" >> beam.io.ReadFromPubSub(subscription=subscription, with_attributes=True)
        | "Messages" >> beam.Map(raw_prompt_of)
        | "Imagen" >> PromptsToOutcomes(config)
    )
    processed.outcomes | "Publish" >> PublishOutcomes(config)


def main(argv: list[str]) -> int:
    """Run the job with the options in `argv` and return the exit code."""
    if print_help(argv, job="stream", description=__doc__):
        return 0
    options = PipelineOptions(argv)
    options.view_as(StandardOptions).streaming = True
    subscription = options.view_as(ImagenOptions).messages_subscription
    return submit.run(
        options,
        streaming=True,
        subscription=subscription,
        build=lambda pipeline, config: build(pipeline, config, subscription),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
