"""The import job: stores the images that batch inference has made, ahead of the backfill's own job.

python -m beam_jobs.prefetch_import --prefetch=gs://B/prefetch/RUN/ …
"""

import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from beam_jobs.config.import_options import SHARED, ImportOptions
from beam_jobs.config.job_config import tune_for_dataflow
from beam_jobs.config.options import print_help
from beam_jobs.pipeline import submit
from beam_jobs.prefetch.import_config import ImportConfig, check_resources, import_config
from beam_jobs.prefetch.import_transforms import RecordPrompts, StoreImages, WriteImportReport
from beam_jobs.prefetch.importer import RANGES_AT_ONCE


def build(pipeline: beam.Pipeline, config: ImportConfig) -> None:
    """Add the import's transforms to `pipeline`.

    Args:
        pipeline: the pipeline to extend.
        config: the job's checked options.
    """
    rows = pipeline | "Images" >> StoreImages(config)
    recorded = rows.receipts | "Records" >> RecordPrompts(config)
    (rows.tallies, recorded) | "All rows" >> beam.Flatten() | WriteImportReport(config.folder)


def main(argv: list[str]) -> int:
    """Run the job with the options in `argv` and return the exit code."""
    if print_help(
        argv,
        job="prefetch_import",
        description=__doc__,
        of_its_own=ImportOptions,
        shared=SHARED,
    ):
        return 0
    options = PipelineOptions(argv)

    def check() -> ImportConfig:
        config = import_config(options)
        check_resources(config, options.view_as(GoogleCloudOptions).project)
        tune_for_dataflow(options, threads=RANGES_AT_ONCE)
        return config

    return submit.run_checked(options, streaming=False, check=check, build=build)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
