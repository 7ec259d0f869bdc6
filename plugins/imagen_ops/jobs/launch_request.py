"""What is asked of Dataflow when a job is launched: from settings and a form to a request.

Pure: nothing here talks to anything.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from imagen_ops.jobs.job_form import JobForm
from imagen_ops.settings import Settings

# A job carries the digest of the DAG run that launched it, so that a task that is try_number again
# knows its own job from one that was there before.
RUN_LABEL = "imagen-run"
# And, if it was launched because one before it had failed, the number of the try that did so.
TRY_LABEL = "imagen-try"
BACKFILL_JOBS = "imagen-backfill-"
_REPORTS = "records/reports"
# See `--source` there.
_NO_SOURCE = re.compile(r"[^A-Za-z0-9._:@/+=-]")


@dataclasses.dataclass(frozen=True)
class LaunchRequest:
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


def stream_launch_request(settings: Settings, form: JobForm, *, run_label: str) -> LaunchRequest:
    """Return the launch of the streaming job."""
    return LaunchRequest(
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


def backfill_launch_request(
    settings: Settings,
    form: JobForm,
    *,
    name: str,
    prompts: str,
    run_id: str,
    run_label: str,
    try_number: int,
) -> LaunchRequest:
    """Return the launch of a backfill.

    Args:
        settings: the deployment's.
        form: what the run was given.
        name: of the job.
        prompts: a glob of prompt files.
        run_id: of the DAG run; predictions say that they come from it.
        run_label: of the DAG run; names its report.
        try_number: which try of the waiting task launches it, from 1.
    """
    per_minute = form.max_requests_per_minute or settings.backfill_requests_per_minute
    form = dataclasses.replace(form, max_requests_per_minute=per_minute)
    environment = _environment(settings, form.max_workers, run_label)
    return LaunchRequest(
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
            "additionalUserLabels": {
                **environment["additionalUserLabels"],
                TRY_LABEL: str(try_number),
            },
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
