"""All settings of the DAGs, read from the variables `IMAGEN_*`.

`composer.tf` writes them into a file beside the plugins, from the resources it creates, so a
deployed environment needs no manual configuration. Variables of Airflow's own environment come
before that. Parsing a DAG file needs no settings: a DAG with invalid settings must stay visible in
Airflow, and say what is wrong when it runs.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from beam_jobs import names
from beam_jobs.allowed import BUCKET_PATTERN, CUSTOM_FUNCTION_PATTERN, PROJECT_PATTERN, names_in
from beam_jobs.catalog import DEFAULT_MODEL, IMAGE_SIZES, MAX_IMAGES, MODEL_PATTERN
from beam_jobs.prompts.limits import MAX_ROWS, MAX_UNPACKED_BYTES

PREFIX = "IMAGEN_"
# A file, and not variables of a Composer environment: those take a restart of Airflow, and an
# environment that others own has none of ours. Wherever plugins are, this is.
DEPLOYED = Path(__file__).parents[1] / "imagen_settings.json"
DEFAULT_HEALTH_SCHEDULE = "*/5 * * * *"
# Midnight, so that a run's data interval is one day: `airflow backfill create` takes dates.
DEFAULT_BACKFILL_SCHEDULE = "0 0 * * *"
# Six checks in a row. A check takes up to 18 minutes while a canary is lost and a call is retried.
DEFAULT_HEALTH_DUE_MINUTES = 30.0
# When the next night begins.
DEFAULT_BACKFILL_DUE_HOURS = 24.0
# A night's images are there by noon, whatever Vertex AI does. Its jobs mostly end within hours.
DEFAULT_PREFETCH_HOURS = 12.0
MAX_PREFETCH_HOURS = 72
# A weekend, and a day off.
MAX_APPROVAL_HOURS = 72
_WHERE_TO_SET = (
    "On Composer, composer.tf sets them, from its resources and variables: correct settings = {…} "
    "(model, worker_machine_type, allowed_projects and allowed_buckets have variables of their "
    "own) in terraform.tfvars, then apply. "
    "Elsewhere, set them in the environment of Airflow's scheduler and workers."
)

_Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$")]
_Template = Annotated[str, Field(pattern=r"^gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]/\S+$")]
_Limit = Annotated[float, Field(gt=0)]
_Separated = BeforeValidator(lambda value: names_in(value) if isinstance(value, str) else value)
_Project = Annotated[str, Field(pattern=f"^(?:{PROJECT_PATTERN})$")]
_Bucket = Annotated[str, Field(pattern=f"^{BUCKET_PATTERN}$")]
_Model = Annotated[str, Field(pattern=f"^{MODEL_PATTERN}$")]
_Function = Annotated[str, Field(pattern=f"^{CUSTOM_FUNCTION_PATTERN}$")]
# As Google Cloud's labels are, but for those by which DAGs find their jobs.
_Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}$")]
_Size = Annotated[str, Field(pattern=f"^(?:{'|'.join(IMAGE_SIZES)})$")]


class SettingsError(ValueError):
    """Settings are missing or malformed; the message lists all of them and where to set them."""


class Settings(BaseModel):
    """The settings of one deployment. Field `x` is read from the variable `IMAGEN_X`.

    Fields without a default are required. Durations are in seconds, as the names say.
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

    prompts_topic: _Name = names.PROMPTS_TOPIC
    prompts_subscription: _Name = names.PROMPTS_SUBSCRIPTION
    predictions_topic: _Name = names.PREDICTIONS_TOPIC
    predictions_subscription: _Name = names.PREDICTIONS_SUBSCRIPTION
    canary_subscription: _Name = names.CANARY_SUBSCRIPTION
    dead_letters_topic: _Name = names.DEAD_LETTERS_TOPIC
    dead_letters_subscription: _Name = names.DEAD_LETTERS_SUBSCRIPTION

    # What the names of jobs begin with: two deployments in a project have jobs of their own.
    name_prefix: str = Field(names.NAME_PREFIX, pattern=r"^[a-z][a-z0-9-]{1,18}[a-z0-9]$")
    # Dataflow allows one active job per name. That is what makes a second stream impossible.
    stream_job_name: str = Field(names.STREAM_JOB, pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
    model: str = Field(DEFAULT_MODEL, pattern=f"^{MODEL_PATTERN}$")
    worker_machine_type: str = Field(names.WORKER_MACHINE_TYPE, pattern=r"^[a-z0-9-]+$")
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

    # The key in Cloud KMS that encrypts the jobs' disks and state. None: Google's own.
    kms_key: str | None = Field(
        None,
        pattern=r"^projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+$",
        examples=["projects/keys/locations/us-central1/keyRings/team/cryptoKeys/imagen"],
    )
    # Labels of the jobs, on the bill too, as NAME=VALUE and separated by commas.
    labels: Annotated[tuple[_Label, ...], _Separated] = Field((), examples=["team=pictures"])

    # Where money and data may go besides the deployment's own project and bucket: ids or numbers of
    # projects, and names of buckets, separated by commas. The rules are in beam_jobs.allowed.
    allowed_projects: Annotated[tuple[_Project, ...], _Separated] = Field(
        (), examples=["network-host,models-of-another-team"]
    )
    allowed_buckets: Annotated[tuple[_Bucket, ...], _Separated] = Field(
        (), examples=["shared-templates"]
    )

    # Other buckets whose pictures prompts may show to a model, which then reads them.
    reference_buckets: Annotated[tuple[_Bucket, ...], _Separated] = Field(
        (), examples=["product-photos"]
    )

    # The dataset in BigQuery whose tables Pub/Sub fills. Only OpenLineage's events name them.
    bigquery_dataset: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_]{1,255}$", examples=["imagen"]
    )

    # What the objects of new images say of them: nothing; where they come from; or that and the
    # prompt's text. Whoever may read an image can read it.
    image_metadata: str = Field("off", pattern=r"^(off|on|prompt)$", examples=["on"])

    # For how many hours predictions have URLs by which anybody can read their images. None: they
    # have none. The worker's service account has to be allowed to sign.
    signed_url_hours: float | None = Field(None, gt=0, le=168, examples=[24])

    # What a prompt may ask for. A trigger form can narrow these limits, but not widen them. An
    # empty list: the known Gemini models, and all sizes that a model offers.
    allowed_models: Annotated[tuple[_Model, ...], _Separated] = Field(
        (), examples=[f"{DEFAULT_MODEL},gemini-3-pro-image"]
    )
    allowed_image_sizes: Annotated[tuple[_Size, ...], _Separated] = Field((), examples=["1K,2K"])
    max_images_per_prompt: int = Field(MAX_IMAGES, ge=1, le=MAX_IMAGES)

    # Custom functions of the deployment's jobs, as package.module:function in their image. No form
    # has them: whoever names one runs code as the workers.
    preprocess: _Function | None = Field(None, examples=["custom.example:prepare"])
    postprocess: _Function | None = Field(None, examples=["custom.example:compress"])

    gcp_conn_id: str = Field("google_cloud_default", min_length=1)
    console_url: str = Field("https://console.cloud.google.com", pattern=r"^https?://\S*[^/\s]$")
    # Where people read the runbook. None: the page in Airflow shows this version's own.
    runbook_url: str | None = Field(None, pattern=r"^https?://\S*[^/#\s]$")
    # Cron expressions, in UTC. Read when the DAG files are parsed, like the forms' default model.
    health_schedule: str = DEFAULT_HEALTH_SCHEDULE
    backfill_schedule: str = DEFAULT_BACKFILL_SCHEDULE
    # How long scheduled runs have before they are late, and an alert says so. Read there too.
    health_due_minutes: _Limit = DEFAULT_HEALTH_DUE_MINUTES
    backfill_due_hours: _Limit = DEFAULT_BACKFILL_DUE_HOURS
    # How often a waiting task checks. Between two checks it holds no worker slot.
    poke_seconds: float = Field(30.0, ge=0.1)
    # How long a health check waits for its canary to come back. A start waits for at least the
    # start-up grace, `startup_seconds`.
    canary_seconds: float = Field(120.0, ge=1)
    restarts_per_hour: int = Field(3, ge=0)

    # Maximum concurrent backfills, and the pool in which they are launched. The maximum is exact
    # only if the pool has one slot: otherwise, runs that launch at the same moment can exceed it.
    backfills_at_once: int = Field(2, ge=1)
    backfill_pool: str = Field("default_pool", min_length=1)
    # Maximum model calls per minute of each backfill job, so that the stream keeps the rest of the
    # quota. Two jobs at a time may make twice as many. None: no maximum.
    backfill_requests_per_minute: _Limit | None = None
    # Limits on what a backfill may cost. Its trigger form can override them.
    backfill_max_images: int = Field(10_000, ge=1)
    backfill_max_cost_usd: float = Field(500.0, gt=0)
    # Whether backfills order images from batch inference unless their form says otherwise, and how
    # long its jobs have. Vertex AI itself lets one wait for 72 hours, and then run for 24.
    prefetch: Literal["none", "batch", "auto"] = "none"
    prefetch_deadline_hours: float = Field(DEFAULT_PREFETCH_HOURS, gt=0, le=MAX_PREFETCH_HOURS)
    # The template of the job that stores what they made. None: no backfill can order anything.
    prefetch_template: _Template | None = Field(
        None, examples=["gs://my-project-imagen/templates/prefetch_import.json"]
    )
    # Whether their output, some 2 MB for each image, is kept once the images are stored.
    prefetch_keep_output: bool = False
    # How long a run waits for a person to approve what it would pay, in hours. Then it fails. The
    # DAG's dagrun_timeout has room for the maximum.
    approval_timeout_hours: float = Field(12.0, gt=0, le=MAX_APPROVAL_HOURS)
    # From how many US dollars on a backfill that decides for itself orders images from batch
    # inference, which takes hours.
    prefetch_min_saving_usd: float = Field(5.0, ge=0)
    # Limits on what a plan reads, because a small gzip file can hold very much: rows of all files
    # together, bytes of text in one file, and seconds. The task `plan` ends after an hour.
    backfill_max_rows: int = Field(MAX_ROWS, ge=1)
    backfill_max_unpacked_bytes: int = Field(MAX_UNPACKED_BYTES, ge=1)
    backfill_max_plan_seconds: float = Field(1800.0, gt=0)
    # The stream's budgets per hour and per day, in UTC. Its start form can override them.
    stream_max_images_per_hour: int | None = Field(None, ge=1)
    stream_max_images_per_day: int | None = Field(None, ge=1)

    # Where failures and recoveries are sent besides the log: an Airflow provider's notifier, as
    # JSON: {"class": "airflow.providers.….SomeNotifier", "kwargs": {…}}.
    notifier: str | None = None

    # Thresholds of the health check. None: the defaults in imagen_ops.health, explained there.
    max_system_lag_seconds: _Limit | None = None
    max_watermark_age_seconds: _Limit | None = None
    max_backlog_age_seconds: _Limit | None = None
    max_backlog_size: _Limit | None = None
    max_failure_ratio: _Limit | None = None
    startup_seconds: _Limit | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read and validate all settings. An empty variable counts as not set.

        Args:
            environment: the variables; None: those of this process and of the deployment.

        Raises:
            SettingsError: settings are missing, malformed or unknown; all of them are listed.
        """
        fields = {
            name.removeprefix(PREFIX).lower(): value.strip()
            for name, value in (variables() if environment is None else environment).items()
            if name.startswith(PREFIX) and value.strip()
        }
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            problems = sorted(_describe(cls, problem) for problem in error.errors())
            lines = ["invalid settings:", *problems, _WHERE_TO_SET]
            raise SettingsError("\n".join(lines)) from None

    def topic(self, name: str) -> str:
        """Return the full resource name of a topic."""
        return f"projects/{self.project}/topics/{name}"

    def subscription(self, name: str) -> str:
        """Return the full resource name of a subscription."""
        return f"projects/{self.project}/subscriptions/{name}"

    @property
    def images_location(self) -> str:
        """The folder of the images, as a gs:// URL without a trailing slash."""
        return f"gs://{self.bucket}/images"

    @property
    def canary_keys(self) -> str:
        """The object with the public keys of canaries, as a gs:// URL."""
        return f"gs://{self.bucket}/keys/canary.json"


