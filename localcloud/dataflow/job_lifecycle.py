"""Runs a job's processes and moves the job through its states.

QUEUED → PENDING → RUNNING → DONE | FAILED
                      ├→ DRAINING → DRAINED | FAILED
any of these → CANCELLING → CANCELLED
RUNNING, DRAINING → UPDATED, once the job that replaces it is RUNNING
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from localcloud.dataflow.jobs import Job
from localcloud.dataflow.logs import tail
from localcloud.dataflow.processes import how_it_ended
from localcloud.dataflow.registry import Registry
from localcloud.dataflow.settings import Settings
from localcloud.dataflow.states import Importance, JobState
from localcloud.dataflow.worker_pool import WorkerPool
from localcloud.rest import now

_POLL_S = 0.1
_READ_LOG_EVERY_S = 0.5
_CANCEL_GRACE_S = 5.0
# How long a job can take to finish its work in progress when the local cloud stops.
_SHUTDOWN_GRACE_S = 5.0
_MAX_ERRORS_AT_ONCE = 10
_TAIL_LINES = 20


class JobLifecycle:
    """Runs one job until the job ends or the local cloud stops.

    Args:
        job_id: the job, which is in the registry.
        registry: keeps the job's state and messages.
        settings: how long the job is QUEUED and PENDING.
        environment: variables by which the job finds the other stand-ins.
        on_running: called once the job is RUNNING.
    """

    def __init__(
        self,
        job_id: str,
        registry: Registry,
        settings: Settings,
        environment: Mapping[str, str],
        on_running: Callable[[Job], None],
    ) -> None:
        self._id = job_id
        self._registry = registry
        self._folder = registry.folder(job_id)
        self._settings = settings
        self._environment = environment
        self._on_running = on_running
        self._woken = asyncio.Event()
        self._shutting_down = False
        self.pool: WorkerPool | None = None

    def wake(self) -> None:
        """React now to a change of the job's state from outside."""
        self._woken.set()

    def shut_down(self) -> None:
        """End the process because the local cloud stops; the job keeps its state."""
        self._shutting_down = True
        self._woken.set()

    async def run(self) -> None:
        """Run the job; return when there is nothing more to do."""
        try:
            await self._run()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self._registry.add_message(self._id, Importance.ERROR, f"Cannot run the job: {reason}")
            self._registry.set_state(self._id, JobState.FAILED)
            raise
        finally:
            if self.pool is not None:
                await self.pool.kill_after(0.0)

    async def _run(self) -> None:
        if self._state is JobState.QUEUED:
            await self._pause(self._settings.queued_s)
            if self._state is JobState.QUEUED and not self._shutting_down:
                self._registry.set_state(self._id, JobState.PENDING, started_at=now())
        if self._shutting_down:
            return
        if self._state not in (JobState.PENDING, JobState.RUNNING):
            self._end_without_process()
            return
        self.pool = WorkerPool(
            self._job,
            self._folder,
            self._environment,
            say=partial(self._registry.add_message, self._id),
        )
        await self.pool.start()
        code = await self._supervise(self.pool)
        await self._report_errors(self.pool, last=True)
        if not self._shutting_down:
            await self._end(code, self.pool.failed_log)

    async def _supervise(self, pool: WorkerPool) -> int:
        """Pass requests on to the processes until they end; return the exit code."""
        pending_until = time.monotonic() + self._settings.pending_s
        read_log_at = 0.0
        draining = False
        updated_at: float | None = None
        ended = asyncio.create_task(pool.wait())
        stopping: asyncio.Task[None] | None = None
        while not ended.done():
            state = self._state
            if self._shutting_down and stopping is None:
                pool.terminate()
                stopping = asyncio.create_task(pool.kill_after(_SHUTDOWN_GRACE_S))
            elif state in (JobState.DRAINING, JobState.UPDATED):
                # Until the process works, it has no signal handler and the signal would kill it.
                if not draining and pool.works():
                    pool.terminate()
                    draining = True
                if state is JobState.UPDATED and stopping is None:
                    updated_at = updated_at or time.monotonic()
                    if time.monotonic() - updated_at >= self._settings.updated_s:
                        stopping = asyncio.create_task(pool.force(_CANCEL_GRACE_S))
            elif state is JobState.CANCELLING and stopping is None:
                stopping = asyncio.create_task(pool.force(_CANCEL_GRACE_S))
            elif state is JobState.PENDING and time.monotonic() >= pending_until and pool.works():
                self._on_running(self._registry.set_state(self._id, JobState.RUNNING))
            if time.monotonic() >= read_log_at:
                await self._report_errors(pool)
                read_log_at = time.monotonic() + _READ_LOG_EVERY_S
            await self._pause(_POLL_S, ended)
        if stopping is not None:
            await stopping
        return await ended

    async def _end(self, code: int, failed_log: Path) -> None:
        state = self._state
        if state.terminal:
            self._registry.add_message(
                self._id, Importance.DETAILED, "The process of the replaced job has ended."
            )
        elif state is JobState.CANCELLING:
            self._registry.set_state(self._id, JobState.CANCELLED)
        elif code == 0 and state is JobState.DRAINING:
            self._registry.set_state(self._id, JobState.DRAINED)
        elif code == 0 and not self._job.streaming:
            self._registry.set_state(self._id, JobState.DONE)
        else:
            last = await asyncio.to_thread(tail, failed_log, _TAIL_LINES)
            text = f"The job's process {how_it_ended(code)}"
            if code == 0:
                text += ", although the job was not drained"
            self._registry.add_message(
                self._id, Importance.ERROR, f"{text}. Last lines of its log:\n{last}"
            )
            self._registry.set_state(self._id, JobState.FAILED)

    def _end_without_process(self) -> None:
        if self._state is JobState.CANCELLING:
            self._registry.set_state(self._id, JobState.CANCELLED)
        elif self._state is JobState.DRAINING:
            # Its process ended with the local cloud, and its messages are in the backlog again.
            self._registry.set_state(self._id, JobState.DRAINED)

    async def _report_errors(self, pool: WorkerPool, *, last: bool = False) -> None:
        errors = await asyncio.to_thread(pool.errors, last=last)
        for text in errors[:_MAX_ERRORS_AT_ONCE]:
            self._registry.add_message(self._id, Importance.ERROR, text)
        if (more := len(errors) - _MAX_ERRORS_AT_ONCE) > 0:
            self._registry.add_message(
                self._id, Importance.ERROR, f"{more} more errors: see the log."
            )

    async def _pause(self, seconds: float, ended: "asyncio.Task[int] | None" = None) -> None:
        """Wait for some seconds, or until `wake` or `shut_down` is called or `ended` is done."""
        woken = asyncio.create_task(self._woken.wait())
        waiting: set[asyncio.Task[bool] | asyncio.Task[int]] = {woken}
        if ended is not None:
            waiting.add(ended)
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if woken.done():
            self._woken.clear()
        woken.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await woken

    @property
    def _job(self) -> Job:
        return self._registry.job(self._id)

    @property
    def _state(self) -> JobState:
        return self._job.state
