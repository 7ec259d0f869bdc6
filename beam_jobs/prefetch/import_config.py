"""The import job's checked options, as its transforms need them."""

import dataclasses

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from google.cloud import storage

from beam_jobs.config import preflight
from beam_jobs.config.checks import unknown_options
from beam_jobs.config.import_options import SHARED, ImportOptions
from beam_jobs.config.job_config import OptionsError
from beam_jobs.config.options import ImagenOptions
from beam_jobs.config.ownership import ownership_problems
from beam_jobs.images.location import Location
from beam_jobs.prefetch.folder import PrefetchFolder


@dataclasses.dataclass(frozen=True)
class ImportConfig:
    """The checked options. Small to pickle.

    Attributes:
        folder: of the run's prefetch.
        images_location: where images are stored.
        max_retry_s: how many seconds a failing request to storage is retried.
        thumbnails: whether to store a small copy of each image too.
    """

    folder: PrefetchFolder
    images_location: Location
    max_retry_s: float
    thumbnails: bool


def import_config(options: PipelineOptions) -> ImportConfig:
    """Check all options of an import and return what they say.

    Raises:
        OptionsError: an option is missing, malformed, unknown or not for this job.
    """
    imagen, prefetch = options.view_as(ImagenOptions), options.view_as(ImportOptions).prefetch
    ours = imagen.get_all_options(current_only=True)
    defaults = PipelineOptions([]).view_as(ImagenOptions).get_all_options(current_only=True)
    problems = [
        *unknown_options(options),
        *(
            f"--{name} is not for beam_jobs.prefetch_import; remove it"
            for name in sorted(ours.keys() - SHARED)
            if ours[name] != defaults[name]
        ),
    ]
    location = folder = None
    try:
        location = Location.parse(imagen.images_output_location or "")
    except ValueError as error:
        problems.append(f"--images_output_location: {error}")
    try:
        folder = PrefetchFolder.parse(prefetch or "")
    except ValueError as error:
        problems.append(f"--prefetch: {error}")
    if not 0 < imagen.max_retry_seconds < float("inf"):
        problems.append(
            f"--max_retry_seconds: expected a number above 0, got {imagen.max_retry_seconds}"
        )
    problems += ownership_problems(
        options,
        {**ours, "prefetch": prefetch},
        project=options.view_as(GoogleCloudOptions).project or "",
        bucket=location.bucket if location else "",
    )
    if problems or location is None or folder is None:
        raise OptionsError("\n".join(problems))
    return ImportConfig(
        folder=folder,
        images_location=location,
        max_retry_s=imagen.max_retry_seconds,
        thumbnails=imagen.thumbnails == "on",
    )


def check_resources(config: ImportConfig, project: str | None) -> None:
    """Check that what the options name is there.

    Raises:
        preflight.PreflightError: something is missing, or cannot be looked up.
    """
    with preflight.logged_in():
        client = storage.Client(project=project)
    bucket, parts = config.images_location.bucket, config.folder.parts
    patience = {"timeout": preflight.TIMEOUT_S, "retry": None}
    preflight.look_up(
        [
            (
                f"--images_output_location: bucket gs://{bucket}",
                lambda: client.get_bucket(bucket, **patience),
            ),
            (f"--prefetch: {parts}", lambda: preflight.find_object(parts, client)),
        ]
    )
