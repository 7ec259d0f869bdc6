"""The job's options: their names, their help, and what makes no sense together."""

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

from beam_jobs.catalog import DEFAULT_MODEL, KNOWN_MODELS, Family, family_of
from beam_jobs.images.store import Location
from beam_jobs.prompts.parse import PromptDefaults

_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")
_SUBSCRIPTION = re.compile(r"projects/[^/]+/subscriptions/[^/]+")
# These become parts of the address that is called, with the job's credentials.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_LOCATION = re.compile(r"[a-z][a-z0-9-]*")
_ENDPOINT = re.compile(
    rf"projects/[A-Za-z0-9][A-Za-z0-9.:_-]*/locations/{_LOCATION.pattern}"
    rf"/(endpoints/{_MODEL.pattern}|publishers/{_MODEL.pattern}/models/{_MODEL.pattern})"
)
_SOURCE = re.compile(r"stream|backfill:[A-Za-z0-9._:@/+=-]{1,200}")

# What Beam's Dataflow options call "one SDK process per worker, however many cores": the job waits
# for the model, it does not compute, and one process's event loop holds all of its calls.
ONE_PROCESS_PER_WORKER = "no_use_multiple_sdk_containers"


class OptionsError(ValueError):
    """The options contradict each other; the message lists everything that is wrong."""


class ImagenOptions(PipelineOptions):
    """Options of both jobs. The first three names are older than this project."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--messages_subscription", help="stream: projects/P/subscriptions/S to read from")
        add("--responses_topic", help="projects/P/topics/T that predictions are published to")
        add("--images_output_location", help="gs://BUCKET/FOLDER that images are stored under")
        add("--dead_letter_topic", help="projects/P/topics/T that failures are published to")
        add("--prompts", help="backfill: a path or glob of .txt, .jsonl or .csv files, or .gz")
        add("--report", help="backfill: a path that the job's counts are written to, as JSON")
        add("--source", help="what predictions say they come from: stream, or backfill:RUN")
        add("--model", default=DEFAULT_MODEL, help="the model of a prompt that names none")
        add(
            "--allowed_models",
            help="comma-separated models that a prompt may name; default: the known ones",
        )
        add("--model_endpoint", help="projects/P/locations/L/endpoints/E that serves --model")
        add("--model_location", help="location of the models; default: global for Gemini")
        add("--max_in_flight", type=int, default=64, help="most model calls at once, per worker")
        add(
            "--max_requests_per_minute",
            type=float,
            help="most model calls a minute, job-wide: split evenly over --max_num_workers",
        )
        add(
            "--max_retry_seconds",
            type=float,
            default=600.0,
            help="how long a prompt is tried again before it is a retryable failure",
        )
        add(
            "--call_timeout_seconds",
            type=float,
            default=300.0,
            help="how long one model call may take",
        )
        add(
            "--max_images",
            type=int,
            help="budget, job-wide, split over the workers, and anew for one that starts again: "
            "past it prompts fail as retryable, unpaid",
        )
        add(
            "--request_tier",
            choices=("standard", "flex"),
            default="standard",
            help="flex: half the price, slower",
        )


@dataclasses.dataclass(frozen=True)
class JobConfig:
    """What the transforms and the model handler need to know; checked, and small to pickle."""

    responses_topic: str
    dead_letter_topic: str
    location: Location
    defaults: PromptDefaults
    project: str
    model_endpoint: str | None
    gemini_location: str
    predict_location: str
    max_in_flight: int
    requests_per_minute: float | None  # of one worker
    max_retry_s: float
    call_timeout_s: float
    max_images: int | None  # of one worker
    flex: bool


def job_config(options: PipelineOptions, *, streaming: bool) -> JobConfig:
    """Check the options of a job, all of them.

    Raises:
        OptionsError: something is missing, malformed or contradicts something else.
    """
    given = options.view_as(ImagenOptions)
    cloud = options.view_as(GoogleCloudOptions)
    wrong = [*_unknown(options), *_wrong_for(given, streaming=streaming), *_wrong(given)]
    source = given.source or ("stream" if streaming else "backfill:manual")
    if not _SOURCE.fullmatch(source) or (source == "stream") != streaming:
        wrong.append(
            f"--source: expected {'stream' if streaming else 'backfill:RUN'}, got {source!r}"
        )
    try:
        location = Location.parse(given.images_output_location or "")
    except ValueError as error:
        wrong.append(f"--images_output_location: {error}")
    project = cloud.project or _project_of(given.responses_topic)
    most_workers = options.view_as(WorkerOptions).max_num_workers
    workers = most_workers or 1
    wrong += _unsplit(given, options, most_workers)
    if 0 < (given.max_images or workers) < workers:
        wrong.append(
            f"--max_images: {given.max_images} is less than one for each of --max_num_workers "
            f"{workers}, which it is split over"
        )
    if wrong:
        raise OptionsError("\n".join(wrong))
    allowed = _names(given.allowed_models) or frozenset(
        name for name in KNOWN_MODELS if family_of(name) is Family.GEMINI
    )
    return JobConfig(
        responses_topic=given.responses_topic,
        dead_letter_topic=given.dead_letter_topic,
        location=location,
        defaults=PromptDefaults(
            model=given.model, allowed_models=allowed | {given.model}, source=source
        ),
        project=project,
        model_endpoint=given.model_endpoint,
        gemini_location=given.model_location or "global",
        predict_location=given.model_location or cloud.region or "us-central1",
        max_in_flight=given.max_in_flight,
        requests_per_minute=_share(given.max_requests_per_minute, workers),
        max_retry_s=given.max_retry_seconds,
        call_timeout_s=given.call_timeout_seconds,
        max_images=None if given.max_images is None else given.max_images // workers,
        flex=given.request_tier == "flex",
    )


def tune_for_dataflow(options: PipelineOptions, config: JobConfig) -> None:
    """Set what suits these jobs' workers on Dataflow, unless it is set.

    Dataflow's bundles of a stream are often one element large, so calls in flight are bounded by
    the threads of the harness (12 by default); a thread that waits costs next to nothing.
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
        # Workers import what the pipeline is made of; for Dataflow alone Beam would send more.
        setup.save_main_session = False


