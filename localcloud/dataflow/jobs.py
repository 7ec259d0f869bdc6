"""A job: the record that outlives its process, and how the API shows it."""

import dataclasses
import datetime as dt
import functools
import importlib.metadata
import secrets
import time
from collections.abc import Sequence
from typing import Any

from localcloud.dataflow.states import Importance, JobState, JobType, View
from localcloud.rest import rfc3339


@dataclasses.dataclass(frozen=True)
class Job:
    """A job. Times are seconds since 1970.

    Attributes:
        module: the Python module that the job's process runs.
        arguments: the arguments of that process.
        requested: the state that a client has requested, if any.
        parameters: the launch's parameters, as in the API's JSON.
        environment: an Environment, as in the API's JSON.
        subscription: the subscription that a streaming job reads from.
        template: the `gs://` path of the template, if the job was launched from one.
        replaces: the id of the job that this one replaces, if any.
        replaced_by: the id of the job that replaced this one, if any.
        workers: how many workers it should have now.
        max_workers: how many it can have.
        deals_bundles: whether its program deals out bundles to workers, and is none itself: a batch
            job with several workers.
    """

    id: str
    name: str
    project: str
    location: str
    type: JobType
    module: str
    arguments: tuple[str, ...]
    state: JobState = JobState.QUEUED
    created_at: float = 0.0
    state_at: float = 0.0
    started_at: float | None = None
    requested: JobState | None = None
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    parameters: dict[str, str] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    subscription: str | None = None
    template: str | None = None
    client_request_id: str | None = None
    replaces: str | None = None
    replaced_by: str | None = None
    workers: int = 1
    max_workers: int = 1
    deals_bundles: bool = False

    @property
    def streaming(self) -> bool:
        """Whether the job is a streaming job, which can be drained."""
        return self.type is JobType.STREAMING

    @property
    def active(self) -> bool:
        """Whether the job still runs, and so holds its name."""
        return not self.state.terminal

    def resource(self, view: View) -> dict[str, Any]:
        """Return the API's Job. As documented, a summary has neither labels nor environment."""
        shown: dict[str, Any] = {
            "id": self.id,
            "projectId": self.project,
            "name": self.name,
            "location": self.location,
            "type": self.type.value,
            "currentState": self.state.value,
            "currentStateTime": rfc3339(self.state_at),
            "createTime": rfc3339(self.created_at),
            "startTime": rfc3339(self.created_at if self.started_at is None else self.started_at),
            "jobMetadata": {"sdkVersion": _sdk()},
        }
        optional: dict[str, Any] = {
            "requestedState": self.requested and self.requested.value,
            "clientRequestId": self.client_request_id,
            "replaceJobId": self.replaces,
            "replacedByJobId": self.replaced_by,
        }
        if view in (View.ALL, View.DESCRIPTION):
            optional |= {"labels": self.labels, "environment": self.environment}
        return shown | {name: value for name, value in optional.items() if value}

    def record(self) -> dict[str, Any]:
        """Return the job as JSON for the state folder."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_record(record: dict[str, Any]) -> "Job":
        """Return the job that `record` has saved."""
        requested = record["requested"]
        return Job(
            **record
            | {
                "type": JobType(record["type"]),
                "state": JobState(record["state"]),
                "requested": requested and JobState(requested),
                "arguments": tuple(record["arguments"]),
            }
        )


@dataclasses.dataclass(frozen=True)
class Message:
    """One of a job's messages; `time` in seconds since 1970.

    `workers` is the number of workers now, and the wanted one, if the message is about these.
    """

    id: str
    time: float
    importance: Importance
    text: str
    workers: Sequence[int] | None = None

    def resource(self) -> dict[str, Any]:
        """Return the API's JobMessage."""
        return {
            "id": self.id,
            "time": rfc3339(self.time),
            "messageImportance": self.importance.value,
            "messageText": self.text,
        }

    def autoscaling_event(self) -> dict[str, Any] | None:
        """Return the API's AutoscalingEvent; None, if the message is about something else."""
        if self.workers is None:
            return None
        current, target = self.workers
        changed = "CURRENT" if current == target else "TARGET"
        return {
            "currentNumWorkers": str(current),
            "targetNumWorkers": str(target),
            "eventType": f"{changed}_NUM_WORKERS_CHANGED",
            "description": {"messageText": self.text},
            "time": rfc3339(self.time),
            "workerPool": "Regular",
        }


def new_job_id() -> str:
    """Return an id of Google's form: the time, then a random number."""
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    return f"{now:%Y-%m-%d_%H_%M_%S}-{secrets.randbelow(9 * 10**18) + 10**18}"


@functools.cache
def _sdk() -> dict[str, str]:
    return {
        "version": importlib.metadata.version("apache-beam"),
        "versionDisplayName": "Apache Beam SDK for Python",
        "sdkSupportStatus": "SUPPORTED",
    }
