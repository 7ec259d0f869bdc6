"""The batch job: reads prompts from files, and writes a report of its counts at the end.

python -m beam_jobs.backfill --prompts='gs://B/prompts/ds=2026-11-01/*' …
"""

import sys

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.config.options import ImagenOptions, JobConfig
from beam_jobs.pipeline import submit
from beam_jobs.pipeline.report import WriteReport
from beam_jobs.pipeline.transforms import PromptsToOutcomes, PublishOutcomes, ReadPromptFile


def build(pipeline: beam.Pipeline, config: JobConfig, prompts: str, report: str | None) -> None:
    """Add the backfill's transforms to `pipeline`.

    Args:
        pipeline: the pipeline to extend.
        config: the job's checked options.
        prompts: path or glob of the prompt files.
        report: path to write the job's counts to; None for no report.
    """
    source = config.defaults.source
    processed = (
        pipeline
        | "Prompts" >> fileio.MatchFiles(prompts)
        | "Spread files" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(ReadPromptFile(source))
        | "Spread prompts" >> beam.Reshuffle()
        | "Imagen" >> PromptsToOutcomes(config)
    )
    published = processed.outcomes | "Publish" >> PublishOutcomes(config)
    if report:
        processed | "Report" >> WriteReport(report, source, published)


def main(argv: list[str]) -> int:
    """Run the job with the options in `argv` and return the exit code."""
    options = PipelineOptions(argv)
    imagen = options.view_as(ImagenOptions)
    prompts, report = imagen.prompts, imagen.report
    return submit.run(
        options,
        streaming=False,
        prompts=prompts,
        report=report,
        build=lambda pipeline, config: build(pipeline, config, prompts, report),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
