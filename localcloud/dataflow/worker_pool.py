"""A job's workers: starts them, replaces those that die, and adds and kills some on request.

A stream's workers all run its program and share its subscription. A batch job with several workers
has one more process, which runs its program and deals out bundles; see `localcloud.bundles`.

The messages about workers are worded as in public logs of jobs: "Starting 1 workers in
europe-west1-d...", "Autoscaling: Resizing worker pool from 1 to 2.", both JOB_MESSAGE_BASIC, and
"Autoscaling: Raised the number of workers to 2 …", "Workers have started successfully.", both
JOB_MESSAGE_DETAILED. The events are those of the API's reference:
https://cloud.google.com/dataflow/docs/reference/rest/v1b3/AutoscalingEvent. A Job has no field for
the number of workers; it is told by these, and by the service's metrics.
"""

import asyncio
import dataclasses
import datetime as dt
import secrets
import string
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from localcloud.dataflow import metrics
from localcloud.dataflow.jobs import Job
from localcloud.dataflow.logs import LogReader
from localcloud.dataflow.processes import JobProcess, how_it_ended
from localcloud.dataflow.registry import JobFolder
from localcloud.dataflow.states import Importance

_WORKER_OF_BATCH = "localcloud.bundles.worker"
# Before a worker is replaced, doubled each time that one dies soon after its start: a job whose
# workers die of what they do must not keep the machine busy with starting them.
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0
_SOON_S = 60.0
_NAME_CHARACTERS = string.ascii_lowercase + string.digits
# Characters of a job's name in its workers' names.
_NAME_LENGTH = 25


@dataclasses.dataclass(frozen=True)
class Worker:
    """A worker. `slot` says which files are its own."""

    slot: int
    name: str
    process: JobProcess

    def resource(self) -> dict[str, Any]:
        """Return the worker as JSON."""
        return {"name": self.name, "pid": self.process.pid, "slot": self.slot}


