"""The request that launches a job, built from the settings and a form. Makes no calls."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from beam_jobs.images.location import Location
from beam_jobs.names import JOBS_FOLDER, NAME_PREFIX, ledger_name
from beam_jobs.prefetch.folder import PrefetchFolder
from imagen_ops.jobs.limits import with_limits
from imagen_ops.jobs.params import JobForm
from imagen_ops.settings import Settings

# A job carries a digest of the DAG run that launched it. A retried task can then tell its own job
# from one that existed before.
RUN_LABEL = "imagen-run"
# A backfill also carries the number of the task try that launched it.
TRY_LABEL = "imagen-try"
PREFETCH_TEMPLATE = "IMAGEN_PREFETCH_TEMPLATE"
# Characters that the job's `--source` does not accept.
_NOT_IN_SOURCE = re.compile(r"[^A-Za-z0-9._:@/+=-]")


@dataclasses.dataclass(frozen=True)
class LaunchRequest:
    """A flex template and how to launch it.

    Args:
        job_name: the name of the job.
        template: the gs:// path of the template's specification.
        parameters: the template's parameters, all as text.
        environment: a v1b3 `FlexTemplateRuntimeEnvironment`.
    """

    job_name: str
    template: str
    parameters: Mapping[str, str]
    environment: Mapping[str, Any]

    @property
    def run_label(self) -> str:
        """The label of the DAG run that launches it; empty if it has none."""
        return str(self.environment.get("additionalUserLabels", {}).get(RUN_LABEL, ""))

    def body(self, *, update: bool = False) -> dict[str, Any]:
        """Return the request's `launchParameter`.

        `update` replaces the active job of the same name.
        """
        body: dict[str, Any] = {
            "jobName": self.job_name,
            "containerSpecGcsPath": self.template,
            "parameters": dict(self.parameters),
            "environment": dict(self.environment),
        }
        return {**body, "update": True} if update else body


def stream_launch_request(settings: Settings, form: JobForm, *, run_label: str) -> LaunchRequest:
    """Return the request that launches the stream.

    Args:
        settings: the deployment's settings.
        form: the job fields of the start form.
        run_label: the label value of the DAG run, from `run_label_of`.
    """
    form = dataclasses.replace(
        form,
        max_images_per_hour=form.max_images_per_hour or settings.stream_max_images_per_hour,
        max_images_per_day=form.max_images_per_day or settings.stream_max_images_per_day,
    )
    return LaunchRequest(
        job_name=settings.stream_job_name,
        template=settings.stream_template,
        parameters={
            "messages_subscription": settings.subscription(settings.prompts_subscription),
            "canary_keys": settings.canary_keys,
            **_outputs(settings),
            **_allowed(settings),
            **_custom_functions(settings),
            **_as_text(with_limits(settings, form).to_json(), without={"max_workers"}),
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
    max_images: int,
    max_cost_usd: float | None = None,
) -> LaunchRequest:
    """Return the request that launches a backfill.

    Args:
        settings: the deployment's settings.
        form: the job fields of the backfill form.
        name: the name of the job, from `backfill_job_name`.
        prompts: the gs:// path or glob of the prompt files.
        run_id: the id of the DAG run, which predictions name as their source.
        run_label: the label value of the DAG run, from `run_label_of`. It names the plan and the
            report too.
        try_number: the number of the task try that launches the job, from 1.
        max_images: how many images all jobs of the DAG run may pay for together.
        max_cost_usd: how many US dollars they may pay together; None: no limit.
    """
    max_requests = form.max_requests_per_minute or settings.backfill_requests_per_minute
    form = dataclasses.replace(form, max_requests_per_minute=max_requests)
    environment = _environment(settings, form.max_workers, run_label)
    return LaunchRequest(
        job_name=name,
        template=settings.backfill_template,
        parameters={
            "prompts": prompts,
            "plan": plan_path(settings, run_label),
            "report": report_path(settings, run_label),
            "max_images": str(max_images),
            **_as_text({"max_cost_usd": max_cost_usd}, without=set()),
            "max_rows": str(settings.backfill_max_rows),
            "max_unpacked_bytes": str(settings.backfill_max_unpacked_bytes),
            "source": prediction_source(run_id),
            **_outputs(settings),
            **_allowed(settings),
            **_custom_functions(settings),
            **_as_text(with_limits(settings, form).to_json(), without={"max_workers"}),
        },
        environment=_of_try(environment, try_number),
    )


def import_launch_request(
    settings: Settings, form: JobForm, *, name: str, run_label: str, try_number: int
) -> LaunchRequest:
    """Return the request that launches the import of what batch jobs have made.

    Args:
        settings: the deployment's settings, with a template for it.
        form: the job fields of the backfill form.
        name: the name of the job, from `import_job_name`.
        run_label: the label value of the DAG run, from `run_label_of`.
        try_number: the number of the task try that launches the job, from 1.

    Raises:
        ValueError: the settings have no template for it.
    """
    if not settings.prefetch_template:
        raise ValueError(f"{PREFETCH_TEMPLATE} isn't set, and the import cannot be launched")
    return LaunchRequest(
        job_name=name,
        template=settings.prefetch_template,
        parameters={
            "prefetch": prefetch_folder(settings, run_label).url,
            "images_output_location": settings.images_location,
            "thumbnails": form.thumbnails,
            **_allowed(settings),
        },
        environment=_of_try(_environment(settings, form.max_workers, run_label), try_number),
    )


def prefetch_folder(settings: Settings, run_label: str) -> PrefetchFolder:
    """Return the folder of what batch inference makes ahead of a run's job."""
    return PrefetchFolder.of(settings.bucket, run_label)


