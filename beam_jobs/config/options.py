"""The options of both jobs: their names, their help texts and the checks on their values."""

import argparse
import dataclasses
import math
import re
from typing import Any

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from beam_jobs.allowed import names_in
from beam_jobs.catalog import (
    DEFAULT_MODEL,
    FLEX_CALL_TIMEOUT_S,
    MAX_IMAGES,
    MODEL_PATTERN,
    PREDICT_PATTERN,
    PROMPT_FIELD,
    PROMPT_FIELD_PATTERN,
    Family,
    Tier,
    family_of,
    needs_endpoint,
    unpriced,
)
from beam_jobs.config.budgets import Budget, budgets_of
from beam_jobs.config.ownership import ownership_problems
from beam_jobs.config.serving import (
    CALL_TIMEOUT_S,
    Serving,
    serving_problems,
)
from beam_jobs.images.location import Location
from beam_jobs.prompts.defaults import image_sizes_problem, max_images_problem, prompt_defaults
from beam_jobs.prompts.limits import MAX_ROWS, MAX_UNPACKED_BYTES
from beam_jobs.prompts.parse import PromptDefaults

_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")
_SUBSCRIPTION = re.compile(r"projects/[^/]+/subscriptions/[^/]+")
_MODEL = re.compile(MODEL_PATTERN)
_ENDPOINT = re.compile(PREDICT_PATTERN)
_OBJECT = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]/[^\r\n]+")
_SOURCE = re.compile(r"stream|backfill:[A-Za-z0-9._:@/+=-]{1,200}")

# How long a stream's prompts wait for their model: long enough for whoever comes in the morning,
# short enough for a drain to end.
MAX_HOLD_S = 6 * 3600.0

# Beam's Dataflow experiment for one SDK process per worker, however many cores it has. The job
# waits for the model rather than computing, and one process's event loop handles all calls.
ONE_PROCESS_PER_WORKER = "no_use_multiple_sdk_containers"


class OptionsError(ValueError):
    """The options are invalid. The message has one line for each problem."""


