"""Launching the job of a backfill: one job per DAG run, and about so many at a time."""

import logging
from typing import TYPE_CHECKING

from beam_jobs.prompts.globs import PromptGlob
from imagen_ops.backfill.budget import check_budget, plan_run
from imagen_ops.backfill.launch_decision import LaunchStep, next_launch_step
from imagen_ops.backfill.run import BackfillRun
from imagen_ops.dag.limits import refuse_not_allowed
from imagen_ops.jobs.job import Job
from imagen_ops.jobs.launch_request import (
    backfill_jobs,
    backfill_launch_request,
    plan_path,
)
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.backfill.plan import Plan
    from imagen_ops.google.clients import Clients


_log = logging.getLogger(__name__)


class BackfillLauncher:
    """Launches the backfill jobs of a deployment. Its methods raise `ApiError`."""

    def __init__(self, settings: Settings, clients: "Clients") -> None:
        self._settings = settings
        self._clients = clients
        self._dataflow = clients.dataflow

    def newest(self, run: BackfillRun) -> Job | None:
        """Return the newest job that was launched for a run, active or ended."""
        return self._dataflow.newest(run.job_name)

    def launch(self, run: BackfillRun, plan: "Plan", try_number: int = 1) -> Job | None:
        """Launch the run's job, or return the one that is already active.

        Args:
            run: what to launch a job for.
            plan: the plan that passed the budget check. If files have changed since, they are
                planned again, and the new plan has to pass the check too.
            try_number: the try of the task that launches it, from 1; higher if an earlier job of
                the run failed.

        Returns:
            The job, or None while IMAGEN_BACKFILLS_AT_ONCE jobs of other runs are active.

        Raises:
            AirflowFailException: the new plan is over the run's budget, or the run goes beyond the
                deployment's limits.
        """
        active = self._dataflow.active(run.job_name)
        others = (
            [] if active else self._dataflow.active_like(backfill_jobs(self._settings.name_prefix))
        )
        step = next_launch_step(active, len(others), self._settings.backfills_at_once)
        if step is LaunchStep.ADOPT:
            return active
        if step is LaunchStep.WAIT:
            _log.info(
                "waiting: IMAGEN_BACKFILLS_AT_ONCE is %d, and these backfill jobs are active: %s",
                self._settings.backfills_at_once,
                ", ".join(job.name for job in others),
            )
            return None
        refuse_not_allowed(self._settings, run.form, "backfill_template")
        self._recheck_files(run, plan)
        launch = backfill_launch_request(
            self._settings,
            run.form,
            name=run.job_name,
            prompts=run.prompts,
            run_id=run.run_id,
            run_label=run.label,
            try_number=try_number,
            max_images=run.max_images,
            # The job refuses a budget that it cannot check. `check` has refused one of the form.
            max_cost_usd=None if run.unpriced_model else run.max_cost_usd,
        )
        return self._dataflow.launch_or_adopt(launch)

    def _recheck_files(self, run: BackfillRun, plan: "Plan") -> None:
        """Check the budget again if files have changed: the run may have waited for hours."""
        from imagen_ops.backfill.listing import fingerprint_files
        from imagen_ops.backfill.plan_text import summary
        from imagen_ops.google.rest import explained

        with explained(f"checking whether the files of {run.prompts} have changed"):
            fingerprint = fingerprint_files(
                self._clients.storage.client(), PromptGlob.parse(run.prompts)
            )
        planned = self._clients.storage.object_exists(plan_path(self._settings, run.label))
        if planned and fingerprint == plan.fingerprint:
            return
        new_plan = plan_run(run, self._settings, self._clients)
        _log.warning("files have changed since the plan; the new plan is:\n%s", summary(new_plan))
        check_budget(run, new_plan, prefix="files have changed since the plan; the new plan is ")
