"""What one DAG run of the backfill works on: its day, its files, its form and its budget.

The day comes from the form or from the run's logical date, never from its data interval: that of a
run triggered by hand depends on how it was triggered (`findings/airflow_manual_interval.sh`).
"""

import dataclasses
from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from beam_jobs.catalog import unpriced
from beam_jobs.names import NAME_PREFIX, night_folder
from beam_jobs.prompts.globs import PromptGlob
from imagen_ops.backfill.approval import Approval
from imagen_ops.jobs.launch_request import backfill_job_name, import_job_name, run_label_of
from imagen_ops.jobs.limits import allowed_of
from imagen_ops.jobs.params import JobForm
from imagen_ops.settings import DEFAULT_PREFETCH_HOURS, Settings

# Values of the form's field `prefetch`.
NO_PREFETCH, AUTO_PREFETCH = "none", "auto"
# The task whose XCom is what a person has approved.
APPROVE_TASK = "approve"
_BACKFILL, _SCHEDULED = "backfill", "scheduled"


@dataclasses.dataclass(frozen=True)
class BackfillRun:
    """A DAG run of the backfill, as far as its job is concerned.

    Attributes:
        run_id: Airflow's id of the run.
        label: identifies the run in job labels and in its report's name: 32 hex characters, from
            `imagen_ops.jobs.launch_request.run_label_of`.
        day: YYYY-MM-DD, or None for a run with prompt files of its own.
        prompts: the glob of its prompt files, gs://BUCKET/PATTERN.
        form: the job's part of the trigger form.
        max_images: its budget: the maximum number of images to generate, with all its tries.
        max_cost_usd: its budget: the maximum cost in USD, estimated before and paid by its jobs;
            None: no limit.
        prefetch: whether batch inference fills the store ahead of the job: "none", "batch", or
            "auto", if it is worth it.
        prefetch_deadline: how long its batch jobs have.
        approval: what a person has approved, if the run has asked. Then it is the budget.
        name_prefix: what the names of the deployment's jobs begin with.
    """

    run_id: str
    label: str
    day: str | None
    prompts: str
    form: JobForm
    max_images: int
    max_cost_usd: float | None = None
    prefetch: str = NO_PREFETCH
    prefetch_deadline: timedelta = timedelta(hours=DEFAULT_PREFETCH_HOURS)
    approval: Approval | None = None
    name_prefix: str = NAME_PREFIX

    @property
    def job_name(self) -> str:
        """The name of the run's job."""
        return backfill_job_name(self.day, self.label, self.name_prefix)

    @property
    def import_job_name(self) -> str:
        """The name of the job that stores what its batch jobs have made."""
        return import_job_name(self.day, self.label, self.name_prefix)

    @property
    def unpriced_model(self) -> str | None:
        """The form's model, if it has no known price; None if it has one."""
        return self.form.model if unpriced([self.form.model], self.form.request_tier) else None


def run_from_context(context: Any, settings: Settings) -> BackfillRun:
    """Return the run that a task belongs to, from the task's Airflow context.

    Its budget is what a person has approved, or else that of the form, or else that of the
    settings.

    Raises:
        AirflowFailException: the form's prompt files are not a valid glob, or in a bucket that the
            deployment doesn't allow; it is not clear which day the run is about; or what was
            approved cannot be read.
    """
    dag_run, params = context["dag_run"], context["params"]
    prompts, field = params["prompts"], params["day"]
    if taken_over(dag_run):
        prompts = field = None  # of the run that was taken over: now its night is asked for
    if prompts and field:
        raise AirflowFailException(
            f"the form has both day = {field!r:.50} and prompts: fill in one of them"
        )
    day = None if prompts else day_of(dag_run, field, dry_run=params["dry_run"])
    if day:
        prompts = f"gs://{settings.bucket}/{night_folder(day)}/*"
    try:
        glob = PromptGlob.parse(prompts)
    except ValueError as error:
        raise AirflowFailException(str(error)) from None
    if refusal := allowed_of(settings).path("prompts", glob.url):
        raise AirflowFailException(refusal[0])
    approval = _approval(context["ti"])
    return BackfillRun(
        run_id=dag_run.run_id,
        label=run_label_of(dag_run.dag_id, dag_run.run_id, settings.name_prefix),
        day=day,
        prompts=glob.url,
        form=JobForm.from_fields(params),
        prefetch=params.get("prefetch") or settings.prefetch,
        prefetch_deadline=timedelta(
            hours=params.get("prefetch_deadline_hours") or settings.prefetch_deadline_hours
        ),
        max_images=(
            approval.max_images
            if approval
            else params["max_images"] or settings.backfill_max_images
        ),
        max_cost_usd=(
            approval.max_cost_usd
            if approval
            else params["max_cost_usd"] or settings.backfill_max_cost_usd
        ),
        approval=approval,
        name_prefix=settings.name_prefix,
    )


