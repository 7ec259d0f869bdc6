"""The options of the job that imports what batch inference has made."""

import argparse

from apache_beam.options.pipeline_options import PipelineOptions

# Of the other jobs' options, what this job takes too.
SHARED = frozenset(
    {
        "images_output_location",
        "thumbnails",
        "max_retry_seconds",
        "allowed_projects",
        "allowed_buckets",
    }
)


class ImportOptions(PipelineOptions):
    """The option that no other job has."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument_group("what to import").add_argument(
            "--prefetch",
            metavar="FOLDER",
            help="Cloud Storage folder of the run's prefetch, as gs://BUCKET/FOLDER/: its "
            "parts.json names the parts whose output is imported, and import.json becomes the "
            "report. Required. Example: gs://my-project-imagen/prefetch/nightly-2026-11-01/",
        )
