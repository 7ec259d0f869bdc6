"""Ordering a run's images from batch inference, waiting for them, and having them stored.

Whatever the service answers, the run goes on: its own job makes what is missing.
"""

from typing import TYPE_CHECKING, Any

from airflow.sdk import PokeReturnValue
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)
from typing_extensions import override

from beam_jobs.prefetch.folder import PartFolder
from imagen_ops.alerts.alert import alert
from imagen_ops.backfill.run import BackfillRun, run_from_context
from imagen_ops.dag.lineage import Lineage
from imagen_ops.dag.tasks import ImagenSensor
from imagen_ops.errors import ApiError
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.jobs.launch_request import TRY_LABEL, import_launch_request
from imagen_ops.jobs.links import BATCH_LINKS
from imagen_ops.prefetch.import_report import ImportReport, parse_report
from imagen_ops.prefetch.state import Part, Prefetch

if TYPE_CHECKING:
    from imagen_ops.prefetch.run_prefetch import RunPrefetch

# How much of a failed job's errors a record keeps.
_SHOWN_ERROR_CHARS = 500


class _PrefetchSensor(ImagenSensor):
    """A task of the prefetch of a run."""

    def prefetch(self, run: BackfillRun) -> "RunPrefetch":
        """Return the prefetch of the task's run."""
        from imagen_ops.prefetch.run_prefetch import RunPrefetch

        return RunPrefetch(self.settings, self.clients, run_id=run.run_id, run_label=run.label)


class SubmitBatchesSensor(_PrefetchSensor):
    """Create a batch job for each part of the run's prefetch, once each.

    A try that doesn't know whether an earlier one has created a job looks for it, and creates none
    until it is sure. Skips the prefetch's other tasks if there is no batch job in the end. Returns
    the names of the jobs (XCom).
    """

    operator_extra_links = BATCH_LINKS

    @override
    def check(self, context: Any) -> PokeReturnValue:
        run = run_from_context(context, self.settings)
        prefetch = self.prefetch(run)
        state = prefetch.known()
        if not state.submitted:
            prefetch.reserve(state)
        if not prefetch.batches.submit(run.prefetch_deadline):
            return PokeReturnValue(False)
        state = prefetch.known()
        prefetch.settle(state)
        _say_what_went_wrong(self, [part for part in state.parts if not part.job], run)
        jobs = [part.job for part in state.parts if part.job]
        if not jobs:
            raise AirflowSkipException("there is no batch job: the run's own job makes all images")
        self.link_batch(jobs[0])
        self.log.info("%d batch jobs have until %s", len(jobs), state.deadline)
        return PokeReturnValue(True, jobs)


class WaitForBatchesSensor(_PrefetchSensor):
    """Wait until the run's batch jobs have ended, and cancel them at the deadline.

    Skips the import if they have made nothing. Returns the jobs' last states by name (XCom).
    """

    operator_extra_links = BATCH_LINKS

    @override
    def check(self, context: Any) -> PokeReturnValue:
        run = run_from_context(context, self.settings)
        prefetch = self.prefetch(run)
        ended = prefetch.batches.watch()
        state = prefetch.known()
        if name := next((part.job for part in state.parts if part.job and not part.ended), None):
            self.link_batch(name)
        if not ended:
            return PokeReturnValue(False)
        prefetch.settle(state)
        _say_what_went_wrong(self, [part for part in state.parts if part.job], run)
        if not any(part.has_output for part in state.parts):
            raise AirflowSkipException("the batch jobs have made nothing that could be stored")
        return PokeReturnValue(True, {part.job: part.state for part in state.parts if part.job})


