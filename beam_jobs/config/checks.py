"""The checks on a job's options. Each returns its problems, one line each."""

import math
import re

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)

from beam_jobs.allowed import names_in
from beam_jobs.catalog import (
    DEFAULT_MODEL,
    MODEL_PATTERN,
    PREDICT_PATTERN,
    PROMPT_FIELD,
    PROMPT_FIELD_PATTERN,
    Family,
    family_of,
    needs_endpoint,
    unpriced,
)
from beam_jobs.config.options import MAX_SIGNED_URL_HOURS, ImagenOptions
from beam_jobs.config.serving import serving_problems
from beam_jobs.custom.function import CustomFunction, CustomFunctionError
from beam_jobs.prompts.defaults import STREAM, image_sizes_problem, max_images_problem
from beam_jobs.prompts.templates import template_problem

_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")
_SUBSCRIPTION = re.compile(r"projects/[^/]+/subscriptions/[^/]+")
_MODEL = re.compile(MODEL_PATTERN)
_ENDPOINT = re.compile(PREDICT_PATTERN)
_OBJECT = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]/[^\r\n]+")
_SOURCE = re.compile(r"stream|backfill:[A-Za-z0-9._:@/+=-]{1,200}")


def source_of(imagen: ImagenOptions, *, streaming: bool) -> str:
    """Return what outcomes name as their source."""
    return imagen.source or (STREAM if streaming else "backfill:manual")


def job_problems(imagen: ImagenOptions, *, streaming: bool) -> list[str]:
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
    source = source_of(imagen, streaming=streaming)
    if not _SOURCE.fullmatch(source) or (source == STREAM) != streaming:
        problems.append(
            f"--source: expected {STREAM if streaming else 'backfill:RUN'}, got {source!r}"
        )
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


def value_problems(imagen: ImagenOptions) -> list[str]:
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
    hours = imagen.signed_url_hours
    if hours is not None and not 0 < hours <= MAX_SIGNED_URL_HOURS:
        problems.append(
            f"--signed_url_hours: expected over 0 and at most {MAX_SIGNED_URL_HOURS:g} hours "
            f"(7 days), got {hours:g}"
        )
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
            ("prompt_template", template_problem(imagen.prompt_template)),
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


def custom_functions(
    imagen: ImagenOptions,
) -> tuple[CustomFunction | None, CustomFunction | None, list[str]]:
    """Return the preprocess and the postprocess function, and the problems with them."""
    found: list[CustomFunction | None] = []
    problems = []
    for option in ("preprocess", "postprocess"):
        name = getattr(imagen, option)
        try:
            found.append(CustomFunction.named(f"--{option}", name) if name else None)
        except CustomFunctionError as error:
            found.append(None)
            problems.append(f"--{option}: {error}")
    before, after = found
    return before, after, problems


def is_dataflow(options: PipelineOptions) -> bool:
    """Return whether a job runs on Dataflow."""
    return "Dataflow" in (options.view_as(StandardOptions).runner or "")


def unsplittable(
    imagen: ImagenOptions, options: PipelineOptions, max_workers: int | None
) -> list[str]:
    """Return a problem if the job-wide rate lacks a number of workers to split it over.

    The busy workers share it, but until they know of each other, or if they may not, each has an
    even part of it.
    """
    if max_workers or not is_dataflow(options) or imagen.max_requests_per_minute is None:
        return []
    return [
        "--max_requests_per_minute is shared by the workers, and before they know of each other it "
        "is split evenly over --max_num_workers: set that as well"
    ]


def uncheckable(imagen: ImagenOptions, allowed: frozenset[str]) -> list[str]:
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


def unknown_options(options: PipelineOptions) -> list[str]:
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


def _example_of(pattern: re.Pattern[str]) -> str:
    return pattern.pattern.replace("[^/]+", "PROJECT", 1).replace("[^/]+", "NAME", 1)
