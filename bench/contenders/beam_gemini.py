"""Beam's own GeminiModelHandler with one prompt per batch, since a batch becomes one request."""

from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference
from apache_beam.ml.inference.gemini_inference import (
    GeminiModelHandler,
    generate_image_from_strings_and_images,
)
from google.genai import types

from bench.contenders.arguments import MODEL, THREADS, parse_task
from bench.contenders.one_by_one import Save, options


def main(threads: int = THREADS) -> None:
    task = parse_task(__doc__)
    handler = GeminiModelHandler(
        MODEL,
        generate_image_from_strings_and_images,
        project="demo-project",
        location="global",
        min_batch_size=1,
        max_batch_size=1,
    )
    arguments: dict[str, Any] = {
        "config": types.GenerateContentConfig(response_modalities=["IMAGE"])
    }
    with beam.Pipeline(options=options(threads)) as pipeline:
        prompts = pipeline | beam.Create(task.prompts) | beam.Reshuffle()
        _ = (
            prompts
            | RunInference(handler, inference_args=arguments)
            | beam.ParDo(Save(task.folder))
        )


if __name__ == "__main__":
    main()
