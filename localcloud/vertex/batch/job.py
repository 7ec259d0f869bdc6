"""A batch job: what was asked for, how far it is, and the resource that clients see.

Fields: https://docs.cloud.google.com/gemini-enterprise-agent-platform/reference/rest/v1/projects.locations.batchPredictionJobs
"""

import dataclasses
from enum import StrEnum
from typing import Any

from localcloud import rest

_PREFIX = "JOB_STATE_"


class State(StrEnum):
    """The state of a job, as the API has it."""

    QUEUED = "JOB_STATE_QUEUED"
    PENDING = "JOB_STATE_PENDING"
    RUNNING = "JOB_STATE_RUNNING"
    SUCCEEDED = "JOB_STATE_SUCCEEDED"
    FAILED = "JOB_STATE_FAILED"
    CANCELLING = "JOB_STATE_CANCELLING"
    CANCELLED = "JOB_STATE_CANCELLED"
    PAUSED = "JOB_STATE_PAUSED"
    EXPIRED = "JOB_STATE_EXPIRED"
    UPDATING = "JOB_STATE_UPDATING"
    PARTIALLY_SUCCEEDED = "JOB_STATE_PARTIALLY_SUCCEEDED"

    @property
    def short(self) -> str:
        """The name without its prefix, such as `QUEUED`."""
        return self.removeprefix(_PREFIX)

    @property
    def final(self) -> bool:
        """Whether a job never leaves this state."""
        return self in _FINAL


_FINAL = frozenset(
    {
        State.SUCCEEDED,
        State.FAILED,
        State.CANCELLED,
        State.EXPIRED,
        State.PARTIALLY_SUCCEEDED,
    }
)


@dataclasses.dataclass(frozen=True)
class Order:
    """What a client asks for.

    Attributes:
        display_name: for people.
        model: the model's name, such as `gemini-3-pro-image`.
        input_uri: a file of requests, such as `gs://bucket/requests.jsonl`.
        output_prefix: the folder below which the job's own folder is made.
        labels: of the job.
    """

    display_name: str
    model: str
    input_uri: str
    output_prefix: str
    labels: dict[str, str]


@dataclasses.dataclass
class Job:
    """A job.

    Attributes:
        parent: `projects/PROJECT/locations/LOCATION`.
        id: 19 digits.
        order: what was asked for.
        created_at, updated_at, started_at, ended_at: seconds since 1970.
        state: now.
        successful, failed: rows finished so far.
        incomplete: rows that are never finished; None until the job ends, -1 if unknown.
        output_directory: the job's own folder, once it runs.
        error: a google.rpc.Status; of a job that failed or was cancelled.
        partial_failures: the same, of a job that succeeded in part.
    """

    parent: str
    id: str
    order: Order
    created_at: float
    updated_at: float
    state: State = State.PENDING
    started_at: float | None = None
    ended_at: float | None = None
    successful: int = 0
    failed: int = 0
    incomplete: int | None = None
    output_directory: str | None = None
    error: dict[str, Any] | None = None
    partial_failures: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """The resource name."""
        return f"{self.parent}/batchPredictionJobs/{self.id}"

    @property
    def project(self) -> str:
        """The project that the job is in."""
        return self.parent.split("/")[1]

    def enter(self, state: State) -> None:
        """Change the state, unless the job is being cancelled and the state is no final one."""
        if self.state is State.CANCELLING and not state.final:
            return
        self.state = state
        self.updated_at = rest.now()
        if state.final:
            self.ended_at = self.updated_at

    def resource(self) -> dict[str, Any]:
        """Return the job as a BatchPredictionJob in JSON, without fields that are empty."""
        times = {
            "createTime": self.created_at,
            "startTime": self.started_at,
            "endTime": self.ended_at,
            "updateTime": self.updated_at,
        }
        return {
            "name": self.name,
            "displayName": self.order.display_name,
            "model": f"publishers/google/models/{self.order.model}",
            "inputConfig": {
                "instancesFormat": "jsonl",
                "gcsSource": {"uris": [self.order.input_uri]},
            },
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {"outputUriPrefix": self.order.output_prefix},
            },
            **_filled("outputInfo", {"gcsOutputDirectory": self.output_directory}),
            "state": self.state.value,
            **({"error": self.error} if self.error else {}),
            **({"partialFailures": self.partial_failures} if self.partial_failures else {}),
            **_filled("completionStats", self._stats()),
            **{name: rest.rfc3339(time) for name, time in times.items() if time is not None},
            **({"labels": self.order.labels} if self.order.labels else {}),
            "modelVersionId": "1",
        }

    def _stats(self) -> dict[str, str | None]:
        # Proto's JSON has 64-bit integers as texts, and no zeros.
        counts = {
            "successfulCount": self.successful,
            "failedCount": self.failed,
            "incompleteCount": self.incomplete,
        }
        return {name: str(count) for name, count in counts.items() if count}

    def record(self) -> dict[str, Any]:
        """Return all that has to be kept of the job, as JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def restored(cls, record: dict[str, Any]) -> "Job":
        """Return the job that a record keeps."""
        order, state = Order(**record["order"]), State(record["state"])
        return cls(**{**record, "order": order, "state": state})


def _filled(name: str, fields: dict[str, str | None]) -> dict[str, dict[str, str]]:
    """Return a field that is an object of texts; nothing if none of them is there."""
    present = {key: value for key, value in fields.items() if value is not None}
    return {name: present} if present else {}