class WorkerPool:
    """The processes of one job, with the interface of a single one.

    Args:
        job: the job, which says how many workers to start with.
        folder: the job's folder.
        environment: variables by which the job finds the other stand-ins.
        say: adds a message to the job; its third argument is the number of workers now and the
            wanted one, if the message is about these.
    """

    def __init__(
        self,
        job: Job,
        folder: JobFolder,
        environment: Mapping[str, str],
        say: Callable[[Importance, str, tuple[int, int] | None], None],
    ) -> None:
        self._job = job
        self._folder = folder
        self._environment = environment
        self._say = say
        self._target = job.workers
        self._over = asyncio.Event()
        self._has_worked = False
        self._next_slot = 0
        # By slot. The process of a batch job that deals out bundles has a slot, and is no worker.
        self._running: dict[int, Worker] = {}
        self._tasks: dict[int, asyncio.Task[int]] = {}
        self._dismissed: set[int] = set()
        self._logs: dict[int, LogReader] = {}
        created = dt.datetime.fromtimestamp(job.created_at, dt.UTC)
        # As on Dataflow: beamapp-user-0625-06250132-jk3w-harness-7x2p.
        self._prefix = f"{job.name[:_NAME_LENGTH]}-{created:%m%d%H%M}-{_random(4)}-harness"
        self.failed_log: Path = folder.process(0).log

    async def start(self) -> None:
        """Start all processes."""
        for process in self._folder.processes():
            await asyncio.to_thread(metrics.carry_over, self._folder, process)
        self._folder.worker_address.unlink(missing_ok=True)
        if self._target > 1:
            self._say(
                Importance.BASIC,
                f"Starting {self._target} workers in {self._job.location}...",
                (0, self._target),
            )
        first = 1 if self._job.deals_bundles else 0
        for _ in range(first + self._target):
            await self._start_next()
        if self._target > 1:
            self._say(
                Importance.DETAILED,
                "Workers have started successfully.",
                (self._target, self._target),
            )

    def workers(self) -> list[Worker]:
        """Return the workers that run now."""
        first = 1 if self._job.deals_bundles else 0
        return [worker for slot, worker in sorted(self._running.items()) if slot >= first]

    def works(self) -> bool:
        """Whether the job does its work: a stream pulls messages; a batch job exists."""
        if self._job.streaming and not self._has_worked:
            self._has_worked = any(self._works(slot) for slot in self._running)
        return self._has_worked or not self._job.streaming

    async def add(self) -> None:
        """Add a worker."""
        before, self._target = self._target, self._target + 1
        self._say(
            Importance.BASIC,
            f"Autoscaling: Resizing worker pool from {before} to {self._target}.",
            (before, self._target),
        )
        await self._start_next()
        self._say(
            Importance.DETAILED,
            f"Autoscaling: Raised the number of workers to {self._target}.",
            (self._target, self._target),
        )

    async def wait(self) -> int:
        """Wait until the job's processes have ended; return the exit code of what ended it.

        It is 0 if all have ended well, or minus the number of a signal.
        """
        ended_by = 0
        while pending := [task for task in self._tasks.values() if not task.done()]:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for slot, task in self._tasks.items():
                if task.done() and task.result() and not ended_by:
                    ended_by = task.result()
                    self.failed_log = self._folder.process(slot).log
            over = ended_by or (self._job.deals_bundles and self._tasks[0].done())
            if over and not self._over.is_set():
                self.terminate()
        return self._tasks[0].result() if self._job.deals_bundles else ended_by

    def terminate(self) -> None:
        """Ask all to finish their work in progress and end; replace none from now on."""
        self._over.set()
        for slot, worker in self._running.items():
            if self._target > 1 and not self._works(slot):
                # It has no handler for the signal yet, which kills it, and no work in progress.
                self._dismissed.add(slot)
            worker.process.terminate()

    async def force(self, grace_s: float) -> None:
        """Ask all to abandon their work, and kill them after `grace_s` seconds."""
        self._over.set()
        await asyncio.gather(*(each.process.force(grace_s) for each in self._running.values()))

    async def kill_after(self, grace_s: float) -> None:
        """Wait `grace_s` seconds for their end, then kill them."""
        self._over.set()
        await asyncio.gather(*(each.process.kill_after(grace_s) for each in self._running.values()))

    def errors(self, *, last: bool = False) -> list[str]:
        """Return the errors in all logs since the last call. Blocks."""
        return [text for log in list(self._logs.values()) for text in log.errors(last=last)]

    async def _start_next(self) -> None:
        slot, self._next_slot = self._next_slot, self._next_slot + 1
        await self._start(slot)
        self._tasks[slot] = asyncio.create_task(self._keep(slot), name=f"{self._prefix} {slot}")

    async def _start(self, slot: int) -> None:
        files = self._folder.process(slot)
        if slot not in self._logs:
            self._logs[slot] = LogReader(files.log, await asyncio.to_thread(_size, files.log))
        name = f"{self._prefix}-{_random(4)}"
        module, arguments = self._job.module, list(self._job.arguments)
        if slot and self._job.deals_bundles:
            module, arguments = _WORKER_OF_BATCH, [*arguments, f"--worker_id={name}"]
        elif slot:
            arguments.append(f"--metrics_file={files.metrics}")
        process = await JobProcess.start(files, module, arguments, self._environment)
        self._running[slot] = Worker(slot, name, process)
        self._say(Importance.DETAILED, f"Worker started: process {process.pid}, {name}.", None)
        if self._over.is_set():
            # The others were told to end while this one was being started.
            self._dismissed.add(slot)
            process.terminate()

    async def _keep(self, slot: int) -> int:
        """Keep a process running for as long as it is to be replaced; return its exit code."""
        pause = _FIRST_PAUSE_S
        while True:
            worker, started = self._running[slot], time.monotonic()
            code = await worker.process.wait()
            self.works()
            del self._running[slot]
            if self._over.is_set() or not self._replaces(slot, code):
                return 0 if slot in self._dismissed else code
            self._say(
                Importance.WARNING,
                f"Worker {worker.name} {how_it_ended(code)} and is replaced.",
                (len(self._running), self._target),
            )
            await asyncio.to_thread(metrics.carry_over, self._folder, self._folder.process(slot))
            if time.monotonic() - started > _SOON_S:
                pause = _FIRST_PAUSE_S
            try:
                await asyncio.wait_for(self._over.wait(), pause)
                return 0
            except TimeoutError:
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            await self._start(slot)

    def _replaces(self, slot: int, code: int) -> bool:
        if self._job.deals_bundles:
            # One that ends well has been dismissed, because there is nothing more to do.
            return slot > 0 and code != 0
        # A program that ends before it works has been given wrong options, and will again.
        return self._target > 1 and (code < 0 or self._has_worked)

    def _works(self, slot: int) -> bool:
        return not self._job.streaming or self._folder.process(slot).metrics.exists()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _random(length: int) -> str:
    return "".join(secrets.choice(_NAME_CHARACTERS) for _ in range(length))
