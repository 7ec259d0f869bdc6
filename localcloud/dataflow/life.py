"""One job's way through its states: the process behind it, and what becomes of it.

QUEUED → PENDING → RUNNING → DONE | FAILED
                      ├→ DRAINING → DRAINED | FAILED
any of these → CANCELLING → CANCELLED
RUNNING, DRAINING → UPDATED, once the job that replaces it runs
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from localcloud.dataflow import metrics
from localcloud.dataflow.jobs import Job
from localcloud.dataflow.logs import LogReader, tail
from localcloud.dataflow.processes import JobProcess, how_it_ended
from localcloud.dataflow.registry import Registry
from localcloud.dataflow.settings import Settings
from localcloud.dataflow.states import Importance, JobState
from localcloud.rest import now

_LOOK_EVERY_S = 0.1
_READ_LOG_EVERY_S = 0.5
_CANCEL_GRACE_S = 5.0
# When the local cloud stops: what a job may take to finish what is under way.
_LEAVE_GRACE_S = 5.0
_MAX_ERRORS_AT_ONCE = 10
_TAIL_LINES = 20


class Life:
    """Leads one job to its end, or to the end of the local cloud.

    Args:
        running: called once the job is RUNNING.
    """

    def __init__(
        self,
        job_id: str,
        registry: Registry,
        settings: Settings,
        environment: Mapping[str, str],
        running: Callable[[Job], None],
    ) -> None:
        self._id = job_id
        self._registry = registry
        self._folder = registry.folder(job_id)
        self._settings = settings
        self._environment = environment
        self._running = running
        self._asked = asyncio.Event()
        self._leaving = False
        self._process: JobProcess | None = None

    def look(self) -> None:
        """The job's state has been changed from outside: act on it now."""
        self._asked.set()

    def leave(self) -> None:
        """The local cloud stops: end the process, and leave the job as it is."""
        self._leaving = True
        self._asked.set()

    async def lead(self) -> None:
        """Lead the job; returns when there is nothing more to do."""
        try:
            await self._lead()
        except Exception as error:
            self._registry.say(self._id, Importance.ERROR, f"Cannot run the job: {error!r}")
            self._registry.move(self._id, JobState.FAILED)
            raise
        finally:
            if self._process is not None:
                await self._process.kill_after(0.0)

    async def _lead(self) -> None:
        if self._state is JobState.QUEUED:
            await self._pause(self._settings.queued_s)
            if self._state is JobState.QUEUED and not self._leaving:
                self._registry.move(self._id, JobState.PENDING, started_at=now())
        if self._leaving:
            return
        if self._state not in (JobState.PENDING, JobState.RUNNING):
            self._end_without_process()
            return
        await asyncio.to_thread(metrics.carry_over, self._folder)
        log = LogReader(self._folder.log, await asyncio.to_thread(_size, self._folder.log))
        job = self._job
        self._process = await JobProcess.start(
            self._folder, job.module, job.arguments, self._environment
        )
        self._registry.say(
            self._id, Importance.DETAILED, f"Worker started: process {self._process.pid}."
        )
        code = await self._attend(self._process, log)
        await self._report_errors(log, last=True)
        if not self._leaving:
            await self._end(code)

    async def _attend(self, process: JobProcess, log: LogReader) -> int:
        """Watch over a process until it has ended; return its exit code."""
        pending_until = time.monotonic() + self._settings.pending_s
        read_log_at = 0.0
        draining = False
        ended = asyncio.create_task(process.wait())
        stopping: asyncio.Task[None] | None = None
        while not ended.done():
            state = self._state
            if self._leaving and stopping is None:
                process.terminate()
                stopping = asyncio.create_task(process.kill_after(_LEAVE_GRACE_S))
            elif state in (JobState.DRAINING, JobState.UPDATED):
                # Before it works it has no handler for the signal yet, and would die of it.
                if not draining and self._works():
                    process.terminate()
                    draining = True
            elif state is JobState.CANCELLING and stopping is None:
                stopping = asyncio.create_task(process.force(_CANCEL_GRACE_S))
            elif state is JobState.PENDING and time.monotonic() >= pending_until and self._works():
                self._running(self._registry.move(self._id, JobState.RUNNING))
            if time.monotonic() >= read_log_at:
                await self._report_errors(log)
                read_log_at = time.monotonic() + _READ_LOG_EVERY_S
            await self._pause(_LOOK_EVERY_S, ended)
        if stopping is not None:
            await stopping
        return await ended

    def _works(self) -> bool:
        """Whether the process does what it is for: a stream pulls; a batch job lives."""
        return self._folder.metrics.exists() if self._job.streaming else True

    async def _end(self, code: int) -> None:
        state = self._state
        if state.terminal:
            self._registry.say(self._id, Importance.DETAILED, "The job that was replaced is over.")
        elif state is JobState.CANCELLING:
            self._registry.move(self._id, JobState.CANCELLED)
        elif code == 0 and state is JobState.DRAINING:
            self._registry.move(self._id, JobState.DRAINED)
        elif code == 0 and not self._job.streaming:
            self._registry.move(self._id, JobState.DONE)
        else:
            last = await asyncio.to_thread(tail, self._folder.log, _TAIL_LINES)
            text = f"The job's process {how_it_ended(code)}"
            if code == 0:
                text += ", though nobody had drained the job"
            self._registry.say(self._id, Importance.ERROR, f"{text}. Its last lines:\n{last}")
            self._registry.move(self._id, JobState.FAILED)

    def _end_without_process(self) -> None:
        if self._state is JobState.CANCELLING:
            self._registry.move(self._id, JobState.CANCELLED)
        elif self._state is JobState.DRAINING:
            # Its process ended with the local cloud: what it had under way is in the backlog again.
            self._registry.move(self._id, JobState.DRAINED)

    async def _report_errors(self, log: LogReader, *, last: bool = False) -> None:
        found = await asyncio.to_thread(lambda: list(log.errors(last=last)))
        for text in found[:_MAX_ERRORS_AT_ONCE]:
            self._registry.say(self._id, Importance.ERROR, text)
        if (more := len(found) - _MAX_ERRORS_AT_ONCE) > 0:
            self._registry.say(self._id, Importance.ERROR, f"{more} more errors: see the log.")

    async def _pause(self, seconds: float, ended: "asyncio.Task[int] | None" = None) -> None:
        """Wait so long, or until there is something to act on."""
        asked = asyncio.create_task(self._asked.wait())
        waiting: set[asyncio.Task[bool] | asyncio.Task[int]] = {asked}
        if ended is not None:
            waiting.add(ended)
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            self._asked.clear()
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked

    @property
    def _job(self) -> Job:
        return self._registry.job(self._id)

    @property
    def _state(self) -> JobState:
        return self._job.state


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
