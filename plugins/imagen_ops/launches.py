"""What is asked of Dataflow when a job is launched: from settings and a form to a request.

Pure: nothing here talks to anything.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from imagen_ops.settings import DEFAULT_MODEL, Settings

# A job carries the digest of the DAG run that launched it, so that a task that is tried again
# knows its own job from one that was there before.
RUN_LABEL = "imagen-run"
# And, if it was launched because one before it had failed, the number of the try that did so.
TRY_LABEL = "imagen-try"
BACKFILL_JOBS = "imagen-backfill-"
_REPORTS = "records/reports"
# As in beam_jobs/options.py: both become parts of an address that the job calls, with its rights.
MODEL = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}"
ENDPOINT = rf"projects/[A-Za-z0-9][A-Za-z0-9.:_-]*/locations/[a-z][a-z0-9-]*/endpoints/{MODEL}"
# See `--source` there.
_NO_SOURCE = re.compile(r"[^A-Za-z0-9._:@/+=-]")


@dataclasses.dataclass(frozen=True)
class JobForm:
    """What the trigger forms ask about a job; units are in the names. None: not set."""

    model: str
    model_endpoint: str | None = None
    request_tier: str = "standard"
    max_in_flight: int = 64
    max_requests_per_minute: float | None = None
    max_retry_seconds: float = 600.0
    max_workers: int = 2

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "JobForm":
        """Take the fields of a form out of a run's parameters; others are left alone.

        Raises:
            ValueError: a field without which there is no launching is missing, or one that becomes
                part of an address is not what it has to be. (Airflow holds forms against that; a
                form that comes back from the Variable was not.)
        """
        names = {field.name for field in dataclasses.fields(cls)}
        taken = {name: value for name, value in given.items() if name in names}
        if not taken.get("model"):
            raise ValueError(f"expected a form that names a model, got fields {sorted(given)}")
        form = cls(**taken)
        if not re.fullmatch(MODEL, form.model):
            raise ValueError(f"model: expected an id such as {DEFAULT_MODEL}, got {form.model!r}")
        if form.model_endpoint and not re.fullmatch(ENDPOINT, form.model_endpoint):
            raise ValueError(
                "model_endpoint: expected projects/P/locations/L/endpoints/E, got "
                f"{form.model_endpoint!r}"
            )
        return form

    def contradictions(self) -> list[str]:
        """Return what no single field shows; the job would refuse it, minutes later."""
        gemini = self.model.startswith("gemini-")
        wrong = []
        if self.model_endpoint and gemini:
            wrong.append(
                f"model_endpoint: {self.model} is Google's own; an endpoint is for a model that is "
                "deployed on one, which the field model names"
            )
        if not (self.model_endpoint or gemini or self.model.startswith("imagen-")):
            wrong.append(
                f"model: {self.model} is none of Google's own; say in model_endpoint where it is "
                "deployed"
            )
        if self.request_tier == "flex" and not gemini:
            wrong.append(f"request_tier: flex is offered for Gemini models, not for {self.model}")
        return wrong

    def to_json(self) -> dict[str, Any]:
        """Return the fields, for `of`."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Launch:
    """A flex template, and what to launch it with."""

    job_name: str
    template: str
    parameters: Mapping[str, str]
    environment: Mapping[str, Any]

    def body(self, *, update: bool = False) -> dict[str, Any]:
        """Return the request's `launchParameter`."""
        body: dict[str, Any] = {
            "jobName": self.job_name,
            "containerSpecGcsPath": self.template,
            "parameters": dict(self.parameters),
            "environment": dict(self.environment),
        }
        return {**body, "update": True} if update else body


def stream_launch(settings: Settings, form: JobForm, *, run_label: str) -> Launch:
    """Return the launch of the streaming job."""
    return Launch(
        job_name=settings.stream_job_name,
        template=settings.stream_template,
        parameters={
            "messages_subscription": settings.subscription(settings.prompts_subscription),
            **_outputs(settings),
            **_as_text(form.to_json(), without={"max_workers"}),
        },
        environment={
            **_environment(settings, form.max_workers, run_label),
            "enableStreamingEngine": True,
        },
    )


def backfill_launch(
    settings: Settings,
    form: JobForm,
    *,
    name: str,
    prompts: str,
    run_id: str,
    run_label: str,
    tried: int,
) -> Launch:
    """Return the launch of a backfill.

    Args:
        settings: the deployment's.
        form: what the run was given.
        name: of the job.
        prompts: a glob of prompt files.
        run_id: of the DAG run; predictions say that they come from it.
        run_label: of the DAG run; names its report.
        tried: which try of the waiting task launches it, from 1.
    """
    per_minute = form.max_requests_per_minute or settings.backfill_requests_per_minute
    form = dataclasses.replace(form, max_requests_per_minute=per_minute)
    environment = _environment(settings, form.max_workers, run_label)
    return Launch(
        job_name=name,
        template=settings.backfill_template,
        parameters={
            "prompts": prompts,
            "report": report_path(settings, run_label),
            "source": source_of(run_id),
            **_outputs(settings),
            **_as_text(form.to_json(), without={"max_workers"}),
        },
        environment={
            **environment,
            "additionalUserLabels": {**environment["additionalUserLabels"], TRY_LABEL: str(tried)},
        },
    )


def backfill_job_name(day: str | None, run_label: str) -> str:
    """Return the name of a run's job: the same in each try, another for each run.

    Args:
        day: as YYYY-MM-DD, where the run is about one.
        run_label: of the DAG run.
    """
    return f"{BACKFILL_JOBS}{day or 'by-hand'}-{run_label[:12]}"


def report_path(settings: Settings, run_label: str) -> str:
    """Return where the job of a run leaves its counts."""
    return f"gs://{settings.bucket}/{_REPORTS}/{run_label}.json"


def source_of(run_id: str) -> str:
    """Return what predictions say they come from; characters that jobs do not take become `_`."""
    return "backfill:" + _NO_SOURCE.sub("_", run_id)[:200]


def run_label_of(dag_id: str, run_id: str) -> str:
    """Return the label's value for a DAG run: 32 hex characters, as labels take them."""
    return hashlib.sha256(f"{dag_id}/{run_id}".encode()).hexdigest()[:32]


def _outputs(settings: Settings) -> dict[str, str]:
    return {
        "responses_topic": settings.topic(settings.predictions_topic),
        "dead_letter_topic": settings.topic(settings.dead_letters_topic),
        "images_output_location": settings.images_location,
    }


def _environment(settings: Settings, max_workers: int, run_label: str) -> dict[str, Any]:
    environment: dict[str, Any] = {
        "numWorkers": 1,
        # Always sent: the quotas of the job are split over it.
        "maxWorkers": max_workers,
        "machineType": settings.worker_machine_type,
        "tempLocation": f"gs://{settings.bucket}/temp",
        "stagingLocation": f"gs://{settings.bucket}/staging",
        "additionalUserLabels": {"app": "imagen", RUN_LABEL: run_label},
    }
    if settings.worker_service_account:
        environment["serviceAccountEmail"] = settings.worker_service_account
    if settings.worker_subnetwork:
        environment["subnetwork"] = settings.worker_subnetwork
        # Workers talk to Google's APIs only, which Private Google Access gives them.
        environment["ipConfiguration"] = "WORKER_IP_PRIVATE"
    return environment


def _as_text(form: Mapping[str, Any], *, without: set[str]) -> dict[str, str]:
    """Template parameters are text; what is not set is left to the job's own default."""
    return {
        name: str(int(value) if isinstance(value, float) and value.is_integer() else value)
        for name, value in form.items()
        if value is not None and name not in without
    }
