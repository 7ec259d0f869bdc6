"""Launching the job of a backfill so that one DAG run has one, and runs take turns."""

import logging
from typing import TYPE_CHECKING

from imagen_ops.backfill.budget import hold_to_budget, plan_run
from imagen_ops.backfill.globs import PromptGlob
from imagen_ops.backfill.run import BackfillRun
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import (
    BACKFILL_JOBS,
    backfill_launch_request,
)
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.backfill.plan import Plan
    from imagen_ops.google.clients import Clients


_log = logging.getLogger(__name__)


class BackfillLauncher:
    """The backfill jobs of a deployment. Its methods raise `ApiError`."""

    def __init__(self, settings: Settings, clients: "Clients") -> None:
        self._settings = settings
        self._clients = clients
        self._dataflow = clients.dataflow

    def active(self, run: BackfillRun) -> Job | None:
        """Return the run's job if it is active."""
        return self._dataflow.active(run.job_name)

    def launch(self, run: BackfillRun, plan: "Plan", try_number: int = 1) -> Job | None:
        """Launch the run's job when it is its turn, or return the one that is active already.

        Args:
            run: whose job.
            plan: what its budget was held against. Where files have changed since, they are
                planned anew, and that is held against it, too.
            try_number: which try this is, if an earlier job of the run has failed.

        Returns:
            None while IMAGEN_BACKFILLS_AT_ONCE jobs of other runs are active.

        Raises:
            AirflowFailException: it would be over its budget by now.
        """
        from imagen_ops.google.dataflow import NameInUseError

        if found := self.active(run):
            return found
        others = self._dataflow.active_like(BACKFILL_JOBS)
        if len(others) >= self._settings.backfills_at_once:
            _log.info("waiting for its turn, after %s", ", ".join(job.name for job in others))
            return None
        self._recheck_files(run, plan)
        launch = backfill_launch_request(
            self._settings,
            run.form,
            name=run.job_name,
            prompts=run.prompts,
            run_id=run.run_id,
            run_label=run.label,
            try_number=try_number,
        )
        try:
            return self._dataflow.launch(launch)
        except NameInUseError:
            # A launch of an earlier try that was not visible yet; nobody else uses the name.
            found = self.active(run)
            if found is None or found.state is JobState.CANCELLING:
                raise
            return found

    def _recheck_files(self, run: BackfillRun, plan: "Plan") -> None:
        """Hold to the budget what the job will read: it may have waited for its turn for hours."""
        from imagen_ops.backfill.listing import fingerprint_of
        from imagen_ops.backfill.plan_text import summary
        from imagen_ops.google.rest import explained

        with explained(f"looking whether {run.prompts} is as it was planned"):
            now = fingerprint_of(self._clients.storage.client(), PromptGlob.parse(run.prompts))
        if now == plan.fingerprint:
            return
        again = plan_run(run, self._settings, self._clients)
        _log.warning("files have changed since the plan, which would now be:\n%s", summary(again))
        hold_to_budget(run, again, about="files have changed since the plan, which is now ")
