"""The jobs of the local cloud: taken in, resumed after a restart, changed on request, stopped."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

from localcloud.dataflow.jobs import Job
from localcloud.dataflow.life import Life
from localcloud.dataflow.registry import Registry
from localcloud.dataflow.settings import Settings
from localcloud.dataflow.states import Importance, JobState
from localcloud.rest import ApiError, failed_precondition

_log = logging.getLogger(__name__)

_DRAIN = (JobState.DRAINED, JobState.DRAINING)  # Beam's own client asks for the latter


class JobService:
    """See the module. For one event loop.

    Args:
        state: the folder that jobs outlive the process in.
        environment: what jobs find the other services with.
    """

    def __init__(
        self, state: Path, environment: Mapping[str, str], settings: Settings | None = None
    ) -> None:
        self.settings = settings or Settings()
        self.registry = Registry(state / "jobs")
        self._environment = environment
        self._lives: dict[str, tuple[Life, asyncio.Task[None]]] = {}
        self._stopping = False

    def start(self) -> None:
        """Go on with the jobs that were active when the local cloud ended."""
        for job in self.registry.all():
            # Requests are answered before this is called: what they have launched runs already.
            if job.active and job.id not in self._lives:
                if job.state in (JobState.PENDING, JobState.RUNNING):
                    self.registry.say(
                        job.id, Importance.BASIC, "The job's worker was lost; it is replaced."
                    )
                self._begin(job)

    async def stop(self) -> None:
        """End all processes, within a bounded time. Active jobs go on after the next start."""
        self._stopping = True
        for life, _ in self._lives.values():
            life.leave()
        tasks = [task for _, task in self._lives.values()]
        await asyncio.gather(*tasks, return_exceptions=True)

    def launch(self, job: Job) -> Job:
        """Take in a job, at once: of two with one name, exactly one; ALREADY_EXISTS."""
        if self._stopping:
            raise ApiError(503, "The local cloud is stopping.")
        self.registry.add(job)
        self.registry.say(job.id, Importance.BASIC, f"The job {job.name} was created.")
        self._begin(job)
        return job

    def request(self, job: Job, state: JobState) -> Job:
        """Drain or cancel a job.

        Raises:
            ApiError: 400; the job cannot go into that state, or not from where it is.
        """
        if state is JobState.CANCELLED:
            return self._cancel(job)
        if state in _DRAIN:
            return self._drain(job)
        raise ApiError(
            400,
            f"requestedState: expected {JobState.DRAINED} or {JobState.CANCELLED}, got {state}.",
        )

    def _cancel(self, job: Job) -> Job:
        self._refuse_terminal(job, "cancel")
        if job.state is not JobState.CANCELLING:
            job = self.registry.move(job.id, JobState.CANCELLING, requested=JobState.CANCELLED)
            self._look(job)
        return job

    def _drain(self, job: Job) -> Job:
        self._refuse_terminal(job, "drain")
        if not job.streaming:
            raise failed_precondition(
                f"Workflow modification failed. Causes: Operation drain not allowed for job "
                f"{job.id}. Only streaming jobs can be drained; cancel this one."
            )
        # DRAINING may be set "only as a transition from JOB_STATE_RUNNING", says the reference:
        # before that there is nothing to finish, and cancelling is what ends a job.
        if job.state not in (JobState.RUNNING, JobState.DRAINING):
            raise failed_precondition(
                f"Workflow modification failed. Causes: Operation drain not allowed for job "
                f"{job.id}. Job is not yet ready for draining, or no longer: it is in state "
                f"{job.state.value}. Please retry in a few minutes."
            )
        if job.state is JobState.RUNNING:
            job = self.registry.move(job.id, JobState.DRAINING, requested=JobState.DRAINED)
            self._look(job)
        return job

    def _refuse_terminal(self, job: Job, operation: str) -> None:
        if job.state.terminal:
            raise failed_precondition(
                f"Workflow modification failed. Causes: Operation {operation} not allowed for job "
                f"{job.id}. Job has terminated in state {job.state.value}."
            )

    def _begin(self, job: Job) -> None:
        life = Life(job.id, self.registry, self.settings, self._environment, self._take_over)
        task = asyncio.create_task(life.lead(), name=f"job {job.id}")
        task.add_done_callback(lambda _: self._forget(job.id))
        self._lives[job.id] = life, task

    def _forget(self, job_id: str) -> None:
        _, task = self._lives.pop(job_id)
        with contextlib.suppress(asyncio.CancelledError):
            if error := task.exception():
                _log.error("job %s", job_id, exc_info=error)

    def _take_over(self, job: Job) -> None:
        """A job that replaces another runs: the other has been UPDATED, and finishes."""
        if job.replaces is None:
            return
        old = self.registry.job(job.replaces)
        if old.active:
            self._look(self.registry.move(old.id, JobState.UPDATED, replaced_by=job.id))

    def _look(self, job: Job) -> None:
        if job.id in self._lives:
            self._lives[job.id][0].look()
