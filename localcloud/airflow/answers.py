"""What Airflow's REST API says, as types, and what is raised when it says no."""

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

# The outer ones are Airflow's own.
_LAST_FRAMES = 6


class AirflowError(RuntimeError):
    """Airflow did not do what was asked; the message says what to look at."""


class AnswerError(AirflowError):
    """Airflow answered with an error; the message says what was asked, the status and its words.

    Attributes:
        status: the HTTP status: 401 and 403 who may not, 404 what is not there, 400 and 422 a
            refused configuration, 409 what is there already.
        words: Airflow's own.
    """

    def __init__(self, asked: str, status: int, words: str) -> None:
        super().__init__(f"{asked} was answered with {status}: {words}")
        self.status = status
        self.words = words


class RunState(StrEnum):
    """The state of a DAG run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (RunState.SUCCESS, RunState.FAILED)


@dataclasses.dataclass(frozen=True)
class TaskInstance:
    """One task of one run. `state` is None until the scheduler has looked at it."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "TaskInstance":
        """Return what the API's object describes."""
        fields = ("task_id", "map_index", "state", "try_number")
        return cls(**{field: answer[field] for field in fields})

    @property
    def name(self) -> str:
        """The task's id, with the index of a mapped one."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


@dataclasses.dataclass(frozen=True)
class Dag:
    """A DAG that was parsed: `file` relative to the folder, `parsed_at` an ISO time in UTC."""

    dag_id: str
    paused: bool
    file: str
    parsed_at: str

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Dag":
        """Return what the API's object describes."""
        return cls(
            dag_id=answer["dag_id"],
            paused=answer["is_paused"],
            file=answer.get("relative_fileloc") or answer["fileloc"],
            parsed_at=answer["last_parsed_time"] or "",
        )


@dataclasses.dataclass(frozen=True)
class ImportFailure:
    """A DAG file that cannot be imported, and why. `seen_at` is an ISO time in UTC."""

    file: str
    stack_trace: str
    seen_at: str

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "ImportFailure":
        """Return what the API's object describes."""
        return cls(
            file=answer["filename"], stack_trace=answer["stack_trace"], seen_at=answer["timestamp"]
        )


def words_of(answer: object) -> str:
    """Return what an error's body says, for a person: `detail`, or FastAPI's list of them."""
    detail = answer.get("detail", answer) if isinstance(answer, Mapping) else answer
    if isinstance(detail, list):
        return "; ".join(_complaint(item) for item in detail)
    if isinstance(detail, Mapping):
        return str(detail.get("message") or detail.get("reason") or dict(detail))
    return str(detail).strip()


def log_line(entry: object) -> str:
    """Return one entry of a task's log as lines of text, with the error that it carries."""
    if not isinstance(entry, Mapping):
        return str(entry)
    level = str(entry.get("level") or "").upper()
    lines = [" ".join(part for part in (level, str(entry.get("event", ""))) if part)]
    for error in entry.get("error_detail") or ():
        if isinstance(error, Mapping):
            lines += [
                f"  {frame.get('filename')}:{frame.get('lineno')} in {frame.get('name')}"
                for frame in (error.get("frames") or ())[-_LAST_FRAMES:]
            ]
            lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return "\n".join(lines)


def _complaint(item: object) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    where = ".".join(str(part) for part in item.get("loc", ()) if part != "body")
    return f"{where}: {item.get('msg')}" if where else str(item.get("msg"))
