"""What one DAG run of the backfill is about: its day, its files, its form and its budget."""

import dataclasses
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.backfill.globs import PromptGlob
from imagen_ops.jobs.job_form import JobForm
from imagen_ops.jobs.launch_request import backfill_job_name, run_label_of
from imagen_ops.settings import Settings

PROMPTS_FOLDER = "prompts"


@dataclasses.dataclass(frozen=True)
class BackfillRun:
    """A DAG run of the backfill, as far as its job is concerned.

    Attributes:
        run_id: Airflow's.
        label: see `imagen_ops.jobs.launch_request.run_label_of`.
        day: YYYY-MM-DD, where the run is about one.
        prompts: the glob of its files.
        form: what it was given.
        max_images: its budget in images to pay; None: no limit.
        max_cost_usd: and in money.
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
        """The name of its job."""
        return backfill_job_name(self.day, self.label)


def run_of(context: Any, settings: Settings) -> BackfillRun:
    """Return what the run of a task is about.

    Raises:
        AirflowFailException: what it names is no glob, or files outside of the deployment's bucket;
            or it names none and has no day of its own.
    """
    dag_run, params = context["dag_run"], context["params"]
    start = dag_run.data_interval_start
    day = f"{start:%Y-%m-%d}" if start else None
    prompts = params["prompts"]
    if not prompts:
        if day is None:
            raise AirflowFailException(
                "this run has neither files nor a day: fill in the field prompts, or the logical "
                "date"
            )
        prompts = f"gs://{settings.bucket}/{PROMPTS_FOLDER}/ds={day}/*"
    try:
        glob = PromptGlob.parse(prompts)
    except ValueError as error:
        raise AirflowFailException(str(error)) from None
    if glob.bucket != settings.bucket:
        raise AirflowFailException(
            f"prompts: expected gs://{settings.bucket}/… (IMAGEN_BUCKET; the jobs may read no "
            f"other), got {prompts!r}"
        )
    label = run_label_of(dag_run.dag_id, dag_run.run_id)
    return BackfillRun(
        dag_run.run_id,
        label,
        day,
        glob.url,
        JobForm.of(params),
        max_images=params["max_images"] or settings.backfill_max_images,
        max_cost_usd=params["max_cost_usd"] or settings.backfill_max_cost_usd,
    )
