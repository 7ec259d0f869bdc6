"""The trigger form's fields that describe a job: what people see in them, and what a launch gets.

Forms that launch no job, or ask for more, add fields of their own in their DAG file.

A new field is declared here twice: in `JOB_FIELDS` for the Airflow UI, in `JobForm` for a launch.
"""

import dataclasses
import os
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
)
from beam_jobs.prompts.templates import TEMPLATE_PATTERN

_SIZE = f"(?:{'|'.join(IMAGE_SIZES)})"

JOB_FIELDS: dict[str, Any] = {
    "model": Param(
        os.environ.get("IMAGEN_MODEL") or DEFAULT_MODEL,
        type="string",
        pattern=f"^{MODEL_PATTERN}$",
        examples=[DEFAULT_MODEL, *(name for name in KNOWN_MODELS if name != DEFAULT_MODEL)],
        title="Model",
        description_md="Generates the images of prompts that don't name a model.",
    ),
    "fallback_models": Param(
        None,
        type=["null", "string"],
        pattern=f"^{MODEL_PATTERN}(?:, *{MODEL_PATTERN})*$",
        examples=[*KNOWN_MODELS],
        title="Fallback models",
        description_md=(
            "Models to use instead, in this order and separated by commas, while a prompt's own "
            "model refuses every prompt: it is gone, or the project may not use it. Each makes the "
            "prompts that it can, and its images are stored under its own name. **Empty**: prompts "
            "wait until the model is back or the job is updated to another one."
        ),
    ),
    "model_endpoint": Param(
        None,
        type=["null", "string"],
        pattern=f"^{ENDPOINT_PATTERN}$",
        title="Model endpoint",
        description_md=(
            "Set this only for a model that you deployed on a Vertex AI endpoint and that supports "
            ":predict. Format: projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT. Leave "
            "it empty for Google's own models. An endpoint of another project has to be in "
            "IMAGEN_ALLOWED_PROJECTS."
        ),
    ),
    "prompt_field": Param(
        None,
        type=["null", "string"],
        pattern=f"^(?:{PROMPT_FIELD_PATTERN})$",
        examples=["prompt", "text", "inputs", "-"],
        title="Prompt field",
        description_md=(
            "The request field in which the model endpoint's container expects the prompt. Most "
            "open models in Model Garden (FLUX, Stable Diffusion XL) expect **text**. Enter **-** "
            "for a container that takes the text itself, such as Hugging Face's. **Empty**: "
            "prompt, as for Imagen."
        ),
    ),
    "allowed_models": Param(
        None,
        type=["null", "string"],
        pattern=rf"^{MODEL_PATTERN}(?:, ?{MODEL_PATTERN})*$",
        title="Allowed models",
        description_md=(
            "The models that a prompt can name, besides *Model*, separated by commas. Only models "
            "of IMAGEN_ALLOWED_MODELS, if it is set. **Empty**: all of IMAGEN_ALLOWED_MODELS, or "
            "if it isn't set, the known Gemini models."
        ),
    ),
    "allowed_image_sizes": Param(
        None,
        type=["null", "string"],
        pattern=rf"^{_SIZE}(?:, ?{_SIZE})*$",
        title="Allowed image sizes",
        description_md=(
            "The image sizes that a prompt can ask for, such as 1K,2K. Only sizes of "
            "IMAGEN_ALLOWED_IMAGE_SIZES, if it is set. **Empty**: all of these, or if it isn't "
            "set, all that the prompt's model offers."
        ),
    ),
    "max_images_per_prompt": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=MAX_IMAGES,
        title="Maximum images per prompt",
        description_md=(
            "How many images a prompt can ask for, at most IMAGEN_MAX_IMAGES_PER_PROMPT. "
            "**Empty**: IMAGEN_MAX_IMAGES_PER_PROMPT."
        ),
    ),
    "prompt_template": Param(
        None,
        type=["null", "string"],
        pattern=f"^{TEMPLATE_PATTERN}$",
        title="Prompt template",
        description_md=(
            "The name of the template that prompts fill if they name none themselves, such as "
            "**studio**: the object templates/prompts/studio.txt in the deployment's bucket. "
            "Further columns of a .csv file are its variables. **Empty**: these prompts are sent "
            "as they are."
        ),
    ),
    "request_tier": Param(
        Tier.STANDARD.value,
        type="string",
        enum=[tier.value for tier in Tier],
        title="Request tier",
        description_md=(
            "**flex** costs half as much, but a call can take half an hour. **priority** is faster "
            "under load and costs more. Both are only for Gemini models."
        ),
    ),
    "flex_fallback_seconds": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        title="Flex fallback (seconds)",
        description_md=(
            "Only for **flex**: how long a call may go without an answer before it goes on in "
            "standard, at the full price. **Empty**: never."
        ),
    ),
    "model_location": Param(
        None,
        type=["null", "string"],
        pattern=f"^{LOCATIONS_PATTERN}$",
        examples=["global", "us", "eu", "global,us,eu"],
        title="Model location",
        description_md=(
            "Where Gemini models are called. With several, separated by commas, calls go to the "
            "next one while the quota of one is used up or it is out of order. With a single one, "
            "all calls go there. **Empty**: global, or the job's region for a model with "
            ":predict."
        ),
    ),
    "max_in_flight": Param(
        64,
        type="integer",
        minimum=1,
        maximum=1024,
        title="Maximum concurrent model calls per worker",
        description_md=(
            "An upper limit. The job makes fewer calls at once while the model is overloaded."
        ),
    ),
    "max_requests_per_minute": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        title="Maximum model calls per minute",
        description_md=(
            "For the whole job, split evenly over *Maximum workers*. Set this to leave part of the "
            "model's quota to other jobs. **Empty**: as many as the quota allows, or for a "
            "backfill, IMAGEN_BACKFILL_REQUESTS_PER_MINUTE if it is set."
        ),
    ),
    "max_retry_seconds": Param(
        600,
        type="number",
        minimum=1,
        maximum=86400,
        title="Maximum retry time (seconds)",
        description_md=(
            "How long a model call or a storage request is retried, from its first failure. If it "
            "still fails then, the prompt becomes a dead letter, which you can replay."
        ),
    ),
    "max_workers": Param(
        2,
        type="integer",
        minimum=1,
        maximum=100,
        title="Maximum workers",
        description_md="Dataflow adds and removes workers as needed, up to this number.",
    ),
}

# Only of a stream: a backfill has a budget of its own.
STREAM_FIELDS: dict[str, Any] = {
    "max_hold_seconds": Param(
        21600,
        type="number",
        minimum=1,
        maximum=86400,
        title="Maximum hold time (seconds)",
        description_md=(
            "How long a prompt waits while its model refuses every prompt. It then becomes a dead "
            "letter, which you can replay. A drain of the stream can take as long. Prompts that "
            "name another model than this form's wait for a minute only, because they hold up the "
            "others."
        ),
    ),
    "max_images_per_hour": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Maximum images per hour",
        description_md=(
            "The stream's budget for each hour (UTC), over all workers and restarts. A prompt "
            "beyond it costs nothing and becomes a dead letter, which you can replay when the next "
            "hour begins. **Empty**: IMAGEN_STREAM_MAX_IMAGES_PER_HOUR, which is no limit unless "
            "it is set."
        ),
    ),
    "max_images_per_day": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Maximum images per day",
        description_md=(
            "The same for each day (UTC). **Empty**: IMAGEN_STREAM_MAX_IMAGES_PER_DAY, which is no "
            "limit unless it is set."
        ),
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
