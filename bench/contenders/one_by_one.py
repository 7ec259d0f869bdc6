"""The usual sample: a ModelHandler that makes one call after another in `run_inference`."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from google import genai
from google.genai import types

from bench.contenders.arguments import MODEL, THREADS, parse_task


class Handler(ModelHandler[str, PredictionResult, genai.Client]):
    def load_model(self) -> genai.Client:
        return genai.Client(vertexai=True, project="demo-project", location="global")

    def run_inference(
        self,
        batch: Sequence[str],
        model: genai.Client,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[PredictionResult]:
        config = types.GenerateContentConfig(response_modalities=["IMAGE"])
        for prompt in batch:
            answer = model.models.generate_content(model=MODEL, contents=prompt, config=config)
            yield PredictionResult(prompt, answer)


class Save(beam.DoFn):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def process(self, result: PredictionResult) -> None:
        name = hashlib.sha256(str(result.example).encode()).hexdigest()
        data = result.inference.candidates[0].content.parts[0].inline_data.data
        (self._folder / f"{name}.png").write_bytes(data)


def options(threads: int = THREADS) -> PipelineOptions:
    return PipelineOptions(
        runner="FnApiRunner",
        # In memory, each worker is a thread without gRPC: see beam_jobs/pipeline/submit.py.
        direct_running_mode="in_memory",
        direct_num_workers=threads,
    )


def main() -> None:
    task = parse_task(__doc__)
    with beam.Pipeline(options=options()) as pipeline:
        prompts = pipeline | beam.Create(task.prompts) | beam.Reshuffle()
        _ = prompts | RunInference(Handler()) | beam.ParDo(Save(task.folder))


if __name__ == "__main__":
    main()