def variables(deployed: Path | None = None) -> dict[str, str]:
    """Return the variables of this process, over those that the deployment has.

    Args:
        deployed: the deployment's file, which need not exist; None: `DEPLOYED`.

    Raises:
        SettingsError: the file is not what `composer.tf` writes.
    """
    path = deployed or DEPLOYED
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return dict(os.environ)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} can't be read: {error}. {_WHERE_TO_SET}") from None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise SettingsError(f"{path} isn't a JSON object of texts. {_WHERE_TO_SET}")
    return {**found, **{name: value for name, value in os.environ.items() if value.strip()}}


def value_of(variable: str, default: str = "") -> str:
    """Return a variable where a malformed file may stop nothing: DAGs are parsed, alerts sent."""
    try:
        found = variables()
    except SettingsError:
        found = dict(os.environ)
    return found.get(variable, "").strip() or default


def _describe(cls: type[Settings], problem: Any) -> str:
    """Return one line about a problem that pydantic reports."""
    name = str(problem["loc"][0])
    variable = f"  {PREFIX}{name.upper()}: "
    if problem["type"] == "extra_forbidden":
        return f"{variable}no such setting"
    if problem["type"] == "missing":
        line = f"{variable}is not set"
    else:
        line = f"{variable}{problem['msg'].lower()}, got {problem['input']!r}"
    examples = cls.model_fields[name].examples
    return f"{line}, for example {examples[0]}" if examples else line
