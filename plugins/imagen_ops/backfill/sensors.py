"""Waiting until a backfill's job can be launched, and until the job has ended."""

import json
from datetime import timedelta
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
from imagen_ops.dag.lineage import Dataset, Lineage
from imagen_ops.dag.tasks import ImagenSensor
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import TRY_LABEL

# How much of a failed job's errors the task's own error shows.
_SHOWN_ERRORS = 3
_SHOWN_ERROR_CHARS = 2000
# Between Dataflow, which dates a job, and the worker, which dates a wait.
_CLOCK_SKEW = timedelta(seconds=10)


class LaunchBackfillSensor(ImagenSensor):
    """Launch the run's job when fewer than IMAGEN_BACKFILLS_AT_ONCE are active, or adopt its job.

    First waits until what another run has ordered of the same files is stored. Two runs that launch
    at the same moment can exceed that limit, unless the pool has one slot: it is held while a task
    checks, not while it waits. Skips the rest of the run in a dry run. Returns the job's id (XCom).

    A job that an earlier try has launched is the run's job, even if it has ended meanwhile: whether
    it is launched again is up to `BackfillJobSensor`, and never if somebody cancelled it.

    Args:
        plan: the plan as JSON, returned by `PlanBackfill`, or as the text of that.
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
        from imagen_ops.backfill.taking_turns import run_at_work

        run = run_from_context(context, self.settings)
        launcher = BackfillLauncher(self.settings, self.clients)
        began, job = self.began(context) - _CLOCK_SKEW, launcher.newest(run)
        if job is None or job.created is None or job.created < began:
            if other := run_at_work(context, run, self.settings, self.clients, orders=False):
                self.log.info("waiting: run %s has ordered images of the same files", other)
                return PokeReturnValue(False)
            plan = json.loads(self.plan) if isinstance(self.plan, str) else self.plan
            job = launcher.launch(run, Plan.from_json(plan))
        if job is None:
            return PokeReturnValue(False)
        self.link(job)
        self.log.info("%s (%s)", job.standing, job.name)
        return PokeReturnValue(True, job.id)


class BackfillJobSensor(ImagenSensor):
    """Wait until the run's job is DONE; return its id (XCom).

    If the job fails, the task fails too, and its retry launches the job again. Nothing is paid for
    twice: the new job finds the images that the failed one stored. If somebody cancelled the job
    since the run began, the task fails without a retry, whichever try sees it. Clearing tasks of a
    run that has ended is a new beginning: then the job is launched again.

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
        self.log.info("%s", job.standing)
        if not job.state.active:
            prompts = run_from_context(context, self.settings).prompts
            self.lineage = Lineage.of_job(self.settings, Dataset.files(prompts))
        if job.state.active or job.state is JobState.DONE:
            return PokeReturnValue(job.state is JobState.DONE, job.id)
        if job.state is JobState.CANCELLED:
            raise AirflowFailException(
                f"job {job.id} is CANCELLED: somebody stopped it on purpose. To launch it again, "
                "wait until this run has failed, then clear this task"
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
        job = self.clients.dataflow.get(str(self.job_id))
        if job.state.active or job.state is JobState.DONE:
            return job
        run = run_from_context(context, self.settings)
        launcher = BackfillLauncher(self.settings, self.clients)
        # The job of an earlier try of this task, if there was one.
        newest = launcher.newest(run)
        if newest and newest.created and (not job.created or newest.created >= job.created):
            job = newest
        if job.state.active or job.state is JobState.DONE:
            return job
        if job.state is JobState.CANCELLED and not _ended_before(job, context["dag_run"]):
            return job
        this_try = context["ti"].try_number
        if int(job.labels.get(TRY_LABEL, "1")) >= this_try:
            return job
        self.end_if_late(context, f"job {job.id} is {job.state}, and is not launched again")
        self.log.warning("job %s is %s: launching it again in try %s", job.id, job.state, this_try)
        from imagen_ops.backfill.plan import Plan

        return launcher.launch(run, Plan.from_json(self.plan), this_try)


def _ended_before(job: Job, dag_run: Any) -> bool:
    """Return whether a job ended before its run began, or was cleared after it had ended.

    Clearing tasks of a run that has ended sets the run's start anew; a retry does not
    (`airflow.models.taskinstance.clear_task_instances`).
    """
    return bool(job.state_since and job.state_since < dag_run.start_date)