class ImportBatchesSensor(_PrefetchSensor):
    """Have what the batch jobs have made stored, by a Dataflow job of the run's own.

    If that fails, the task fails too, and its retry launches the job again, which goes on where the
    failed one was. After the last try the run goes on without it: the output is kept, and an alert
    says so. If somebody cancels the job, the task fails without a retry. Returns how many images
    the batch jobs have made (XCom).
    """

    @override
    def poke(self, context: Any) -> PokeReturnValue | bool:
        try:
            return super().poke(context)
        except AirflowSensorTimeout as error:
            return self._without(context, str(error))

    @override
    def check(self, context: Any) -> PokeReturnValue:
        run = run_from_context(context, self.settings)
        state = self.prefetch(run).known()
        if state.imported is not None:
            return PokeReturnValue(True, state.imported.images)
        job = self._current(context, run)
        self.link(job)
        self.log.info("%s (%s)", job.standing, job.name)
        if job.state.active:
            return PokeReturnValue(False)
        if job.state is JobState.DONE:
            return self._take_report(context, run, job)
        if job.state is JobState.CANCELLED:
            raise AirflowFailException(
                f"import job {job.id} is CANCELLED: somebody stopped it on purpose, and what the "
                "batch jobs made is paid for and not stored. To store it, wait until this run has "
                "failed, then clear this task. To do without it, mark this task skipped"
            )
        errors = " ".join(each.text for each in self.clients.dataflow.errors(job.id)[-3:])
        text = f"import job {job.id} is {job.state}: {errors[-_SHOWN_ERROR_CHARS:] or 'no errors'}"
        if context["ti"].try_number > context["ti"].max_tries:
            return self._without(context, text)
        raise AirflowException(f"{text}\nThe next try launches it again. Nothing is stored twice")

    def _current(self, context: Any, run: BackfillRun) -> Job:
        """Return the job to wait for; first launch it, unless this try or an earlier one has."""
        this_try = context["ti"].try_number
        job = self.clients.dataflow.newest(run.import_job_name)
        if job and (job.state.active or job.state is JobState.DONE):
            return job
        cleared = job and job.state_since and job.state_since < context["dag_run"].start_date
        if job and job.state is JobState.CANCELLED and not cleared:
            return job
        if job and int(job.labels.get(TRY_LABEL, "1")) >= this_try and not cleared:
            return job
        job = self.clients.dataflow.launch_or_adopt(
            import_launch_request(
                self.settings,
                run.form,
                name=run.import_job_name,
                run_label=run.label,
                try_number=this_try,
            )
        )
        self.prefetch(run).change(lambda was: was.changed(import_job=job.id))
        return job

    def _take_report(self, context: Any, run: BackfillRun, job: Job) -> PokeReturnValue:
        prefetch = self.prefetch(run)
        content = self.clients.storage.read(prefetch.folder.report)
        if content is None:
            return self._without(context, f"import job {job.id} is DONE and left no report")
        try:
            report = parse_report(content)
        except ValueError as error:
            return self._without(context, f"the report of import job {job.id}: {error}")
        self.lineage = Lineage.of_import(self.settings, prefetch.folder.url)
        state = prefetch.change(lambda was: was.changed(imported=report, import_job=job.id))
        prefetch.settle(state)
        self.log.info("rows of the batch jobs' output: %s", report.rows)
        for problem in report.first_problems:
            self.log.warning("%s", problem)
        kept = self._output_kept(state, report)
        prefetch.change(lambda was: was.changed(output_kept=kept))
        return PokeReturnValue(True, report.images)

    def _output_kept(self, state: Prefetch, report: ImportReport) -> bool:
        """Delete the batch jobs' output if nobody needs it any more; whether it is kept."""
        if self.settings.prefetch_keep_output or report.odd_rows:
            return True
        try:
            for part in state.parts:
                self.clients.storage.delete_below(PartFolder(part.folder).output)
        except ApiError as error:
            self.log.warning("%s; it is deleted after 30 days", error)
            return True
        return False

    def _without(self, context: Any, why: str) -> PokeReturnValue:
        """Let the run go on although what is paid for is not stored, and say so."""
        run = run_from_context(context, self.settings)
        prefetch = self.prefetch(run)
        text = f"what the batch jobs made is not stored, and kept at {prefetch.folder.url}: {why}"
        state = prefetch.change(
            lambda was: was.with_problem(text).changed(output_kept=True),
        )
        prefetch.settle(state)
        alert("backfill_prefetch_unfinished", text, run_id=run.run_id)
        return PokeReturnValue(True, 0)


def _say_what_went_wrong(task: Any, parts: list[Part], run: BackfillRun) -> None:
    for part in parts:
        if part.problem:
            task.log.warning("%s", part.problem)
    stuck = [part for part in parts if part.may_go_on]
    if stuck:
        jobs = ", ".join(part.job or part.problem for part in stuck)
        text = f"batch jobs may still run and cost money; cancel them in the console: {jobs}"
        alert("backfill_prefetch_unfinished", text, run_id=run.run_id)
