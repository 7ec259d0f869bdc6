"""The trigger form's fields that describe a job: what people see in them, and what a launch gets.

Forms that launch no job, or ask for more, add fields of their own in their DAG file.

A new field is declared here twice: in `JOB_FIELDS` for the Airflow UI, in `JobForm` for a launch.
"""

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from beam_jobs.allowed import names_in
from beam_jobs.catalog import (
    DEFAULT_MODEL,
    ENDPOINT_PATTERN,
    IMAGE_SIZES,
    KNOWN_MODELS,
    LOCATIONS_PATTERN,
    MAX_IMAGES,
    MODEL_PATTERN,
    PROMPT_FIELD,
    PROMPT_FIELD_PATTERN,
    Tier,
    location_problem,
    needs_endpoint,
    tier_problem,
    usd_per_image,
)
from beam_jobs.prompts.templates import TEMPLATE_PATTERN
from imagen_ops.settings import PREFIX, Settings, value_of

_SIZE = f"(?:{'|'.join(IMAGE_SIZES)})"
_MODELS = f"^{MODEL_PATTERN}(?:, *{MODEL_PATTERN})*$"


def field(default: Any, kind: str, title: str, description: str, **schema: Any) -> Param:
    """Return a field of a form.

    Args:
        default: its value unless somebody fills it in; None: it can be empty.
        kind: what it holds, as JSON Schema calls it.
        title: its title.
        description: what it is for, in Markdown without code, which Airflow 3.3.1 draws over the
            line above.
        schema: what its value has to be, as JSON Schema says it.
    """
    types: Any = ["null", kind] if default is None else kind
    return Param(default, type=types, title=title, description_md=description, **schema)


def set_to(variable: str, otherwise: str = "no limit") -> str:
    """Return what a setting is set to where DAGs are parsed, for the description of a field.

    Args:
        variable: the environment variable that sets it.
        otherwise: what holds if it isn't set and has no default.
    """
    default = Settings.model_fields[variable.removeprefix(PREFIX).lower()].default
    value = value_of(variable) or default or ""
    with contextlib.suppress(ValueError):
        value = f"{float(value):,.10g}"
    return f"{value} ({variable})" if value else f"{otherwise} ({variable} isn't set)"


def _known_models() -> str:
    """Return the known models with what an image costs at least, the default first."""
    names = [DEFAULT_MODEL, *(name for name in KNOWN_MODELS if name != DEFAULT_MODEL)]
    prices = {name: usd_per_image(name) for name in names}
    return ", ".join(
        f"{name} ({'price unknown' if usd is None else f'{usd:.4f} USD'})"
        for name, usd in prices.items()
    )


