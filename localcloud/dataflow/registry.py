"""All jobs and their messages, in memory and in the state folder.

Files are written without fsync: they survive a killed process, which is all that is required here.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from localcloud.dataflow.jobs import Job, Message
from localcloud.dataflow.states import Importance, JobState
from localcloud.files import write_json
from localcloud.rest import ApiError, now

MAX_MESSAGES = 2000
"""How many of a job's newest messages are kept in memory, and read back after a restart."""


@dataclasses.dataclass(frozen=True)
class ProcessFiles:
    """The paths of the files of one of a job's processes.

    Attributes:
        log: the process's output.
        metrics: what it has counted. A stream's worker writes it once it works.
        pid: its id; exists only while the process does.
    """

    log: Path
    metrics: Path
    pid: Path


@dataclasses.dataclass(frozen=True)
class JobFolder:
    """The paths of a job's files."""

    path: Path

    @property
    def record(self) -> Path:
        """The job's record."""
        return self.path / "job.json"

    @property
    def messages(self) -> Path:
        """The job's messages, one JSON object per line."""
        return self.path / "messages.jsonl"

    @property
    def earlier_metrics(self) -> Path:
        """The summed metrics of earlier processes."""
        return self.path / "metrics.earlier.json"

    @property
    def worker_address(self) -> Path:
        """Where the workers of a batch job find the process that deals out its bundles."""
        return self.path / "worker_address.json"

    def process(self, slot: int) -> ProcessFiles:
        """Return the files of one of the job's processes.

        Args:
            slot: 0 for the process that runs the job's program, or for its first worker.
        """
        suffix = f".{slot}" if slot else ""
        return ProcessFiles(
            log=self.path / f"log{suffix}",
            metrics=self.path / f"metrics{suffix}.json",
            pid=self.path / f"pid{suffix}",
        )

    def processes(self) -> list[ProcessFiles]:
        """Return the files of all processes that the job has had, without any twice."""
        slots = {int(path.suffix[1:]) for path in self.path.glob("log.[0-9]*")}
        return [self.process(slot) for slot in (0, *sorted(slots))]


class Registry:
    """Stores jobs and their messages, and ensures that names of active jobs are unique.

    Use it from one event loop: calls without an await between them are atomic.

    Args:
        root: the folder of all jobs, created if missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._jobs: dict[str, Job] = {}
        self._messages: dict[str, list[Message]] = {}
        root.mkdir(parents=True, exist_ok=True)
        for path in sorted(root.glob("*/job.json")):
            job = Job.from_record(json.loads(path.read_text()))
            self._jobs[job.id] = job
            self._messages[job.id] = _read_messages(JobFolder(path.parent).messages)

    def folder(self, job_id: str) -> JobFolder:
        """Return the paths of a job's files."""
        return JobFolder(self._root / job_id)

    def all(self, project: str | None = None, location: str | None = None) -> list[Job]:
        """Return the jobs of a project and a location, the newest first. None means any."""
        jobs = [
            job
            for job in self._jobs.values()
            if project in (None, job.project) and location in (None, job.location)
        ]
        return sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)

    def get(self, project: str, location: str | None, job_id: str) -> Job:
        """Return a job of a project, in `location` or, if that is None, anywhere.

        Raises:
            ApiError: 404; there is no such job.
        """
        job = self._jobs.get(job_id)
        if job is None or job.project != project or location not in (None, job.location):
            where = f"project {project}" + (f", location {location}" if location else "")
            raise ApiError(404, f"Information about job {job_id} could not be found in {where}.")
        return job

    def job(self, job_id: str) -> Job:
        """Return a job that is known to exist."""
        return self._jobs[job_id]

    def active_jobs_named(self, project: str, location: str, name: str) -> list[Job]:
        """Return the active jobs of that name: at most one, or two while one replaces another."""
        return [job for job in self.all(project, location) if job.name == name and job.active]

    def add(self, job: Job) -> None:
        """Add a new job.

        Raises:
            ApiError: 409; another active job, which this one does not replace, has the name.
        """
        self.check_name_free(job.project, job.location, job.name, job.replaces)
        self.folder(job.id).path.mkdir(parents=True)
        self._messages[job.id] = []
        self._save(job)

    def check_name_free(
        self, project: str, location: str, name: str, replaces: str | None = None
    ) -> None:
        """Check that no active job has the name, except the job `replaces`.

        Raises:
            ApiError: 409; an active job has the name.
        """
        for holder in self.active_jobs_named(project, location, name):
            if holder.id != replaces:
                raise ApiError(
                    409,
                    f"There is already an active job named {name} with id: {holder.id}. If you "
                    "want to submit a second job, try again by setting a different name.",
                )

    def change(self, job_id: str, **fields: Any) -> Job:
        """Change fields of a job, and save it."""
        return self._save(dataclasses.replace(self._jobs[job_id], **fields))

    def set_state(self, job_id: str, state: JobState, **fields: Any) -> Job:
        """Change a job's state and other fields, and add a message about it."""
        job = self.change(job_id, state=state, state_at=now(), **fields)
        self.add_message(job_id, Importance.BASIC, f"The job is now in state {state.value}.")
        return job

    def add_message(
        self,
        job_id: str,
        importance: Importance,
        text: str,
        workers: tuple[int, int] | None = None,
    ) -> None:
        """Add a message to a job.

        Args:
            job_id: the job.
            importance: how important it is.
            text: the message.
            workers: the number of workers now, and the wanted one, if the message is about these.
        """
        messages = self._messages[job_id]
        # Every message has a time of its own: readers continue after the last time they have seen.
        at = max(now(), round(messages[-1].time + 1e-6, 6) if messages else 0.0)
        message = Message(f"{job_id}-{time.monotonic_ns()}", at, importance, text, workers)
        messages.append(message)
        del messages[:-MAX_MESSAGES]
        with self.folder(job_id).messages.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(message)) + "\n")

    def messages(self, job_id: str) -> list[Message]:
        """Return a job's messages, the oldest first."""
        return list(self._messages[job_id])

    def _save(self, job: Job) -> Job:
        self._jobs[job.id] = job
        write_json(self.folder(job.id).record, job.record())
        return job


def _read_messages(path: Path) -> list[Message]:
    messages = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines()[-MAX_MESSAGES:]:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the last line, cut off by a crash
            messages.append(Message(**record | {"importance": Importance(record["importance"])}))
    return messages
