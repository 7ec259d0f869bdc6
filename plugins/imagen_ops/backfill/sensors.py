"""Waiting for a backfill's turn, and for its job."""

from typing import Any

from airflow.sdk import PokeReturnValue
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)

from imagen_ops.backfill.launcher import BackfillLauncher
from imagen_ops.backfill.run import run_of
from imagen_ops.dag.tasks import ImagenSensor
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import TRY_LABEL


class LaunchBackfillSensor(ImagenSensor):
    """Launch the run's job when it is its turn, or adopt the one that is active. Gives its id.

    No more than IMAGEN_BACKFILLS_AT_ONCE jobs are active at a time. In a pool of one slot two runs
    cannot take the last place both; the slot is held while the task looks, not while it waits.

    Args:
        plan: what `PlanBackfill` returned.
    """

    template_fields = ("plan",)

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def check(self, context: Any) -> PokeReturnValue:
        """See the class. Skipped in a dry run."""
        if context["params"]["dry_run"]:
            raise AirflowSkipException("a dry run ends here; the plan is the result of `check`")
        from imagen_ops.backfill.plan import Plan

        run = run_of(context, self.settings)
        job = BackfillLauncher(self.settings, self.clients).launch(run, Plan.from_json(self.plan))
        if job is None:
            return PokeReturnValue(False)
        self.link(job)
        self.log.info("%s is %s, %s", job.name, job.id, job.state)
        return PokeReturnValue(True, job.id)


class BackfillDoneSensor(ImagenSensor):
    """Wait until the run's job is DONE. A job that failed is launched again by this task's retry.

    Nothing is paid twice then: what the failed one had made is found.

    Args:
        job_id: what `LaunchBackfillSensor` returned.
        plan: what `PlanBackfill` returned.
    """

    template_fields = ("job_id", "plan")

    def __init__(self, *, job_id: Any, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.plan = plan

    def check(self, context: Any) -> PokeReturnValue:
        """See the class. AirflowException, to be tried again: the job has failed."""
        job = self._current(context)
        if job is None:
            return PokeReturnValue(False)
        self.link(job)
        self.log.info("%s is %s", job.id, job.state)
        if job.state.active or job.state is JobState.DONE:
            return PokeReturnValue(job.state is JobState.DONE, job.id)
        if job.state is JobState.CANCELLED:
            raise AirflowFailException(
                f"{job.id} is CANCELLED: somebody wanted it to end. To launch it again after all, "
                "clear this task"
            )
        said = [message.text for message in self.clients.dataflow.errors(job.id)[-3:]]
        raise AirflowException(
            f"{job.id} is {job.state}: {' '.join(said)[-2000:] or 'it has said nothing'}\n"
            "The next try launches it again; what is made already is found and not paid again"
        )

    def _current(self, context: Any) -> Job | None:
        """Return the job to look at; one that failed in an earlier try is launched again first.

        None: it is not its turn to be launched again.
        """
        dataflow = self.clients.dataflow
        # By its id: a listing may not show yet what has just been launched, but an older job.
        job = dataflow.get(str(self.job_id))
        if job.state.active or job.state is JobState.DONE:
            return job
        run = run_of(context, self.settings)
        backfills = BackfillLauncher(self.settings, self.clients)
        if active := backfills.active(run):
            return active
        if last := dataflow.last_ended(run.job_name):
            job = dataflow.get(last.id)
        if job.state is JobState.CANCELLED and _while_waiting(job, context):
            return job
        this_try = context["ti"].try_number
        if job.state is JobState.DONE or int(job.labels.get(TRY_LABEL, "1")) >= this_try:
            return job
        self.log.warning("%s is %s: to be launched again, in try %s", job.id, job.state, this_try)
        from imagen_ops.backfill.plan import Plan

        return backfills.launch(run, Plan.from_json(self.plan), this_try)


def _while_waiting(job: Job, context: Any) -> bool:
    """Return whether a job has ended since its task began to wait, not before it was cleared."""
    began = context["ti"].get_first_reschedule_date(context)
    return bool(began and job.state_since and job.state_since >= began)
