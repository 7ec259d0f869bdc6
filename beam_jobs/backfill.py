"""The batch job: reads prompts from files, and writes a report of its counts at the end.

python -m beam_jobs.backfill --prompts='gs://B/prompts/ds=2026-11-01/*' …
"""

import sys

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.options import ImagenOptions, print_help
from beam_jobs.pipeline import submit
from beam_jobs.pipeline.blocks import SpreadRows
from beam_jobs.pipeline.report import WriteReport
from beam_jobs.pipeline.transforms import (
    PlannedFiles,
    PromptsToOutcomes,
    PublishOutcomes,
    ReadPromptFile,
)
from beam_jobs.prompts.limits import NO_LIMITS, FileLimits


def build(
    pipeline: beam.Pipeline,
    config: JobConfig,
    prompts: str,
    report: str | None,
    *,
    plan: str | None = None,
    limits: FileLimits = NO_LIMITS,
) -> None:
    """Add the backfill's transforms to `pipeline`.

    Args:
        pipeline: the pipeline to extend.
        config: the job's checked options.
        prompts: path or glob of the prompt files.
        report: path to write the job's counts to; None for no report.
        plan: gs:// path of the plan that says which of these files to read, in which generations;
            None to read what the glob matches.
        limits: how much of each file is read.
    """
    source = config.defaults.source
    files = fileio.MatchFiles(prompts) if plan is None else PlannedFiles(plan, prompts, source)
    rows = (
        pipeline
        | "Prompts" >> files
        | "Spread files" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(ReadPromptFile(config.defaults, prompts, limits))
        | "Spread prompts" >> SpreadRows()
    )
    processed = rows | "Imagen" >> PromptsToOutcomes(config)
    published = processed.outcomes | "Publish" >> PublishOutcomes(config)
    if report:
        processed | "Report" >> WriteReport(
            report, source, published, rows if config.preprocess else None
        )


def main(argv: list[str]) -> int:
    """Run the job with the options in `argv` and return the exit code."""
    if print_help(argv, job="backfill", description=__doc__):
        return 0
    options = PipelineOptions(argv)
    imagen = options.view_as(ImagenOptions)
    prompts, report, plan = imagen.prompts, imagen.report, imagen.plan
    limits = FileLimits(imagen.max_rows, imagen.max_unpacked_bytes)
    return submit.run(
        options,
        streaming=False,
        prompts=prompts,
        report=report,
        plan=plan,
        build=lambda pipeline, config: build(
            pipeline, config, prompts, report, plan=plan, limits=limits
        ),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
