"""Waiting until a backfill's job can be launched, and until the job has ended."""

from typing import Any

from airflow.sdk import PokeReturnValue
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)
from typing_extensions import override

from imagen_ops.backfill.launcher import BackfillLauncher
from imagen_ops.backfill.run import run_from_context
from imagen_ops.dag.tasks import ImagenSensor
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import TRY_LABEL

# How much of a failed job's errors the task's own error shows.
_SHOWN_ERRORS = 3
_SHOWN_ERROR_CHARS = 2000


class LaunchBackfillSensor(ImagenSensor):
    """Launch the run's job when fewer than IMAGEN_BACKFILLS_AT_ONCE are active, or adopt its job.

    Two runs that launch at the same moment can exceed that limit, unless the pool has one slot: it
    is held while a task checks, not while it waits. Skips the rest of the run in a dry run. Returns
    the job's id (XCom).

    Args:
        plan: the plan as JSON, returned by `PlanBackfill`.
    """

    template_fields = ("plan",)

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    @override
    def check(self, context: Any) -> PokeReturnValue:
        if context["params"]["dry_run"]:
            raise AirflowSkipException("a dry run ends here; the plan is the result of `check`")
        from imagen_ops.backfill.plan import Plan

        run = run_from_context(context, self.settings)
        job = BackfillLauncher(self.settings, self.clients).launch(run, Plan.from_json(self.plan))
        if job is None:
            return PokeReturnValue(False)
        self.link(job)
        self.log.info("job %s (%s) is %s", job.id, job.name, job.state)
        return PokeReturnValue(True, job.id)


class BackfillJobSensor(ImagenSensor):
    """Wait until the run's job is DONE; return its id (XCom).

    If the job fails, the task fails too, and its retry launches the job again. Nothing is paid for
    twice: the new job finds the images that the failed one stored. If somebody cancelled the job,
    the task fails without a retry.

    Args:
        job_id: the job's id, returned by `LaunchBackfillSensor`.
        plan: the plan as JSON, returned by `PlanBackfill`.
    """

    template_fields = ("job_id", "plan")

    def __init__(self, *, job_id: Any, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.plan = plan

    @override
    def check(self, context: Any) -> PokeReturnValue:
        job = self._current(context)
        if job is None:
            return PokeReturnValue(False)
        self.link(job)
        self.log.info("job %s is %s", job.id, job.state)
        if job.state.active or job.state is JobState.DONE:
            return PokeReturnValue(job.state is JobState.DONE, job.id)
        if job.state is JobState.CANCELLED:
            raise AirflowFailException(
                f"job {job.id} is CANCELLED: somebody stopped it on purpose. To launch it again, "
                "clear this task"
            )
        errors = [message.text for message in self.clients.dataflow.errors(job.id)[-_SHOWN_ERRORS:]]
        shown = " ".join(errors)[-_SHOWN_ERROR_CHARS:] or "it logged no errors"
        raise AirflowException(
            f"job {job.id} is {job.state}: {shown}\n"
            "The next try launches it again. Images that are already stored are not paid for again"
        )

    def _current(self, context: Any) -> Job | None:
        """Return the job to wait for; first launch it again if it failed in an earlier try.

        None: it has to be launched again, and IMAGEN_BACKFILLS_AT_ONCE jobs are active.
        """
        dataflow = self.clients.dataflow
        # By its id: a listing may still show an older job, and not yet the one just launched.
        job = dataflow.get(str(self.job_id))
        if job.state.active or job.state is JobState.DONE:
            return job
        run = run_from_context(context, self.settings)
        launcher = BackfillLauncher(self.settings, self.clients)
        if active := launcher.active(run):
            return active
        if last := dataflow.last_ended(run.job_name):
            job = dataflow.get(last.id)
        if job.state is JobState.CANCELLED and _ended_while_waiting(job, context):
            return job
        this_try = context["ti"].try_number
        if job.state is JobState.DONE or int(job.labels.get(TRY_LABEL, "1")) >= this_try:
            return job
        self.log.warning("job %s is %s: launching it again in try %s", job.id, job.state, this_try)
        from imagen_ops.backfill.plan import Plan

        return launcher.launch(run, Plan.from_json(self.plan), this_try)


def _ended_while_waiting(job: Job, context: Any) -> bool:
    """Return whether a job ended since its task began to wait, so not before it was cleared."""
    began = context["ti"].get_first_reschedule_date(context)
    return bool(began and job.state_since and job.state_since >= began)
