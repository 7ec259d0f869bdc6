"""The responses of Airflow's REST API as types, and the errors that are raised for them."""

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

# The frames further out are Airflow's own.
_LAST_FRAMES = 6


class AirflowError(RuntimeError):
    """Airflow did not do what it was asked to; the message says what to look at."""


class AirflowApiError(AirflowError):
    """Airflow's API returned an error.

    Attributes:
        status: the HTTP status: 401 for a failed login, 403 for a missing permission, 404 for a
            missing resource, 400 and 422 for a rejected value, 409 for a duplicate.
        detail: Airflow's message.
    """

    def __init__(self, request: str, status: int, detail: str) -> None:
        super().__init__(f"{request} returned {status}: {detail}")
        self.status = status
        self.detail = detail


class RunState(StrEnum):
    """The state of a DAG run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether the run has ended, successfully or not."""
        return self in (RunState.SUCCESS, RunState.FAILED)


@dataclasses.dataclass(frozen=True)
class TaskInstance:
    """One task of one run.

    `state` is None until the scheduler has processed it. `pid` is the process on this machine that
    runs it or ran it last.
    """

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    pid: int | None

    @classmethod
    def from_api(cls, answer: Mapping[str, Any]) -> "TaskInstance":
        """Convert the API's JSON object."""
        fields = ("task_id", "map_index", "state", "try_number", "pid")
        return cls(**{field: answer[field] for field in fields})

    @property
    def name(self) -> str:
        """The task's id, followed by the index in brackets if the task is mapped."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


@dataclasses.dataclass(frozen=True)
class Dag:
    """A parsed DAG: `file` is relative to the DAGs folder, `parsed_at` an ISO time in UTC."""

    dag_id: str
    paused: bool
    file: str
    parsed_at: str

    @classmethod
    def from_api(cls, answer: Mapping[str, Any]) -> "Dag":
        """Convert the API's JSON object."""
        return cls(
            dag_id=answer["dag_id"],
            paused=answer["is_paused"],
            file=answer.get("relative_fileloc") or answer["fileloc"],
            parsed_at=answer["last_parsed_time"] or "",
        )


@dataclasses.dataclass(frozen=True)
class ImportFailure:
    """A DAG file that cannot be imported. `seen_at` is an ISO time in UTC."""

    file: str
    stack_trace: str
    seen_at: str

    @classmethod
    def from_api(cls, answer: Mapping[str, Any]) -> "ImportFailure":
        """Convert the API's JSON object."""
        return cls(
            file=answer["filename"], stack_trace=answer["stack_trace"], seen_at=answer["timestamp"]
        )


def error_detail(answer: object) -> str:
    """Return the message in the body of an error: its `detail`, or FastAPI's list of details."""
    detail = answer.get("detail", answer) if isinstance(answer, Mapping) else answer
    if isinstance(detail, list):
        return "; ".join(_field_error(item) for item in detail)
    if isinstance(detail, Mapping):
        return str(detail.get("message") or detail.get("reason") or dict(detail))
    return str(detail).strip()


def log_line(entry: object) -> str:
    """Return an entry of a task's log as lines of text, including the error that it carries."""
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


def _field_error(item: object) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    field = ".".join(str(part) for part in item.get("loc", ()) if part != "body")
    return f"{field}: {item.get('msg')}" if field else str(item.get("msg"))