JOB_FIELDS: dict[str, Any] = {
    "model": field(
        value_of("IMAGEN_MODEL", DEFAULT_MODEL),
        "string",
        "Model",
        "Generates the images of prompts that don't name a model. An image of 1K costs at "
        f"least, in the standard tier: {_known_models()}. Clear the field to choose from these; "
        "others work too.",
        pattern=f"^{MODEL_PATTERN}$",
        examples=[DEFAULT_MODEL, *(name for name in KNOWN_MODELS if name != DEFAULT_MODEL)],
    ),
    "fallback_models": field(
        None,
        "string",
        "Fallback models",
        "Models to use instead, in this order and separated by commas, while a prompt's own model "
        "refuses every prompt: it is gone, or the project may not use it. Each makes the prompts "
        "that it can, and its images are stored under its own name. **Empty**: prompts wait until "
        "the model is back or the job is updated to another one.",
        pattern=_MODELS,
        examples=[*KNOWN_MODELS],
    ),
    "model_endpoint": field(
        None,
        "string",
        "Model endpoint",
        "Set this only for a model that you deployed on a Vertex AI endpoint and that supports "
        ":predict. Format: projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT. Leave it empty "
        "for Google's own models. Projects whose endpoints can be used: the deployment's own, and "
        f"{set_to('IMAGEN_ALLOWED_PROJECTS', 'no other')}.",
        pattern=f"^{ENDPOINT_PATTERN}$",
    ),
    "prompt_field": field(
        None,
        "string",
        "Prompt field",
        "The request field in which the model endpoint's container expects the prompt. Most open "
        "models in Model Garden (FLUX, Stable Diffusion XL) expect **text**. Enter **-** for a "
        "container that takes the text itself, such as Hugging Face's. **Empty**: prompt, as for "
        "Imagen.",
        pattern=f"^(?:{PROMPT_FIELD_PATTERN})$",
        examples=["prompt", "text", "inputs", "-"],
    ),
    "allowed_models": field(
        None,
        "string",
        "Allowed models",
        "The models that a prompt can name, besides *Model*, separated by commas. **Empty**: all "
        "that the deployment allows: "
        f"{set_to('IMAGEN_ALLOWED_MODELS', 'the known Gemini models')}.",
        pattern=_MODELS,
        examples=[*KNOWN_MODELS],
    ),
    "allowed_image_sizes": field(
        None,
        "string",
        "Allowed image sizes",
        "The image sizes that a prompt can ask for, such as 1K,2K. **Empty**: all that the "
        f"deployment allows: {set_to('IMAGEN_ALLOWED_IMAGE_SIZES', 'what a model offers')}.",
        pattern=rf"^{_SIZE}(?:, ?{_SIZE})*$",
    ),
    "max_images_per_prompt": field(
        None,
        "integer",
        "Maximum images per prompt",
        "How many images a prompt can ask for. **Empty**, and at most: "
        f"{set_to('IMAGEN_MAX_IMAGES_PER_PROMPT')}.",
        minimum=1,
        maximum=MAX_IMAGES,
    ),
    "prompt_template": field(
        None,
        "string",
        "Prompt template",
        "The name of the template that prompts fill if they name none themselves, such as "
        "**studio**: the object templates/prompts/studio.txt in the deployment's bucket. Further "
        "columns of a .csv file are its variables. **Empty**: these prompts are sent as they are.",
        pattern=f"^{TEMPLATE_PATTERN}$",
    ),
    "request_tier": field(
        Tier.STANDARD.value,
        "string",
        "Request tier",
        "**flex** costs half as much, but a call can take half an hour. **priority** is faster "
        "under load and costs more. Both are only for Gemini models.",
        enum=[tier.value for tier in Tier],
    ),
    "flex_fallback_seconds": field(
        None,
        "number",
        "Flex fallback (seconds)",
        "Only for **flex**: how long a call may go without an answer before it goes on in "
        "standard, at the full price. **Empty**: never.",
        exclusiveMinimum=0,
    ),
    "thumbnails": field(
        "on",
        "string",
        "Thumbnails",
        "**on**: the job stores a small copy of each image too, which makes the page load fast. It "
        "takes about 40 ms of CPU for each image, at most a quarter of a core.",
        enum=["on", "off"],
    ),
    "model_location": field(
        None,
        "string",
        "Model location",
        "Where Gemini models are called. With several, separated by commas, calls go to the next "
        "one while the quota of one is used up or it is out of order. With a single one, all calls "
        "go there. **Empty**: global, or the job's region for a model with :predict.",
        pattern=f"^{LOCATIONS_PATTERN}$",
        examples=["global", "us", "eu", "global,us,eu"],
    ),
    "max_in_flight": field(
        64,
        "integer",
        "Maximum concurrent model calls per worker",
        "An upper limit. The job makes fewer calls at once while the model is overloaded. At 15 s "
        "for each call, 64 calls are 250 images per minute, and 256 are 1,000: a worker of two "
        "cores can have as many.",
        minimum=1,
        maximum=1024,
    ),
    "max_requests_per_minute": field(
        None,
        "number",
        "Maximum model calls per minute",
        "For the whole job, shared by the workers that are busy. Set this to leave part of the "
        "model's quota to other jobs. **Empty**: as many as the quota allows; for a backfill, "
        f"{set_to('IMAGEN_BACKFILL_REQUESTS_PER_MINUTE')}.",
        exclusiveMinimum=0,
    ),
    "max_retry_seconds": field(
        600,
        "number",
        "Maximum retry time (seconds)",
        "How long a model call or a storage request is retried, from its first failure. If it "
        "still fails then, the prompt becomes a dead letter, which you can replay.",
        minimum=1,
        maximum=86400,
    ),
    "max_workers": field(
        2,
        "integer",
        "Maximum workers",
        "Dataflow adds and removes workers as needed, up to this number. More *concurrent model "
        "calls* cost less than more workers.",
        minimum=1,
        maximum=100,
    ),
}

# Only of a stream: a backfill has a budget of its own.
STREAM_FIELDS: dict[str, Any] = {
    "max_hold_seconds": field(
        21600,
        "number",
        "Maximum hold time (seconds)",
        "How long a prompt waits while its model refuses every prompt. It then becomes a dead "
        "letter, which you can replay. A drain of the stream can take as long. Prompts that name "
        "another model than this form's wait for a minute only, because they hold up the others.",
        minimum=1,
        maximum=86400,
    ),
    "max_images_per_hour": field(
        None,
        "integer",
        "Maximum images per hour",
        "The stream's budget for each hour (UTC), over all workers and restarts. A prompt beyond "
        "it costs nothing and becomes a dead letter, which you can replay when the next hour "
        f"begins. **Empty**: {set_to('IMAGEN_STREAM_MAX_IMAGES_PER_HOUR')}.",
        minimum=1,
    ),
    "max_images_per_day": field(
        None,
        "integer",
        "Maximum images per day",
        f"The same for each day (UTC). **Empty**: {set_to('IMAGEN_STREAM_MAX_IMAGES_PER_DAY')}.",
        minimum=1,
    ),
}


