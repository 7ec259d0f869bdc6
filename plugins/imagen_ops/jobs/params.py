"""What every trigger form asks about a job: the fields of `imagen_ops.jobs.job_form.JobForm`."""

import os
from typing import Any

from airflow.sdk import Param

from imagen_ops.jobs.job_form import ENDPOINT, MODEL
from imagen_ops.settings import DEFAULT_MODEL

JOB_FIELDS: dict[str, Any] = {
    "model": Param(
        os.environ.get("IMAGEN_MODEL") or DEFAULT_MODEL,
        type="string",
        pattern=f"^{MODEL}$",
        examples=[
            "gemini-3.1-flash-image",
            "gemini-3.1-flash-lite-image",
            "gemini-3-pro-image",
            "gemini-2.5-flash-image",
            "gemini-nano-banana-2.1",
        ],
        title="Model",
        description_md="Makes the images of prompts that name no model of their own.",
    ),
    "model_endpoint": Param(
        None,
        type=["null", "string"],
        pattern=f"^{ENDPOINT}$",
        title="Endpoint of the model",
        description_md=(
            "Only for a model that is deployed on a Vertex AI endpoint and speaks :predict, as in "
            "projects/P/locations/L/endpoints/E. Empty for Google's own models."
        ),
    ),
    "request_tier": Param(
        "standard",
        type="string",
        enum=["standard", "flex"],
        title="Request tier",
        description_md="**flex** costs half and is slower; offered for Gemini models.",
    ),
    "max_in_flight": Param(
        64,
        type="integer",
        minimum=1,
        maximum=1024,
        title="Most calls at once, per worker",
        description_md="A ceiling. The job finds out by itself how many the quota allows.",
    ),
    "max_requests_per_minute": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        title="Most calls a minute, in all",
        description_md="Empty: as many as the quota allows. Set it to leave some to others.",
    ),
    "max_retry_seconds": Param(
        600,
        type="number",
        minimum=1,
        maximum=86400,
        title="How long a prompt is tried again (seconds)",
        description_md="After that it becomes a dead letter that can be replayed.",
    ),
    "max_workers": Param(
        2,
        type="integer",
        minimum=1,
        maximum=100,
        title="Most workers",
        description_md="Dataflow adds and removes them by itself, up to this many.",
    ),
}