def _wrong_for(given: ImagenOptions, *, streaming: bool) -> list[str]:
    """Return what is missing, or belongs to the other of the two jobs."""
    wrong = []
    required = {"responses_topic": _TOPIC, "dead_letter_topic": _TOPIC}
    if streaming:
        required["messages_subscription"] = _SUBSCRIPTION
    for name, pattern in required.items():
        value = getattr(given, name)
        if not value or not pattern.fullmatch(value):
            wrong.append(f"--{name}: expected {_readable(pattern)}, got {value!r}")
    if streaming and (given.prompts or given.report):
        wrong.append("--prompts and --report are for beam_jobs.backfill; a stream has no end")
    if not streaming and given.messages_subscription:
        wrong.append("--messages_subscription is for beam_jobs.stream; a backfill reads --prompts")
    if not streaming and not given.prompts:
        wrong.append("--prompts: expected a path or glob of prompt files, got nothing")
    if given.responses_topic and given.responses_topic == given.dead_letter_topic:
        wrong.append(
            "--responses_topic and --dead_letter_topic: expected two topics, got one twice"
        )
    return wrong


def _wrong(given: ImagenOptions) -> list[str]:
    wrong = [
        f"--{name}: expected a number above 0, got {value}"
        for name in (
            "max_in_flight",
            "max_requests_per_minute",
            "max_retry_seconds",
            "call_timeout_seconds",
            "max_images",
        )
        if (value := getattr(given, name)) is not None and not 0 < value < math.inf
    ]
    wrong += [
        f"--{option}: expected names such as {DEFAULT_MODEL}, got {name!r}"
        for option, names in (
            ("model", [given.model]),
            ("allowed_models", sorted(_names(given.allowed_models) - {given.model})),
        )
        for name in names
        # What is deployed on the endpoint is called whatever somebody has called it.
        if not (given.model_endpoint and option == "model" and _is_deployed(name))
        and not _MODEL.fullmatch(name)
    ]
    wrong += [
        f"--allowed_models: {name!r} is not one of Google's own, and --model_endpoint serves "
        "--model alone"
        for name in sorted(_names(given.allowed_models) - {given.model})
        if _is_deployed(name)
    ]
    if given.model_location and not _LOCATION.fullmatch(given.model_location):
        wrong.append(
            "--model_location: expected a location such as global or europe-west4, "
            f"got {given.model_location!r}"
        )
    family = family_of(given.model)
    if given.model_endpoint:
        if not _ENDPOINT.fullmatch(given.model_endpoint):
            wrong.append(
                "--model_endpoint: expected projects/P/locations/L/endpoints/E, "
                f"got {given.model_endpoint!r}"
            )
        if family is Family.GEMINI:
            wrong.append(
                f"--model_endpoint is for models that speak :predict; --model {given.model} does "
                "not. Name the deployed model with --model"
            )
    elif _is_deployed(given.model):
        wrong.append(
            f"--model {given.model} is not one of Google's own; say with --model_endpoint where it "
            "is deployed"
        )
    if given.request_tier == "flex" and family is Family.PREDICT:
        wrong.append(f"--request_tier flex is offered for Gemini models, not for {given.model}")
    return wrong


def _unsplit(given: ImagenOptions, options: PipelineOptions, most_workers: int | None) -> list[str]:
    """Return what is job-wide and cannot be split: Dataflow would give each worker all of it."""
    if most_workers or "Dataflow" not in (options.view_as(StandardOptions).runner or ""):
        return []
    return [
        f"--{name} is split over the workers: say with --max_num_workers how many there may be"
        for name in ("max_requests_per_minute", "max_images")
        if getattr(given, name) is not None
    ]


def _unknown(options: PipelineOptions) -> list[str]:
    """Return the options that nobody reads: Beam would log them and go on without.

    From a flex template's launcher that is what happens: the service has checked the parameters
    against the template, and what else there is are flags of its own.
    """
    if options.view_as(GoogleCloudOptions).template_location:
        return []
    known = PipelineOptions([]).get_all_options()
    given = options.get_all_options(retain_unknown_options=True)
    return [f"--{name}: no such option" for name in sorted(set(given) - set(known))]


def _is_deployed(model: str) -> bool:
    """Return whether a model is called at an endpoint of somebody's own, not at Google's."""
    return family_of(model) is Family.PREDICT and not model.startswith("imagen-")


def _names(value: str | None) -> frozenset[str]:
    return frozenset(name.strip() for name in (value or "").split(",") if name.strip())


def _share(value: float | None, workers: int) -> float | None:
    return None if value is None else value / workers


def _project_of(resource: Any) -> str:
    return resource.split("/")[1] if resource and resource.count("/") > 1 else ""


def _readable(pattern: re.Pattern[str]) -> str:
    return pattern.pattern.replace("[^/]+", "PROJECT", 1).replace("[^/]+", "NAME", 1)
