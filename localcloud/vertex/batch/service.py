"""All batch jobs: creates, finds, cancels and deletes them, and keeps them across restarts."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

from localcloud import rest
from localcloud.files import write_json
from localcloud.rest import ApiError
from localcloud.vertex.batch.agent import ServiceAgent
from localcloud.vertex.batch.job import Job, Order, State
from localcloud.vertex.batch.rows import Row, Rows
from localcloud.vertex.batch.run import Run
from localcloud.vertex.batch.settings import Counts, Settings
from localcloud.vertex.behaviour import Behaviour
from localcloud.vertex.billing import BATCH, Ledger
from localcloud.vertex.files import Files
from localcloud.vertex.generator import Generator
from localcloud.vertex.painter import Painter

_FIRST_ID = 10**18


class BatchService:
    """The jobs. Use it from one event loop.

    Args:
        behaviour: what prompts request for themselves, and the counts of images.
        painter: makes the pictures.
        ledger: what is billed.
        storage_url: where Cloud Storage is.
        records: a file in which jobs are kept; None keeps none. A job that was active at the end
            begins anew.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        painter: Painter,
        ledger: Ledger,
        storage_url: str,
        records: Path | None = None,
    ) -> None:
        self.settings = Settings()
        self._counts = Counts()
        self._behaviour = behaviour
        self._painter = painter
        self._ledger = ledger
        self._storage_url = storage_url
        self._records = records
        self._jobs: dict[str, Job] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}

    def counts(self) -> Counts:
        """Return the counters, and what rows have cost."""
        self._counts.billed_usd = self._ledger.usd(BATCH)
        return self._counts

    async def start(self) -> None:
        """Take up the jobs of the last time."""
        if self._records and self._records.exists():
            for record in json.loads(self._records.read_text("utf-8")):
                job = Job.restored(record)
                if not job.state.final:
                    job = self._anew(job)
                self._jobs[job.name] = job
                if not job.state.final:
                    self._run(job)

    async def stop(self) -> None:
        """Stop all jobs where they are."""
        for run in self._runs.values():
            run.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)

    def create(self, parent: str, order: Order) -> Job:
        """Create a job, and start it."""
        now = rest.now()
        job_id = str(_FIRST_ID + secrets.randbelow(8 * _FIRST_ID))
        job = Job(parent, job_id, order, created_at=now, updated_at=now)
        self._jobs[job.name] = job
        self._counts.created += 1
        self._keep_records()
        self._run(job)
        return job

    def get(self, name: str) -> Job:
        """Return a job.

        Raises:
            ApiError: 404; it does not exist.
        """
        job = self._jobs.get(name)
        if job is None:
            raise ApiError(404, "The BatchPredictionJob does not exist.")
        return job

    def listed(self, parent: str) -> list[Job]:
        """Return the jobs of a location, the newest first."""
        return [job for job in reversed(self._jobs.values()) if job.parent == parent]

    def cancel(self, name: str) -> None:
        """Let a job end.

        Raises:
            ApiError: 404, it does not exist; 400, it has ended, or is being cancelled already.
        """
        job = self.get(name)
        if job.state.final or job.state is State.CANCELLING:
            # Google's own tests say "Cannot cancel a batch job multiple times in Vertex":
            # google/genai/tests/batches/test_cancel.py
            raise rest.failed_precondition(
                f"The BatchPredictionJob {name} cannot be cancelled: its state is {job.state}."
            )
        job.enter(State.CANCELLING)
        self._keep_records()

    def delete(self, name: str) -> None:
        """Forget a job. What it has written stays.

        Raises:
            ApiError: 404, it does not exist; 400, it has not ended.
        """
        job = self.get(name)
        if not job.state.final:
            # "Can only be called on jobs that already finished": the API reference of `delete`.
            raise rest.failed_precondition(
                f"The BatchPredictionJob {name} cannot be deleted: its state is {job.state}."
            )
        del self._jobs[name]
        self._keep_records()

    def _run(self, job: Job) -> None:
        agent = ServiceAgent(job.project, self.settings, self._storage_url)
        generator = Generator(self._painter, Files(agent.read))
        run = Run(
            job,
            rows=Rows(job.order.model, generator, self._behaviour, self.settings),
            agent=agent,
            settings=self.settings,
            finished=self._bill,
            changed=self._keep_records,
        )
        task = asyncio.create_task(run.run(), name=job.name)
        self._runs[job.name] = task
        task.add_done_callback(lambda _: self._runs.pop(job.name, None))

    def _bill(self, row: Row) -> None:
        self._counts.rows += 1
        self._counts.images += row.images
        self._behaviour.counts.images += row.images
        if row.usage:
            self._ledger.add(row.usage)

    def _anew(self, job: Job) -> Job:
        fresh = Job(job.parent, job.id, job.order, job.created_at, rest.now())
        if job.state is State.CANCELLING:
            fresh.enter(State.CANCELLED)
        return fresh

    def _keep_records(self) -> None:
        if self._records:
            records: list[dict[str, Any]] = [job.record() for job in self._jobs.values()]
            write_json(self._records, records)