@dataclasses.dataclass(frozen=True)
class JobForm:
    """The job fields of a trigger form.

    Args:
        model: the model for prompts that don't name one.
        fallback_models: comma-separated models to use while a prompt's own refuses every prompt;
            None: prompts wait.
        model_endpoint: the Vertex AI endpoint of a deployed model; None for Google's own models.
        prompt_field: the request field that the endpoint's container takes a prompt from, or "-"
            for none; None: Imagen's.
        allowed_models: comma-separated models that a prompt can name besides `model`; None: those
            of the deployment.
        allowed_image_sizes: comma-separated image sizes that a prompt can ask for; None: those of
            the deployment.
        max_images_per_prompt: how many images a prompt can ask for; None: as many as the
            deployment allows.
        prompt_template: the name of the template of prompts that name none; None: they have none.
        request_tier: "standard", "flex" or "priority".
        flex_fallback_seconds: after how long a call that got nothing in flex goes on in standard;
            None: never.
        thumbnails: "on" or "off": whether to store a small copy of each image too.
        model_location: where models are called; several Gemini locations are separated by commas;
            None: the job's default.
        max_in_flight: maximum concurrent model calls per worker.
        max_requests_per_minute: maximum model calls per minute of the whole job; None: the
            model's quota.
        max_retry_seconds: how long a failing model call or storage request is retried.
        max_workers: maximum Dataflow workers.
        max_hold_seconds: how long a stream's prompt waits while its model refuses every prompt;
            None: the job's default.
        max_images_per_hour: maximum images of a stream in each hour (UTC); None: the setting's.
        max_images_per_day: the same for each day (UTC).
    """

    model: str
    fallback_models: str | None = None
    model_endpoint: str | None = None
    prompt_field: str | None = None
    allowed_models: str | None = None
    allowed_image_sizes: str | None = None
    max_images_per_prompt: int | None = None
    prompt_template: str | None = None
    request_tier: str = Tier.STANDARD.value
    flex_fallback_seconds: float | None = None
    thumbnails: str = "on"
    model_location: str | None = None
    max_in_flight: int = 64
    max_requests_per_minute: float | None = None
    max_retry_seconds: float = 600.0
    max_workers: int = 2
    max_hold_seconds: float | None = None
    max_images_per_hour: int | None = None
    max_images_per_day: int | None = None

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "JobForm":
        """Return the form with these field values; fields that are not about the job are ignored.

        Airflow validates a form when it is submitted. It does not validate the form that is stored
        in the Variable, so the fields that become part of a URL are checked here.

        Raises:
            ValueError: the model is missing, or a model or the endpoint is malformed.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        job_fields = {name: value for name, value in fields.items() if name in names}
        if not job_fields.get("model"):
            raise ValueError(
                f"model: expected an id such as {DEFAULT_MODEL}, got a form with only the fields "
                f"{', '.join(sorted(fields)) or 'none'}"
            )
        form = cls(**job_fields)
        if not re.fullmatch(MODEL_PATTERN, form.model):
            raise ValueError(f"model: expected an id such as {DEFAULT_MODEL}, got {form.model!r}")
        for name in names_in(form.allowed_models):
            if not re.fullmatch(MODEL_PATTERN, name):
                raise ValueError(
                    f"allowed_models: expected ids such as {DEFAULT_MODEL}, separated by commas, "
                    f"got {name[:100]!r}"
                )
        if form.model_endpoint and not re.fullmatch(ENDPOINT_PATTERN, form.model_endpoint):
            raise ValueError(
                "model_endpoint: expected projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT, "
                f"got {form.model_endpoint!r}"
            )
        return form

    def contradictions(self) -> list[str]:
        """Return what is wrong with the fields taken together, one line each.

        The job would reject them too, but only minutes after its launch.
        """
        gemini = self.model.startswith("gemini-")
        problems = [
            f"fallback_models: {name.strip()} is not one of Google's own models, and an endpoint "
            "serves only the form's model; remove it"
            for name in (self.fallback_models or "").split(",")
            if name.strip() and not name.strip().startswith(("gemini-", "imagen-"))
        ]
        if self.model_endpoint and gemini:
            problems.append(
                f"model_endpoint: {self.model} is one of Google's own models and needs no "
                "endpoint; clear the endpoint, or set model to the model deployed on it"
            )
        if needs_endpoint(self.model) and not self.model_endpoint:
            problems.append(
                f"model: {self.model} is not one of Google's own models; set model_endpoint to the "
                "endpoint it is deployed on"
            )
        problems += [
            f"allowed_models: {name[:100]} is not one of Google's own models, and an endpoint "
            "serves only model; remove it from the list"
            for name in names_in(self.allowed_models)
            if needs_endpoint(name) and name != self.model
        ]
        if (self.prompt_field or PROMPT_FIELD) != PROMPT_FIELD and not self.model_endpoint:
            problems.append(
                f"prompt_field: {self.prompt_field} is only for a model on an endpoint; set "
                "model_endpoint too, or clear prompt_field"
            )
        if problem := tier_problem(self.model, self.request_tier):
            problems.append(f"request_tier: {problem}")
        if problem := location_problem(self.model, self.model_location, self.request_tier):
            problems.append(f"model_location: {problem}")
        if self.flex_fallback_seconds is not None and self.request_tier != Tier.FLEX:
            problems.append(
                f"flex_fallback_seconds: only for the tier flex, got {self.request_tier}; clear it"
            )
        return problems

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object, for `from_fields`."""
        return dataclasses.asdict(self)
