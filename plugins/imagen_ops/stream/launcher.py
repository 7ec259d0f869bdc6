"""Starting a stream so that, whatever is tried at the same time, one job is active after it."""

import dataclasses
import logging
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException

from imagen_ops.jobs.job import Job
from imagen_ops.jobs.job_form import JobForm
from imagen_ops.jobs.launch_request import RUN_LABEL, stream_launch_request
from imagen_ops.settings import Settings
from imagen_ops.stream.start_decision import OnActive, Step, next_step

if TYPE_CHECKING:
    from imagen_ops.google.dataflow import DataflowJobsHook

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Started:
    """The job that runs now; `kept`: it was there before, started by somebody else."""

    job: Job
    kept: bool


class StreamLauncher:
    """Starts the streaming job of a deployment."""

    def __init__(self, settings: Settings, dataflow: "DataflowJobsHook") -> None:
        self._settings = settings
        self._dataflow = dataflow

    def step(self, on_active: OnActive, run_label: str) -> tuple[Step, Job | None]:
        """Return what comes next, and the job that it is about."""
        active = self._dataflow.active(self._settings.stream_job_name)
        return next_step(active, on_active, run_label), active

    def end(self) -> list[Job]:
        """Ask every job of the stream's name to end, losing nothing; those that were there.

        While one is updated there are two: the new one, which has taken no prompt yet, is
        cancelled, and comes first.
        """
        jobs = self._dataflow.all_active(self._settings.stream_job_name)
        jobs.sort(key=lambda job: not job.state.starting)
        for job in jobs:
            if job.state.starting:
                _log.info("%s has not taken any prompt yet: cancelling it", job)
                self._dataflow.cancel(job.id)
            elif not job.state.stopping:
                self._dataflow.drain(job.id)
        return jobs

    def start(self, form: JobForm, on_active: OnActive, run_label: str) -> Started:
        """Launch, update or adopt.

        Raises:
            AirflowException: somebody else's job has the name, and has to end first. Trying again
                helps.
            ApiError: see `DataflowJobsHook`.
        """
        step, active = self.step(on_active, run_label)
        if step in (Step.LAUNCH, Step.UPDATE):
            from imagen_ops.google.dataflow import NameInUseError

            launch = stream_launch_request(self._settings, form, run_label=run_label)
            try:
                job = self._dataflow.launch(launch, update=step is Step.UPDATE)
                return Started(job, kept=False)
            except NameInUseError:
                # Somebody was quicker, or our own launch of a moment ago was not visible yet.
                step, active = self.step(on_active, run_label)
        if step is Step.ADOPT and active is not None:
            return Started(active, kept=active.labels.get(RUN_LABEL) != run_label)
        raise AirflowException(
            f"the name {self._settings.stream_job_name} is in use again"
            + (f", by {active.id} ({active.state})" if active else "")
            + "; this task is tried again"
        )
