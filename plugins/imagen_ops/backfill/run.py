"""What one DAG run of the backfill works on: its day, its files, its form and its budget."""

import dataclasses
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from beam_jobs.prompts.globs import PromptGlob
from imagen_ops.jobs.launch_request import backfill_job_name, run_label_of
from imagen_ops.jobs.params import JobForm
from imagen_ops.settings import Settings

PROMPTS_FOLDER = "prompts"


@dataclasses.dataclass(frozen=True)
class BackfillRun:
    """A DAG run of the backfill, as far as its job is concerned.

    Attributes:
        run_id: Airflow's id of the run.
        label: identifies the run in job labels and in its report's name: 32 hex characters, from
            `imagen_ops.jobs.launch_request.run_label_of`.
        day: YYYY-MM-DD, or None for a run without a logical date.
        prompts: the glob of its prompt files, gs://BUCKET/PATTERN.
        form: the job's part of the trigger form.
        max_images: its budget: the maximum number of images to generate; None: no limit.
        max_cost_usd: its budget: the maximum estimated cost in USD; None: no limit.
    """

    run_id: str
    label: str
    day: str | None
    prompts: str
    form: JobForm
    max_images: int | None = None
    max_cost_usd: float | None = None

    @property
    def job_name(self) -> str:
        """The name of the run's job."""
        return backfill_job_name(self.day, self.label)


def run_from_context(context: Any, settings: Settings) -> BackfillRun:
    """Return the run that a task belongs to, from the task's Airflow context.

    Raises:
        AirflowFailException: the form's prompt files are not a valid glob, or not in the
            deployment's bucket; or it names none and the run has no logical date.
    """
    dag_run, params = context["dag_run"], context["params"]
    start = dag_run.data_interval_start
    day = f"{start:%Y-%m-%d}" if start else None
    prompts = params["prompts"]
    if not prompts:
        if day is None:
            raise AirflowFailException(
                "this run has neither prompt files nor a day: fill in the field prompts, or the "
                "logical date"
            )
        prompts = f"gs://{settings.bucket}/{PROMPTS_FOLDER}/ds={day}/*"
    try:
        glob = PromptGlob.parse(prompts)
    except ValueError as error:
        raise AirflowFailException(str(error)) from None
    if glob.bucket != settings.bucket:
        raise AirflowFailException(
            f"prompts: expected gs://{settings.bucket}/… (IMAGEN_BUCKET; jobs can read no other "
            f"bucket), got {prompts!r}"
        )
    return BackfillRun(
        run_id=dag_run.run_id,
        label=run_label_of(dag_run.dag_id, dag_run.run_id),
        day=day,
        prompts=glob.url,
        form=JobForm.from_fields(params),
        max_images=params["max_images"] or settings.backfill_max_images,
        max_cost_usd=params["max_cost_usd"] or settings.backfill_max_cost_usd,
    )
