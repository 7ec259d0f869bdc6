"""A job's checked options, as the transforms and the model handler need them."""

import dataclasses
import uuid
from typing import Any

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    WorkerOptions,
)

from beam_jobs.allowed import names_in
from beam_jobs.catalog import PROMPT_FIELD
from beam_jobs.config.budgets import Budget, budgets_of
from beam_jobs.config.checks import (
    custom_functions,
    is_dataflow,
    job_problems,
    source_of,
    uncheckable,
    unknown_options,
    unsplittable,
    value_problems,
)
from beam_jobs.config.options import MAX_HOLD_S, ImagenOptions
from beam_jobs.config.ownership import ownership_problems
from beam_jobs.config.serving import Serving
from beam_jobs.custom.function import CustomFunction
from beam_jobs.images.location import Location
from beam_jobs.images.object_metadata import ImageMetadata
from beam_jobs.names import fleet_folder
from beam_jobs.prompts.defaults import STREAM, PromptDefaults, prompt_defaults

# Beam's Dataflow experiment for one SDK process per worker, however many cores it has. The job
# waits for the model rather than computing, and one process's event loop handles all calls.
ONE_PROCESS_PER_WORKER = "no_use_multiple_sdk_containers"


class OptionsError(ValueError):
    """The options are invalid. The message has one line for each problem."""


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """The checked options, as the transforms and the model handler need them. Small to pickle.

    `requests_per_minute` is the whole job's; None means no limit. `workers` is how many share that
    and the `budgets`, at most. `fleet` is the folder in which they tell of each other; None if
    there is only one. `run` names what the job's budgets are for, and the tries of which share
    what they paid. `service_account` is the one that the job runs as, if an option says so.
    """

    responses_topic: str
    dead_letter_topic: str
    images_location: Location
    defaults: PromptDefaults
    project: str
    max_in_flight: int
    requests_per_minute: float | None
    max_retry_s: float
    serving: Serving
    prompt_field: str = PROMPT_FIELD
    fallback_models: tuple[str, ...] = ()
    max_hold_s: float = MAX_HOLD_S
    budgets: tuple[Budget, ...] = ()
    workers: int = 1
    fleet: str | None = None
    canary_keys: str | None = None
    thumbnails: bool = True
    image_metadata: ImageMetadata = ImageMetadata.OFF
    signed_url_hours: float | None = None
    service_account: str | None = None
    preprocess: CustomFunction | None = None
    postprocess: CustomFunction | None = None
    run: str = STREAM


def job_config(options: PipelineOptions, *, streaming: bool) -> JobConfig:
    """Check all options of a job and return what they say.

    Raises:
        OptionsError: an option is missing, malformed, unknown or contradicts another one.
    """
    imagen = options.view_as(ImagenOptions)
    cloud = options.view_as(GoogleCloudOptions)
    problems = [
        *unknown_options(options),
        *job_problems(imagen, streaming=streaming),
        *value_problems(imagen),
    ]
    source = source_of(imagen, streaming=streaming)
    location = None
    try:
        location = Location.parse(imagen.images_output_location or "")
    except ValueError as error:
        problems.append(f"--images_output_location: {error}")
    project = cloud.project or _project_of(imagen.responses_topic)
    problems += ownership_problems(
        options,
        imagen.get_all_options(current_only=True),
        project=project,
        bucket=location.bucket if location else "",
    )
    max_workers = options.view_as(WorkerOptions).max_num_workers
    workers = max_workers or options.view_as(WorkerOptions).num_workers or 1
    problems += unsplittable(imagen, options, max_workers)
    preprocess, postprocess, unusable = custom_functions(imagen)
    problems += unusable
    defaults = prompt_defaults(
        model=imagen.model,
        model_endpoint=imagen.model_endpoint,
        allowed_models=imagen.allowed_models,
        allowed_image_sizes=imagen.allowed_image_sizes,
        max_images_per_prompt=imagen.max_images_per_prompt,
        prompt_template=imagen.prompt_template,
        bucket=location.bucket if location else None,
        reference_buckets=imagen.reference_buckets,
        postprocess=postprocess.identity if postprocess else None,
        source=source,
    )
    problems += uncheckable(imagen, defaults.allowed_models)
    if problems or location is None:
        raise OptionsError("\n".join(problems))
    # Without a name, a backfill is a run of its own.
    run = STREAM if streaming else imagen.source or f"job-{uuid.uuid4().hex}"
    return JobConfig(
        responses_topic=imagen.responses_topic,
        dead_letter_topic=imagen.dead_letter_topic,
        images_location=location,
        defaults=defaults,
        project=project,
        max_in_flight=imagen.max_in_flight,
        requests_per_minute=imagen.max_requests_per_minute,
        max_retry_s=imagen.max_retry_seconds,
        serving=Serving.of(imagen, cloud.region),
        prompt_field=imagen.prompt_field or PROMPT_FIELD,
        fallback_models=tuple(names_in(imagen.fallback_models)),
        max_hold_s=imagen.max_hold_seconds if streaming else imagen.max_retry_seconds,
        budgets=budgets_of(
            max_images=imagen.max_images,
            max_cost_usd=imagen.max_cost_usd,
            max_images_per_hour=imagen.max_images_per_hour,
            max_images_per_day=imagen.max_images_per_day,
            run=None if streaming else run,
            location=location,
        ),
        workers=workers,
        # Without a maximum, Dataflow starts as many workers as it sees fit; elsewhere there is one.
        fleet=fleet_folder(run, location.url(location.prefix))
        if workers > 1 or (not max_workers and is_dataflow(options))
        else None,
        canary_keys=imagen.canary_keys or None,
        thumbnails=imagen.thumbnails == "on",
        image_metadata=ImageMetadata(imagen.image_metadata),
        signed_url_hours=imagen.signed_url_hours,
        service_account=cloud.service_account_email,
        preprocess=preprocess,
        postprocess=postprocess,
        run=run,
    )


def tune_for_dataflow(options: PipelineOptions, *, threads: int) -> None:
    """Set the Dataflow worker options that suit these jobs, unless they are set already.

    A streaming bundle on Dataflow often holds one element, so the harness threads (12 by default)
    limit the calls in flight. A waiting thread costs 16 KB, and its bundle processor 330 KB
    (measured with Beam 2.77).

    Args:
        options: of the job.
        threads: how many harness threads a worker needs, at least.
    """
    if not is_dataflow(options):
        return
    debug = options.view_as(DebugOptions)
    if not any("sdk_containers" in name for name in debug.experiments or ()):
        debug.add_experiment(ONE_PROCESS_PER_WORKER)
    if not debug.number_of_worker_harness_threads:
        debug.number_of_worker_harness_threads = max(12, threads)
    setup = options.view_as(SetupOptions)
    if setup.save_main_session is None:
        # Workers import the pipeline's code from their image. For Dataflow alone, Beam's default is
        # to pickle and send the main module's globals too.
        setup.save_main_session = False


def _project_of(resource: Any) -> str:
    return resource.split("/")[1] if resource and resource.count("/") > 1 else ""
