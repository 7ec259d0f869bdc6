"""Starts, resumes, drains, cancels and stops the jobs of the local cloud."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

from localcloud.dataflow.job_lifecycle import JobLifecycle
from localcloud.dataflow.jobs import Job
from localcloud.dataflow.registry import Registry
from localcloud.dataflow.settings import Settings
from localcloud.dataflow.states import Importance, JobState
from localcloud.dataflow.worker_pool import Worker, WorkerPool
from localcloud.rest import ApiError, failed_precondition

_log = logging.getLogger(__name__)

_DRAIN = (JobState.DRAINED, JobState.DRAINING)  # Beam's own client requests the latter


class JobService:
    """Runs all jobs. Use it from one event loop.

    Args:
        state: the folder in which jobs survive a restart.
        environment: variables by which jobs find the other stand-ins.
        settings: how the service behaves; defaults if None.
    """

    def __init__(
        self, state: Path, environment: Mapping[str, str], settings: Settings | None = None
    ) -> None:
        self.settings = settings or Settings()
        self.registry = Registry(state / "jobs")
        self._environment = environment
        self._lifecycles: dict[str, tuple[JobLifecycle, asyncio.Task[None]]] = {}
        self._stopping = False

    def start(self) -> None:
        """Resume the jobs that were active when the local cloud stopped."""
        for job in self.registry.all():
            # Requests are served before this is called, so some jobs may be running already.
            if job.active and job.id not in self._lifecycles:
                if job.state in (JobState.PENDING, JobState.RUNNING):
                    self.registry.add_message(
                        job.id, Importance.BASIC, "The job's worker was lost and is replaced."
                    )
                self._begin(job)

    async def stop(self) -> None:
        """End all processes within a bounded time. Active jobs resume at the next start."""
        self._stopping = True
        for lifecycle, _ in self._lifecycles.values():
            lifecycle.shut_down()
        tasks = [task for _, task in self._lifecycles.values()]
        await asyncio.gather(*tasks, return_exceptions=True)

    def launch(self, job: Job) -> Job:
        """Add a job and start it.

        Raises:
            ApiError: 409, an active job has the name; 503, the local cloud is stopping.
        """
        if self._stopping:
            raise ApiError(503, "The local cloud is stopping.")
        self.registry.add(job)
        self.registry.add_message(job.id, Importance.BASIC, f"The job {job.name} was created.")
        self._begin(job)
        return job

    def request(self, job: Job, state: JobState) -> Job:
        """Drain or cancel a job.

        Raises:
            ApiError: 400; that state cannot be requested, or not in the job's current state.
        """
        if state is JobState.CANCELLED:
            return self._cancel(job)
        if state in _DRAIN:
            return self._drain(job)
        raise ApiError(
            400,
            f"requestedState: expected {JobState.DRAINED} or {JobState.CANCELLED}, got {state}.",
        )

    def workers(self, job: Job) -> list[Worker]:
        """Return the workers of a job that run now."""
        pool = self._pool(job)
        return pool.workers() if pool else []

    async def add_worker(self, job: Job) -> Job:
        """Add a worker to a job, as autoscaling does.

        Raises:
            ApiError: 400; the job can have no more workers, or does not run.
        """
        pool = self._pool(job)
        if pool is None or job.state is not JobState.RUNNING:
            raise failed_precondition(
                f"The job {job.id} is in state {job.state.value}: only a running one gets workers."
            )
        if job.workers >= job.max_workers:
            raise failed_precondition(
                f"The job {job.id} has {job.workers} workers, and maxWorkers is {job.max_workers}: "
                "launch it with more."
            )
        if not job.streaming and not job.deals_bundles:
            raise failed_precondition(
                f"The job {job.id} is a batch job that was launched with one worker, which here "
                "reads and works in one process: launch it with numWorkers of 2 or more."
            )
        job = self.registry.change(job.id, workers=job.workers + 1)
        await pool.add()
        return job

    def kill_worker(self, job: Job, name: str) -> None:
        """Kill a worker at once, as a machine that goes away does.

        Raises:
            ApiError: 404; the job has no such worker now.
        """
        workers = self.workers(job)
        for worker in workers:
            if worker.name == name:
                worker.process.kill()
                return
        raise ApiError(
            404,
            f"The job {job.id} has no worker {name}; it has "
            f"{', '.join(each.name for each in workers) or 'none'}.",
        )

    def _pool(self, job: Job) -> WorkerPool | None:
        return self._lifecycles[job.id][0].pool if job.id in self._lifecycles else None

    def _cancel(self, job: Job) -> Job:
        self._refuse_terminal(job, "cancel")
        if job.state is not JobState.CANCELLING:
            job = self.registry.set_state(job.id, JobState.CANCELLING, requested=JobState.CANCELLED)
            self._wake(job)
        return job

    def _drain(self, job: Job) -> Job:
        self._refuse_terminal(job, "drain")
        if not job.streaming:
            raise failed_precondition(
                f"Workflow modification failed. Causes: Operation drain not allowed for job "
                f"{job.id}. Only streaming jobs can be drained; cancel this one."
            )
        # The API reference: DRAINING may be set "only as a transition from JOB_STATE_RUNNING".
        # Before that there is no work to finish; a job is ended by cancelling it.
        if job.state not in (JobState.RUNNING, JobState.DRAINING):
            raise failed_precondition(
                f"Workflow modification failed. Causes: Operation drain not allowed for job "
                f"{job.id}. Job is not yet ready for draining, or no longer: it is in state "
                f"{job.state.value}. Please retry in a few minutes."
            )
        if job.state is JobState.RUNNING:
            job = self.registry.set_state(job.id, JobState.DRAINING, requested=JobState.DRAINED)
            self._wake(job)
        return job

    def _refuse_terminal(self, job: Job, operation: str) -> None:
        if job.state.terminal:
            raise failed_precondition(
                f"Workflow modification failed. Causes: Operation {operation} not allowed for job "
                f"{job.id}. Job has terminated in state {job.state.value}."
            )

    def _begin(self, job: Job) -> None:
        lifecycle = JobLifecycle(
            job.id,
            self.registry,
            self.settings,
            self._environment,
            on_running=self._finish_replaced_job,
        )
        task = asyncio.create_task(lifecycle.run(), name=f"job {job.id}")
        task.add_done_callback(lambda _: self._forget(job.id))
        self._lifecycles[job.id] = lifecycle, task

    def _forget(self, job_id: str) -> None:
        _, task = self._lifecycles.pop(job_id)
        with contextlib.suppress(asyncio.CancelledError):
            if error := task.exception():
                _log.error("job %s failed in the local cloud", job_id, exc_info=error)

    def _finish_replaced_job(self, job: Job) -> None:
        """Mark the job that a running job replaces as UPDATED, so that it finishes."""
        if job.replaces is None:
            return
        old = self.registry.job(job.replaces)
        if old.active:
            self._wake(self.registry.set_state(old.id, JobState.UPDATED, replaced_by=job.id))

    def _wake(self, job: Job) -> None:
        if job.id in self._lifecycles:
            self._lifecycles[job.id][0].wake()
