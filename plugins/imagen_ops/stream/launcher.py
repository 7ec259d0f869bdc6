"""Starts the stream so that one job is active afterwards, whatever else starts it meanwhile."""

import dataclasses
import logging
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException

from imagen_ops.errors import ApiError
from imagen_ops.jobs.job import Job
from imagen_ops.jobs.launch_request import RUN_LABEL, stream_launch_request
from imagen_ops.jobs.params import JobForm
from imagen_ops.records.launches import Drain
from imagen_ops.settings import Settings
from imagen_ops.stream.start_decision import OnActive, Step, next_step

if TYPE_CHECKING:
    from imagen_ops.google.dataflow import DataflowJobsHook

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StartResult:
    """The result of a start.

    Attributes:
        job: the job that is active now.
        already_active: whether another DAG run, or a person, had started the job.
    """

    job: Job
    already_active: bool


class StreamLauncher:
    """Starts and stops the streaming job of a deployment."""

    def __init__(self, settings: Settings, dataflow: "DataflowJobsHook") -> None:
        self._settings = settings
        self._dataflow = dataflow

    def next_step(self, on_active: OnActive, run_label: str) -> tuple[Step, Job | None]:
        """Return the next step of a start, and the job that holds the stream's name, if any.

        Args:
            on_active: what to do about a job that is already active.
            run_label: the label of the DAG run that starts the stream.
        """
        active = self._dataflow.active(self._settings.stream_job_name)
        return next_step(active, on_active, run_label), active

    def last_drain(self) -> Drain | None:
        """Return the last request to drain that was noted with the launches."""
        return self._dataflow.last_drain(self._settings.stream_job_name)

    def note_drain(self, drain: Drain) -> None:
        """Note a request to drain. Without an answer of Cloud Storage it is only logged.

        The drain itself must not fail: the Variable and the job count more.
        """
        try:
            self._dataflow.note_drain(self._settings.stream_job_name, drain)
        except ApiError as error:
            _log.warning("%s; a start that is under way may not notice the drain", error)

    def launch_under_way(self) -> bool:
        """Return whether a job of the stream may still appear: a launch has no known answer."""
        return self._dataflow.launch_under_way(self._settings.stream_job_name)

    def stop(self, launched: Job | None = None) -> list[Job]:
        """Drain or cancel every job that has the stream's name. Draining loses no prompt.

        During an update there are two jobs. The new one has not taken any prompt yet: it is
        cancelled, and comes first in the list.

        Args:
            launched: a job that the caller has just launched, whether or not others see it yet.

        Returns:
            The jobs that were active.
        """
        jobs = self._dataflow.all_active(self._settings.stream_job_name)
        if launched and launched.id not in {job.id for job in jobs}:
            jobs += [job for job in [self._dataflow.get(launched.id)] if job.state.active]
        jobs.sort(key=lambda job: not job.state.starting)
        for job in jobs:
            if job.state.starting:
                _log.info(
                    "job %s is %s and has not taken any prompt yet: cancelling it",
                    job.id,
                    job.state,
                )
                self._dataflow.cancel(job.id)
            elif not job.state.stopping:
                self._dataflow.drain(job.id)
        return jobs

    def start(self, form: JobForm, on_active: OnActive, run_label: str) -> StartResult:
        """Launch a job, update the active one, or adopt it.

        Args:
            form: what to launch the job with.
            on_active: what to do about a job that is already active.
            run_label: the label of the DAG run that starts the stream.

        Raises:
            AirflowException: another job holds the name and has to end first. A retry may succeed.
            ApiError: a call to Dataflow failed; see `DataflowJobsHook`.
        """
        step, active = self.next_step(on_active, run_label)
        if step in (Step.LAUNCH, Step.UPDATE):
            from imagen_ops.google.dataflow import NameInUseError

            request = stream_launch_request(self._settings, form, run_label=run_label)
            try:
                job = self._dataflow.launch(request, update=step is Step.UPDATE)
                return StartResult(job, already_active=False)
            except NameInUseError as error:
                # Another start was quicker, or our own launch of a moment ago was not visible yet.
                step, active = self.next_step(on_active, run_label)
                if active is None and error.job_id:
                    active = self._dataflow.get(error.job_id)
                    step = next_step(active, on_active, run_label)
        if step is Step.ADOPT and active is not None:
            return StartResult(active, already_active=active.labels.get(RUN_LABEL) != run_label)
        raise AirflowException(
            f"the job name {self._settings.stream_job_name} is in use again"
            + (f", by {active.id} ({active.state})" if active else "")
            + ". Airflow retries this task"
        )