class ImagenOptions(PipelineOptions):
    """The options of both jobs. The first three names are older than this project."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add(
            "--messages_subscription",
            help="stream only: subscription to read prompts from, as "
            "projects/PROJECT/subscriptions/NAME",
        )
        add(
            "--canary_keys",
            help="stream only: gs:// path of the public keys that canaries of health checks are "
            "checked with; default: every canary is refused",
        )
        add(
            "--responses_topic",
            help="topic to publish predictions to, as projects/PROJECT/topics/NAME",
        )
        add(
            "--images_output_location",
            help="Cloud Storage folder to store images in, as gs://BUCKET/FOLDER",
        )
        add(
            "--dead_letter_topic",
            help="topic to publish dead letters to, as projects/PROJECT/topics/NAME",
        )
        add(
            "--prompts",
            help="backfill only: path or glob of prompt files (.txt, .jsonl, .json or .csv, plain "
            "or gzipped)",
        )
        add(
            "--plan",
            help="backfill only: gs:// path of the plan, which says which of the files of "
            "--prompts to read, and in which generations. Any other file becomes a dead letter. "
            "Default: read every file that --prompts matches",
        )
        add(
            "--max_rows",
            type=int,
            default=MAX_ROWS,
            help="backfill only: maximum rows of one prompt file. What is beyond becomes one dead "
            "letter",
        )
        add(
            "--max_unpacked_bytes",
            type=int,
            default=MAX_UNPACKED_BYTES,
            help="backfill only: maximum bytes of text in one prompt file, after decompression. "
            "What is beyond becomes one dead letter",
        )
        add(
            "--report",
            help="backfill only: path to write the job's counts to, as JSON; default: no report",
        )
        add(
            "--source",
            help="value of `source` in predictions and dead letters: stream, or backfill:RUN",
        )
        add("--model", default=DEFAULT_MODEL, help="model for prompts that don't name one")
        add(
            "--allowed_models",
            help="comma-separated models that a prompt can name; default: all known Gemini image "
            "models",
        )
        add(
            "--fallback_models",
            help="comma-separated models to use instead, in this order, while a prompt's own model "
            "refuses every prompt; each makes the prompts that it can. Default: prompts wait",
        )
        add(
            "--max_hold_seconds",
            type=float,
            default=MAX_HOLD_S,
            help="stream only: seconds that a prompt waits while its model refuses every prompt, "
            "such as one that is gone; it then becomes a dead letter that can be replayed. A "
            "backfill waits for --max_retry_seconds",
        )
        add(
            "--allowed_image_sizes",
            help="comma-separated image sizes that a prompt can ask for, such as 1K,2K; default: "
            "all that its model offers",
        )
        add(
            "--max_images_per_prompt",
            type=int,
            help=f"maximum images that a prompt can ask for, from 1; default: {MAX_IMAGES}",
        )
        add(
            "--model_endpoint",
            help="endpoint that serves --model, as "
            "projects/PROJECT/locations/LOCATION/endpoints/ID; or publisher model, as "
            "projects/PROJECT/locations/LOCATION/publishers/PUBLISHER/models/MODEL",
        )
        add(
            "--prompt_field",
            help="field that the container at --model_endpoint takes the prompt's text from: text "
            "for most open models in Model Garden, or - for a container that takes the text "
            "itself. For any but prompt, parameters have Diffusers' names. Default: prompt, as for "
            "Imagen",
        )
        add(
            "--model_location",
            help="Google Cloud location that serves the models; for Gemini models several, "
            "separated by commas, in the order of preference. With one, all calls go there. "
            "Default: global for Gemini models, the job's region for others",
        )
        add(
            "--max_in_flight",
            type=int,
            default=64,
            help="maximum concurrent model calls per worker",
        )
        add(
            "--max_requests_per_minute",
            type=float,
            help="maximum model calls per minute for the whole job, split evenly over "
            "--max_num_workers; default: only the model's quota limits them",
        )
        add(
            "--max_retry_seconds",
            type=float,
            default=600.0,
            help="seconds to retry a failing model call or storage request, from its first "
            "failure; the prompt then becomes a dead letter that can be replayed",
        )
        add(
            "--call_timeout_seconds",
            type=float,
            help="timeout of one model call, in seconds. Default: "
            f"{CALL_TIMEOUT_S:g}, or {FLEX_CALL_TIMEOUT_S:g} in flex",
        )
        add(
            "--max_images",
            type=int,
            help="maximum images that the whole job pays for, and whatever else is launched with "
            "the same --source. Prompts beyond it fail as retryable, at no cost. Default: no limit",
        )
        add(
            "--max_cost_usd",
            type=float,
            help="maximum US dollars that the same pays for, by what the model's answers state. "
            "Only for models with a known price. Default: no limit",
        )
        add(
            "--max_images_per_hour",
            type=int,
            help="stream only: maximum images to pay for in each hour, in UTC. Prompts beyond it "
            "fail as retryable, at no cost. Default: no limit",
        )
        add(
            "--max_images_per_day",
            type=int,
            help="stream only: the same for each day, in UTC. Default: no limit",
        )
        add(
            "--allowed_projects",
            help="comma-separated ids or numbers of the projects besides --project whose "
            "endpoints, topics, subscriptions, networks and service accounts the job may use; "
            "default: none",
        )
        add(
            "--allowed_buckets",
            help="comma-separated buckets besides that of --images_output_location that the job "
            "may read and write; default: none",
        )
        add(
            "--request_tier",
            choices=tuple(Tier),
            default=Tier.STANDARD.value,
            help="flex costs half as much, but a call can take half an hour; priority is faster "
            "under load and costs more. Gemini models only",
        )
        add(
            "--flex_fallback_seconds",
            type=float,
            help="flex only: seconds after which a call that got no answer goes on in standard, "
            "at its full price. Default: it is retried in flex for --max_retry_seconds",
        )
        add(
            "--thumbnails",
            choices=("on", "off"),
            default="on",
            help="whether to store a small copy of each image too, for the page. It takes about "
            "40 ms of CPU for an image of 1024 by 1024 pixels, in a thread that uses at most a "
            "quarter of a core",
        )


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """The checked options, as the transforms and the model handler need them. Small to pickle.

    `requests_per_minute` is one worker's share; None means no limit. `workers` is how many share
    the `budgets`, at most.
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
    canary_keys: str | None = None
    thumbnails: bool = True


def job_config(options: PipelineOptions, *, streaming: bool) -> JobConfig:
    """Check all options of a job and return what they say.

    Raises:
        OptionsError: an option is missing, malformed, unknown or contradicts another one.
    """
    imagen = options.view_as(ImagenOptions)
    cloud = options.view_as(GoogleCloudOptions)
    problems = [
        *_unknown_options(options),
        *_job_problems(imagen, streaming=streaming),
        *_value_problems(imagen),
    ]
    source = imagen.source or ("stream" if streaming else "backfill:manual")
    if not _SOURCE.fullmatch(source) or (source == "stream") != streaming:
        problems.append(
            f"--source: expected {'stream' if streaming else 'backfill:RUN'}, got {source!r}"
        )
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
    workers = max_workers or 1
    problems += _unsplittable(imagen, options, max_workers)
    defaults = prompt_defaults(
        model=imagen.model,
        model_endpoint=imagen.model_endpoint,
        allowed_models=imagen.allowed_models,
        allowed_image_sizes=imagen.allowed_image_sizes,
        max_images_per_prompt=imagen.max_images_per_prompt,
        source=source,
    )
    problems += _uncheckable(imagen, defaults.allowed_models)
    if problems or location is None:
        raise OptionsError("\n".join(problems))
    return JobConfig(
        responses_topic=imagen.responses_topic,
        dead_letter_topic=imagen.dead_letter_topic,
        images_location=location,
        defaults=defaults,
        project=project,
        max_in_flight=imagen.max_in_flight,
        requests_per_minute=_worker_share(imagen.max_requests_per_minute, workers),
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
            run=None if streaming else imagen.source,
            location=location,
        ),
        workers=workers,
        canary_keys=imagen.canary_keys or None,
        thumbnails=imagen.thumbnails == "on",
    )


