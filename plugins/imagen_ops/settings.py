"""Every setting of the DAGs, in one place, from `IMAGEN_*` environment variables.

`composer.tf` sets them from the resources that it creates, so that a deployed environment needs no
configuration by hand. To parse a DAG file none is needed: a DAG whose settings are wrong must stay
visible, and say what is wrong when it runs.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PREFIX = "IMAGEN_"
DEFAULT_MODEL = "gemini-3.1-flash-image"
DEFAULT_HEALTH_SCHEDULE = "*/5 * * * *"
# Midnight: a run's data interval is one day, and `airflow backfill create` takes days as dates.
DEFAULT_BACKFILL_SCHEDULE = "0 0 * * *"
_WHERE = (
    "They are set on the Composer environment (env_variables in composer.tf); elsewhere in the "
    "environment of Airflow's scheduler and workers."
)

_Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$")]
_Template = Annotated[str, Field(pattern=r"^gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]/\S+$")]
_Limit = Annotated[float, Field(gt=0)]


class SettingsError(ValueError):
    """Settings are missing or malformed; the message lists all of them and where they are set."""


class Settings(BaseModel):
    """What a deployment consists of. A field `x` is read from the variable `IMAGEN_X`.

    Fields without a default have to be set. Durations are in seconds, as the names say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str = Field(pattern=r"^[a-z][a-z0-9.:-]{4,61}[a-z0-9]$", examples=["my-project"])
    region: str = Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$", examples=["us-central1"])
    bucket: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", examples=["my-project-imagen"]
    )
    stream_template: _Template = Field(examples=["gs://my-project-imagen/templates/stream.json"])
    backfill_template: _Template = Field(
        examples=["gs://my-project-imagen/templates/backfill.json"]
    )

    prompts_topic: _Name = "prompts"
    prompts_subscription: _Name = "prompts-sub"
    predictions_topic: _Name = "predictions"
    predictions_subscription: _Name = "predictions-sub"
    canary_subscription: _Name = "canary-sub"
    dead_letters_topic: _Name = "dead-letters"
    dead_letters_subscription: _Name = "dead-letters-sub"

    # Dataflow lets one active job have a name: this is what makes a second stream impossible.
    stream_job_name: str = Field("imagen-stream", pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
    model: str = Field(DEFAULT_MODEL, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$")
    worker_machine_type: str = Field("n2-standard-2", pattern=r"^[a-z0-9-]+$")
    worker_service_account: str | None = Field(
        None,
        pattern=r"^[^@\s]+@[^@\s]+$",
        examples=["imagen-worker@my-project.iam.gserviceaccount.com"],
    )
    worker_subnetwork: str | None = Field(
        None,
        pattern=r"^(https://\S+/)?(projects/[^/\s]+/)?regions/[^/\s]+/subnetworks/[^/\s]+$",
        examples=["regions/us-central1/subnetworks/imagen"],
    )

    gcp_conn_id: str = Field("google_cloud_default", min_length=1)
    console_url: str = Field("https://console.cloud.google.com", pattern=r"^https?://\S*[^/\s]$")
    # Read when the DAG files are parsed, as the model is for the trigger forms; crontab, UTC.
    health_schedule: str = DEFAULT_HEALTH_SCHEDULE
    backfill_schedule: str = DEFAULT_BACKFILL_SCHEDULE
    # How often a waiting task looks; between two looks it holds no worker slot.
    poke_seconds: float = Field(30.0, ge=0.1)
    # How long health and start wait for a canary to come back.
    canary_seconds: float = Field(120.0, ge=1)
    restarts_per_hour: int = Field(3, ge=0)

    # Most backfills at once, and the pool in which they are launched, one after the other.
    backfills_at_once: int = Field(2, ge=1)
    backfill_pool: str = Field("default_pool", min_length=1)
    # A share of the model's quota, so that the stream keeps the rest. None: all that there is.
    backfill_requests_per_minute: _Limit | None = None
    # What a backfill may cost unless its form says otherwise.
    backfill_max_images: int = Field(10_000, ge=1)
    backfill_max_cost_usd: float = Field(500.0, gt=0)

    # Who is told of failures and recoveries besides the log: a notifier of a provider, as JSON
    # {"class": "airflow.providers.….SomeNotifier", "kwargs": {…}}.
    notifier: str | None = None

    # What health takes for healthy. None: as in imagen_ops.health, where the reasons are.
    max_system_lag_seconds: _Limit | None = None
    max_watermark_age_seconds: _Limit | None = None
    max_backlog_age_seconds: _Limit | None = None
    max_backlog_size: _Limit | None = None
    max_failure_ratio: _Limit | None = None
    startup_seconds: _Limit | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read and check all of them. A variable that is empty counts as not set.

        Raises:
            SettingsError: lists everything that is missing or malformed.
        """
        given = {
            name.removeprefix(PREFIX).lower(): value.strip()
            for name, value in environment.items()
            if name.startswith(PREFIX) and value.strip()
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            wrong = sorted(_line(cls, found) for found in error.errors())
            raise SettingsError("\n".join(["wrong settings:", *wrong, _WHERE])) from None

    def topic(self, name: str) -> str:
        """Return the full name of one of the topics."""
        return f"projects/{self.project}/topics/{name}"

    def subscription(self, name: str) -> str:
        """Return the full name of one of the subscriptions."""
        return f"projects/{self.project}/subscriptions/{name}"

    @property
    def images_location(self) -> str:
        """Return where the images are, as the jobs take it."""
        return f"gs://{self.bucket}/images"


def _line(cls: type[Settings], found: Any) -> str:
    name = str(found["loc"][0])
    variable = f"  {PREFIX}{name.upper()}: "
    if found["type"] == "extra_forbidden":
        return f"{variable}no such setting"
    if found["type"] == "missing":
        line = f"{variable}is not set"
    else:
        line = f"{variable}{found['msg'].lower()}, got {found['input']!r}"
    examples = cls.model_fields[name].examples
    return f"{line}, for example {examples[0]}" if examples else line
