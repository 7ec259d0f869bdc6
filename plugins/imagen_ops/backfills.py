"""Launching the job of a backfill so that one DAG run has one, and runs take turns."""

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.jobs import Job, JobState
from imagen_ops.launches import (
    BACKFILL_JOBS,
    JobForm,
    backfill_job_name,
    backfill_launch,
    run_label_of,
)
from imagen_ops.plans.globs import PromptGlob
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.clients import Clients
    from imagen_ops.plans.plan import Plan

PROMPTS_FOLDER = "prompts"

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class BackfillRun:
    """A DAG run of the backfill, as far as its job is concerned.

    Attributes:
        run_id: Airflow's.
        label: see `imagen_ops.launches.run_label_of`.
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


def planned(run: BackfillRun, settings: Settings, clients: "Clients") -> "Plan":
    """Return what a run would do and cost, as its files are now.

    Raises:
        ApiError: storage refuses, or does not answer.
    """
    from imagen_ops.hooks.rest import explained
    from imagen_ops.planning import plan

    with explained(f"planning {run.prompts}"):
        return plan(
            clients.objects.client(),
            run.prompts,
            model=run.form.model,
            images_location=settings.images_location,
            request_tier=run.form.request_tier,
        )


def hold_to_budget(run: BackfillRun, plan: "Plan", *, about: str = "") -> None:
    """Let a plan through that is within its run's budget.

    Raises:
        AirflowFailException: it is over it; the message begins with `about`.
    """
    from imagen_ops.planning import over_budget

    if over := over_budget(plan, run.max_images, run.max_cost_usd):
        raise AirflowFailException(f"{about}{over}")


class Backfills:
    """The backfill jobs of a deployment. Its methods raise `ApiError`."""

    def __init__(self, settings: Settings, clients: "Clients") -> None:
        self._settings = settings
        self._clients = clients
        self._dataflow = clients.dataflow

    def active(self, run: BackfillRun) -> Job | None:
        """Return the run's job if it is active."""
        return self._dataflow.active(run.job_name)

    def launch(self, run: BackfillRun, plan: "Plan", tried: int = 1) -> Job | None:
        """Launch the run's job when it is its turn, or return the one that is active already.

        Args:
            run: whose job.
            plan: what its budget was held against. Where files have changed since, they are
                planned anew, and that is held against it, too.
            tried: which try this is, if an earlier job of the run has failed.

        Returns:
            None while IMAGEN_BACKFILLS_AT_ONCE jobs of other runs are active.

        Raises:
            AirflowFailException: it would be over its budget by now.
        """
        from imagen_ops.hooks.dataflow import NameInUseError

        if found := self.active(run):
            return found
        others = self._dataflow.active_like(BACKFILL_JOBS)
        if len(others) >= self._settings.backfills_at_once:
            _log.info("waiting for its turn, after %s", ", ".join(job.name for job in others))
            return None
        self._look_again(run, plan)
        launch = backfill_launch(
            self._settings,
            run.form,
            name=run.job_name,
            prompts=run.prompts,
            run_id=run.run_id,
            run_label=run.label,
            tried=tried,
        )
        try:
            return self._dataflow.launch(launch)
        except NameInUseError:
            # A launch of an earlier try that was not visible yet; nobody else uses the name.
            found = self.active(run)
            if found is None or found.state is JobState.CANCELLING:
                raise
            return found

    def _look_again(self, run: BackfillRun, plan: "Plan") -> None:
        """Hold to the budget what the job will read: it may have waited for its turn for hours."""
        from imagen_ops.hooks.rest import explained
        from imagen_ops.planning import fingerprint_of, summary

        with explained(f"looking whether {run.prompts} is as it was planned"):
            now = fingerprint_of(self._clients.objects.client(), PromptGlob.parse(run.prompts))
        if now == plan.fingerprint:
            return
        again = planned(run, self._settings, self._clients)
        _log.warning("files have changed since the plan, which would now be:\n%s", summary(again))
        hold_to_budget(run, again, about="files have changed since the plan, which is now ")