def tune_for_dataflow(options: PipelineOptions, config: JobConfig) -> None:
    """Set the Dataflow worker options that suit these jobs, unless they are set already.

    A streaming bundle on Dataflow often holds one element, so the harness threads (12 by default)
    limit the calls in flight. A waiting thread costs next to nothing.
    """
    if "Dataflow" not in (options.view_as(StandardOptions).runner or ""):
        return
    debug = options.view_as(DebugOptions)
    if not any("sdk_containers" in name for name in debug.experiments or ()):
        debug.add_experiment(ONE_PROCESS_PER_WORKER)
    if not debug.number_of_worker_harness_threads:
        debug.number_of_worker_harness_threads = max(12, config.max_in_flight)
    setup = options.view_as(SetupOptions)
    if setup.save_main_session is None:
        # Workers import the pipeline's code from their image. For Dataflow alone, Beam's default is
        # to pickle and send the main module's globals too.
        setup.save_main_session = False


def _job_problems(imagen: ImagenOptions, *, streaming: bool) -> list[str]:
    """Return the problems with options that depend on which of the two jobs runs."""
    problems = []
    required = {"responses_topic": _TOPIC, "dead_letter_topic": _TOPIC}
    if streaming:
        required["messages_subscription"] = _SUBSCRIPTION
    for name, pattern in required.items():
        value = getattr(imagen, name)
        if not value or not pattern.fullmatch(value):
            got = repr(value) if value else "nothing"
            problems.append(f"--{name}: expected {_example_of(pattern)}, got {got}")
    if not streaming and (imagen.max_images_per_hour or imagen.max_images_per_day):
        problems.append(
            "--max_images_per_hour and --max_images_per_day are only for beam_jobs.stream; set "
            "--max_images for a backfill"
        )
    if streaming and (imagen.prompts or imagen.report):
        problems.append(
            "--prompts and --report are only for beam_jobs.backfill; remove them, a stream reads "
            "--messages_subscription and never ends"
        )
    if streaming and imagen.plan:
        problems.append("--plan is only for beam_jobs.backfill; remove it")
    if imagen.canary_keys and not (streaming and _OBJECT.fullmatch(imagen.canary_keys)):
        problems.append(
            "--canary_keys: expected gs://BUCKET/OBJECT, and only for beam_jobs.stream, got "
            f"{imagen.canary_keys!r}"
        )
    if not streaming and imagen.messages_subscription:
        problems.append(
            "--messages_subscription is only for beam_jobs.stream; remove it, a backfill reads "
            "--prompts"
        )
    if not streaming and not imagen.prompts:
        problems.append("--prompts: expected a path or glob of prompt files, got nothing")
    if imagen.plan and not (
        imagen.plan.startswith("gs://") and (imagen.prompts or "gs://").startswith("gs://")
    ):
        problems.append(
            "--plan: expected the gs:// path of a plan, and gs:// files in --prompts, got "
            f"{imagen.plan!r} and {imagen.prompts!r}"
        )
    if imagen.responses_topic and imagen.responses_topic == imagen.dead_letter_topic:
        problems.append(
            "--responses_topic and --dead_letter_topic: expected two different topics, got "
            f"{imagen.responses_topic} for both"
        )
    return problems


