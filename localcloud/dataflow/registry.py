"""All jobs and their messages, in memory and in the state folder; who holds which name.

Files are small and are left to the system to flush: what is written survives the process being
killed, which is what there is to survive here.
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
"""So many of a job's newest messages are kept in memory, and read back after a restart."""


@dataclasses.dataclass(frozen=True)
class JobFolder:
    """Where a job's files are; `pid` names its process while there is one."""

    path: Path

    @property
    def record(self) -> Path:
        """The job."""
        return self.path / "job.json"

    @property
    def messages(self) -> Path:
        """Its messages, one JSON object a line."""
        return self.path / "messages.jsonl"

    @property
    def log(self) -> Path:
        """What its processes have printed."""
        return self.path / "log"

    @property
    def metrics(self) -> Path:
        """What its present process has counted."""
        return self.path / "metrics.json"

    @property
    def earlier_metrics(self) -> Path:
        """What its former processes had counted."""
        return self.path / "metrics.earlier.json"

    @property
    def pid(self) -> Path:
        """The number of its process."""
        return self.path / "pid"


class Registry:
    """See the module. For one event loop: between two awaits nothing comes between.

    Args:
        root: the folder of all jobs; made if need be.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._jobs: dict[str, Job] = {}
        self._messages: dict[str, list[Message]] = {}
        root.mkdir(parents=True, exist_ok=True)
        for path in sorted(root.glob("*/job.json")):
            job = Job.of_record(json.loads(path.read_text()))
            self._jobs[job.id] = job
            self._messages[job.id] = _read_messages(JobFolder(path.parent).messages)

    def folder(self, job_id: str) -> JobFolder:
        """Return where the job's files are."""
        return JobFolder(self._root / job_id)

    def all(self, project: str | None = None, location: str | None = None) -> list[Job]:
        """Return the jobs of a project and a location, or of all, the newest first."""
        found = [
            job
            for job in self._jobs.values()
            if project in (None, job.project) and location in (None, job.location)
        ]
        return sorted(found, key=lambda job: (job.created_at, job.id), reverse=True)

    def get(self, project: str, location: str | None, job_id: str) -> Job:
        """Return a job; 404 if it is not there. Without a location, of any."""
        job = self._jobs.get(job_id)
        if job is None or job.project != project or location not in (None, job.location):
            where = f"project {project}" + (f", location {location}" if location else "")
            raise ApiError(404, f"Information about job {job_id} could not be found in {where}.")
        return job

    def job(self, job_id: str) -> Job:
        """Return a job that is known to be there."""
        return self._jobs[job_id]

    def holders(self, project: str, location: str, name: str) -> list[Job]:
        """Return the active jobs of that name: one, or two while one takes the other's place."""
        return [job for job in self.all(project, location) if job.name == name and job.active]

    def add(self, job: Job) -> None:
        """Take in a new job; see `check_free`."""
        self.check_free(job.project, job.location, job.name, job.replaces)
        self.folder(job.id).path.mkdir(parents=True)
        self._messages[job.id] = []
        self._save(job)

    def check_free(
        self, project: str, location: str, name: str, replaces: str | None = None
    ) -> None:
        """Refuse, with ALREADY_EXISTS, a name that another job holds than the replaced one."""
        for holder in self.holders(project, location, name):
            if holder.id != replaces:
                raise ApiError(
                    409,
                    f"There is already an active job named {name} with id: {holder.id}. If you "
                    "want to submit a second job, try again by setting a different name.",
                )

    def change(self, job_id: str, **fields: Any) -> Job:
        """Change some of a job's fields, and keep that."""
        return self._save(dataclasses.replace(self._jobs[job_id], **fields))

    def move(self, job_id: str, state: JobState, **fields: Any) -> Job:
        """Put a job into a state, and say so in a message."""
        job = self.change(job_id, state=state, state_at=now(), **fields)
        self.say(job_id, Importance.BASIC, f"The job is now in state {state.value}.")
        return job

    def say(self, job_id: str, importance: Importance, text: str) -> None:
        """Add a message."""
        messages = self._messages[job_id]
        # Never at the same time twice: readers go on after the last time that they have seen.
        at = max(now(), round(messages[-1].time + 1e-6, 6) if messages else 0.0)
        message = Message(f"{job_id}-{time.monotonic_ns()}", at, importance, text)
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