def _approval(ti: Any) -> Approval | None:
    content = ti.xcom_pull(task_ids=APPROVE_TASK)
    try:
        return None if content is None else Approval.from_json(content)
    except ValueError as error:
        raise AirflowFailException(
            f"what was approved cannot be read, so nothing is paid for: {error}. Clear "
            f"{APPROVE_TASK} with the tasks after it"
        ) from None


def taken_over(dag_run: Any) -> bool:
    """Return whether `airflow backfill create` has taken over a run that was triggered by hand.

    It clears the run that has the logical date of a night, makes it a run of the backfill, and
    leaves its form and data interval as they are (`airflow.models.backfill._handle_clear_run`).
    Airflow reserves the ids `scheduled__…` and `backfill__…` for runs of these types.
    """
    prefixes = (f"{_BACKFILL}__", f"{_SCHEDULED}__")
    return dag_run.run_type == _BACKFILL and not dag_run.run_id.startswith(prefixes)


def day_of(dag_run: Any, field: str | None, *, dry_run: bool = False) -> str:
    """Return the day that a run without prompt files of its own works on, as YYYY-MM-DD.

    Args:
        dag_run: the run. The day of one that was scheduled, or that `airflow backfill create` made,
            is its logical date.
        field: `day` of its form. It counts for a run that was triggered by hand.
        dry_run: whether its form asks for a dry run.

    Raises:
        AirflowFailException: it is not clear which day is meant. Never is another day taken.
    """
    logical_date: datetime | None = dag_run.logical_date
    own_day = logical_date and f"{logical_date.astimezone(UTC):%Y-%m-%d}"
    if own_day and dag_run.run_type in (_BACKFILL, _SCHEDULED):
        if not taken_over(dag_run):
            if field not in (None, "", own_day):
                raise AirflowFailException(
                    f"this run is the night of {own_day}, and its form asks for day = {field!r:.50}"
                    ". Leave day empty, or trigger imagen_backfill for that day by hand"
                )
        elif dry_run:
            raise AirflowFailException(
                f"the night of {own_day} is not made: `airflow backfill create` has taken over the "
                f"dry run {dag_run.run_id}, with its form. Trigger imagen_backfill with day = "
                f"{own_day} and without a logical date"
            )
        return own_day
    if field:
        return _checked(field)
    if logical_date is None:
        raise AirflowFailException(
            "this run has neither prompt files nor a day: fill in the field day, or the field "
            "prompts"
        )
    # People enter a date in their own time zone, and Airflow's form offers the current time.
    if logical_date.astimezone(UTC).time().replace(tzinfo=None) != datetime.min.time():
        raise AirflowFailException(
            f"which day is meant? The logical date is {logical_date.astimezone(UTC):%F %T} UTC, "
            "and no midnight. Trigger it again with the field day, such as "
            f"{own_day}, and without a logical date"
        )
    return str(own_day)


def _checked(field: str) -> str:
    today = datetime.now(UTC).date()
    try:
        day = date.fromisoformat(field)
    except (TypeError, ValueError):
        day = None
    if day is None or day.isoformat() != field or day > today:
        raise AirflowFailException(
            f"day: expected a day up to today ({today}) as YYYY-MM-DD, got {field!r:.50}"
        )
    return field
