"""What is asked of Dataflow when a job is launched: from settings and a form to a request.

Pure: nothing here talks to anything.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

from imagen_ops.settings import Settings

# A job carries the digest of the DAG run that launched it, so that a task that is tried again
# knows its own job from one that was there before.
RUN_LABEL = "imagen-run"


@dataclasses.dataclass(frozen=True)
class StreamForm:
    """What the start DAG's trigger form asks; units are in the names. None: not set."""

    model: str
    model_endpoint: str | None = None
    request_tier: str = "standard"
    max_in_flight: int = 64
    max_requests_per_minute: float | None = None
    max_retry_seconds: float = 600.0
    max_workers: int = 2

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "StreamForm":
        """Take the fields of a form out of a run's parameters; others are left alone.

        Raises:
            ValueError: a field without which there is no launching is missing.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        taken = {name: value for name, value in given.items() if name in names}
        if not taken.get("model"):
            raise ValueError(f"expected a form that names a model, got fields {sorted(given)}")
        return cls(**taken)

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


def stream_launch(settings: Settings, form: StreamForm, *, run_label: str) -> Launch:
    """Return the launch of the streaming job."""
    return Launch(
        job_name=settings.stream_job_name,
        template=settings.stream_template,
        parameters={
            "messages_subscription": settings.subscription(settings.prompts_subscription),
            **_outputs(settings),
            **_as_text(form.to_json(), without={"max_workers"}),
        },
        environment=_environment(settings, form.max_workers, run_label),
    )


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
        "enableStreamingEngine": True,
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