def import_job_name(day: str | None, run_label: str, name_prefix: str = NAME_PREFIX) -> str:
    """Return the name of a run's import job; the arguments are those of `backfill_job_name`."""
    return f"{name_prefix}-import-{day or 'by-hand'}-{run_label[:12]}"


def backfill_job_name(day: str | None, run_label: str, name_prefix: str = NAME_PREFIX) -> str:
    """Return the job name of a backfill: the same for every try, different for every run.

    Args:
        day: the run's day as YYYY-MM-DD; None for a run with prompt files of its own.
        run_label: the label value of the DAG run, from `run_label_of`.
        name_prefix: the deployment's, so that two in a project don't share names.
    """
    return f"{backfill_jobs(name_prefix)}{day or 'by-hand'}-{run_label[:12]}"


def backfill_jobs(name_prefix: str) -> str:
    """Return what the names of all backfills of a deployment begin with."""
    return f"{name_prefix}-backfill-"


def plan_path(settings: Settings, run_label: str) -> str:
    """Return the gs:// path of the files that the job of a run reads, and in which generations."""
    return f"gs://{settings.bucket}/{JOBS_FOLDER}/{run_label}/plan.jsonl"


def report_path(settings: Settings, run_label: str) -> str:
    """Return the gs:// path where the job of a run writes its counts."""
    return f"gs://{settings.bucket}/{JOBS_FOLDER}/{run_label}/report.json"


def ledger_path(settings: Settings, run_id: str, *, of_money: bool) -> str:
    """Return the gs:// path of the ledger in which a run's jobs count the images that they pay.

    Args:
        settings: the deployment's settings.
        run_id: the id of the DAG run.
        of_money: return that in which they count the money instead.
    """
    location = Location.parse(settings.images_location)
    images_url = location.url(location.prefix)
    return location.url(ledger_name(prediction_source(run_id), images_url, of_money=of_money))


def prediction_source(run_id: str) -> str:
    """Return the `source` of a backfill's predictions; unsupported characters become `_`."""
    return "backfill:" + _NOT_IN_SOURCE.sub("_", run_id)[:200]


def run_label_of(dag_id: str, run_id: str, name_prefix: str = NAME_PREFIX) -> str:
    """Return the label value of a DAG run: 32 hexadecimal characters, which labels may hold.

    Two deployments in a project have runs with the same ids, and find batch jobs by this label.
    """
    owner = "" if name_prefix == NAME_PREFIX else f"{name_prefix}/"
    return hashlib.sha256(f"{owner}{dag_id}/{run_id}".encode()).hexdigest()[:32]


def _outputs(settings: Settings) -> dict[str, str]:
    outputs = {
        "responses_topic": settings.topic(settings.predictions_topic),
        "dead_letter_topic": settings.topic(settings.dead_letters_topic),
        "images_output_location": settings.images_location,
    }
    if settings.image_metadata != "off":
        outputs["image_metadata"] = settings.image_metadata
    if settings.signed_url_hours is not None:
        outputs["signed_url_hours"] = f"{settings.signed_url_hours:g}"
    return outputs


def _custom_functions(settings: Settings) -> dict[str, str]:
    named = {"preprocess": settings.preprocess, "postprocess": settings.postprocess}
    return {option: name for option, name in named.items() if name}


def _allowed(settings: Settings) -> dict[str, str]:
    lists = {
        "allowed_projects": settings.allowed_projects,
        "allowed_buckets": settings.allowed_buckets,
        "reference_buckets": settings.reference_buckets,
    }
    return {name: ",".join(names) for name, names in lists.items() if names}


def _environment(settings: Settings, max_workers: int, run_label: str) -> dict[str, Any]:
    environment: dict[str, Any] = {
        "numWorkers": 1,
        # Always set: the job splits its quota over this number.
        "maxWorkers": max_workers,
        "machineType": settings.worker_machine_type,
        "tempLocation": f"gs://{settings.bucket}/temp",
        "stagingLocation": f"gs://{settings.bucket}/staging",
        "additionalUserLabels": {
            **dict(label.split("=", 1) for label in settings.labels),
            "app": "imagen",
            RUN_LABEL: run_label,
        },
    }
    if settings.kms_key:
        environment["kmsKeyName"] = settings.kms_key
    if settings.worker_service_account:
        environment["serviceAccountEmail"] = settings.worker_service_account
    if settings.worker_subnetwork:
        environment["subnetwork"] = settings.worker_subnetwork
        # Workers call only Google's APIs, which Private Google Access makes reachable.
        environment["ipConfiguration"] = "WORKER_IP_PRIVATE"
    return environment


def _of_try(environment: dict[str, Any], try_number: int) -> dict[str, Any]:
    labels = {**environment["additionalUserLabels"], TRY_LABEL: str(try_number)}
    return {**environment, "additionalUserLabels": labels}


def _as_text(form: Mapping[str, Any], *, without: set[str]) -> dict[str, str]:
    """Return template parameters, which are text. Unset fields keep the job's defaults."""
    return {
        name: str(int(value) if isinstance(value, float) and value.is_integer() else value)
        for name, value in form.items()
        if value is not None and name not in without
    }