def _value_problems(imagen: ImagenOptions) -> list[str]:
    """Return the problems with values that are checked the same way for both jobs."""
    problems = [
        f"--{name}: expected a number above 0, got {value}"
        for name in (
            "max_in_flight",
            "max_requests_per_minute",
            "max_retry_seconds",
            "max_hold_seconds",
            "call_timeout_seconds",
            "flex_fallback_seconds",
            "max_images",
            "max_cost_usd",
            "max_images_per_hour",
            "max_images_per_day",
            "max_rows",
            "max_unpacked_bytes",
        )
        if (value := getattr(imagen, name)) is not None and not 0 < value < math.inf
    ]
    problems += [
        f"--{option}: expected a model name such as {DEFAULT_MODEL}, got {name!r}"
        for option, names in (
            ("model", [imagen.model]),
            ("allowed_models", sorted(set(names_in(imagen.allowed_models)) - {imagen.model})),
            ("fallback_models", names_in(imagen.fallback_models)),
        )
        for name in names
        # A model deployed on an endpoint may have any name.
        if not (imagen.model_endpoint and option == "model" and needs_endpoint(name))
        and not _MODEL.fullmatch(name)
    ]
    problems += [
        f"--{option}: {name!r} is not a Google model, and --model_endpoint serves only "
        "--model; remove it from the list"
        for option in ("allowed_models", "fallback_models")
        for name in sorted(set(names_in(getattr(imagen, option))) - {imagen.model})
        if needs_endpoint(name)
    ]
    problems += [
        f"--{option}: {problem}"
        for option, problem in (
            ("allowed_image_sizes", image_sizes_problem(imagen.allowed_image_sizes)),
            ("max_images_per_prompt", max_images_problem(imagen.max_images_per_prompt)),
        )
        if problem
    ]
    problems += serving_problems(imagen)
    family = family_of(imagen.model)
    if imagen.model_endpoint:
        if not _ENDPOINT.fullmatch(imagen.model_endpoint):
            problems.append(
                "--model_endpoint: expected projects/PROJECT/locations/LOCATION/endpoints/ID, or "
                "…/publishers/PUBLISHER/models/MODEL after the location, got "
                f"{imagen.model_endpoint!r}"
            )
        if family is Family.GEMINI:
            problems.append(
                "--model_endpoint is only for models with the :predict API, and --model "
                f"{imagen.model} does not have it; remove --model_endpoint, or set --model to the "
                "deployed model"
            )
    elif needs_endpoint(imagen.model):
        problems.append(
            f"--model {imagen.model} is not a Google model; set --model_endpoint to the endpoint "
            "that serves it"
        )
    # argparse makes a list of --prompt_field=--.
    field = PROMPT_FIELD if imagen.prompt_field is None else str(imagen.prompt_field)
    if not re.fullmatch(PROMPT_FIELD_PATTERN, field):
        problems.append(
            "--prompt_field: expected a field's name such as prompt or text, or -, got "
            f"{imagen.prompt_field!r}"
        )
    elif field != PROMPT_FIELD and not imagen.model_endpoint:
        problems.append(
            f"--prompt_field {field} is only for a model on --model_endpoint; set "
            "that too, or remove --prompt_field"
        )
    return problems


def _unsplittable(
    imagen: ImagenOptions, options: PipelineOptions, max_workers: int | None
) -> list[str]:
    """Return a problem if the job-wide rate lacks a number of workers to split it over.

    Without the maximum number of workers, each worker on Dataflow would get the whole rate.
    """
    dataflow = "Dataflow" in (options.view_as(StandardOptions).runner or "")
    if max_workers or not dataflow or imagen.max_requests_per_minute is None:
        return []
    return [
        "--max_requests_per_minute is split evenly over the workers: set --max_num_workers as well"
    ]


def _uncheckable(imagen: ImagenOptions, allowed: frozenset[str]) -> list[str]:
    """Return a problem if a budget of money cannot be checked for a model of the job."""
    models = allowed | {imagen.model} | set(names_in(imagen.fallback_models))
    without = unpriced(models, imagen.request_tier) if imagen.max_cost_usd is not None else []
    if not without:
        return []
    return [
        f"--max_cost_usd cannot be checked: no known price for {', '.join(without)} "
        f"({imagen.request_tier} tier); set --max_images instead, or use models that "
        "`python -m beam_jobs models` shows with a price"
    ]


def _unknown_options(options: PipelineOptions) -> list[str]:
    """Return a problem for each option that does not exist; Beam would only log and ignore it.

    Options from a flex template's launcher are not checked: the service has checked the parameters
    against the template already, and adds flags of its own.
    """
    if options.view_as(GoogleCloudOptions).template_location:
        return []
    known = PipelineOptions([]).get_all_options()
    passed = options.get_all_options(retain_unknown_options=True)
    return [
        f"--{name}: no such option; check its spelling" for name in sorted(set(passed) - set(known))
    ]


def _worker_share(value: float | None, workers: int) -> float | None:
    return None if value is None else value / workers


def _project_of(resource: Any) -> str:
    return resource.split("/")[1] if resource and resource.count("/") > 1 else ""


def _example_of(pattern: re.Pattern[str]) -> str:
    return pattern.pattern.replace("[^/]+", "PROJECT", 1).replace("[^/]+", "NAME", 1)
