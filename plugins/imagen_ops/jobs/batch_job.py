"""A batch job of Vertex AI, a `BatchPredictionJob`, as the rest of `imagen_ops` sees it.

The only module that knows how the REST API (v1) represents one. It makes no calls.
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from beam_jobs.shown import shown
from imagen_ops.jobs.job import parse_api_time

_PREFIX = "JOB_STATE_"
# As much of the service's own words as a record keeps.
_ERROR_CHARS = 500


class BatchState(StrEnum):
    """Vertex AI's job states, without the prefix `JOB_STATE_`.

    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/JobState
    """

    UNSPECIFIED = "UNSPECIFIED"
    QUEUED = "QUEUED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    PAUSED = "PAUSED"
    EXPIRED = "EXPIRED"
    UPDATING = "UPDATING"
    PARTIALLY_SUCCEEDED = "PARTIALLY_SUCCEEDED"

    @classmethod
    def parse(cls, name: str | None) -> Self:
        """Return the state called `name`, with or without the prefix, or UNSPECIFIED."""
        try:
            return cls((name or "").strip().upper().removeprefix(_PREFIX))
        except ValueError:
            return cls("UNSPECIFIED")


@dataclasses.dataclass(frozen=True)
class RowCounts:
    """How many rows of a batch job have ended, as far as the service tells it.

    Attributes:
        successful: rows with a response.
        failed: rows with an error.
        incomplete: rows that have not ended.
    """

    successful: int = 0
    failed: int = 0
    incomplete: int = 0

    def __str__(self) -> str:
        return f"{self.successful:,} successful, {self.failed:,} failed, {self.incomplete:,} to go"

    @classmethod
    def from_api(cls, stats: Mapping[str, Any] | None) -> "RowCounts | None":
        """Return the counts of `completionStats`; None if the service states none."""
        if not stats:
            return None
        names = ("successfulCount", "failedCount", "incompleteCount")
        # int64 is text in JSON, and -1 means that a number is not known.
        return cls(*(max(0, int(stats.get(name) or 0)) for name in names))


@dataclasses.dataclass(frozen=True)
class BatchJob:
    """One batch job.

    Attributes:
        name: projects/PROJECT/locations/LOCATION/batchPredictionJobs/ID.
        display_name: not unique, and chosen by whoever creates it.
        state: the current state.
        error: the service's own words about why it failed or was cancelled; or empty.
        created: when it was created, in UTC; None if the service does not say.
        begun: whether it has ever been RUNNING.
        rows: how many rows have ended; None if the service does not say.
        labels: the user labels.
    """

    name: str
    display_name: str
    state: BatchState
    error: str = ""
    created: datetime | None = None
    begun: bool = False
    rows: RowCounts | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def standing(self) -> str:
        """The job's id, state and progress as a sentence, for logs."""
        return f"batch job {self.id} is {self.state}" + (f": {self.rows}" if self.rows else "")

    @classmethod
    def from_api(cls, resource: Mapping[str, Any]) -> "BatchJob":
        """Return the job that a v1 `BatchPredictionJob` resource describes.

        Raises:
            ValueError: the resource has no name.
        """
        if not resource.get("name"):
            raise ValueError(
                "expected a batch job with a name, got only the fields "
                f"{', '.join(sorted(resource))}; remove any read mask that leaves it out"
            )
        return cls(
            name=str(resource["name"]),
            display_name=str(resource.get("displayName", "")),
            state=BatchState.parse(resource.get("state")),
            error=shown(str((resource.get("error") or {}).get("message", ""))[:_ERROR_CHARS]),
            created=parse_api_time(resource.get("createTime")),
            begun=parse_api_time(resource.get("startTime")) is not None,
            rows=RowCounts.from_api(resource.get("completionStats")),
            labels={str(key): str(value) for key, value in (resource.get("labels") or {}).items()},
        )


@dataclasses.dataclass(frozen=True)
class BatchRequest:
    """A batch job to create.

    Attributes:
        display_name: for people, in the console.
        model: the id of one of Google's own models.
        requests: gs:// path of the JSON Lines file with the requests.
        output: gs:// path of the folder below which the service writes.
        labels: user labels, by which it is found again.
    """

    display_name: str
    model: str
    requests: str
    output: str
    labels: Mapping[str, str]

    def body(self) -> dict[str, Any]:
        """Return the `BatchPredictionJob` to create.

        https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-from-cloud-storage
        """
        return {
            "displayName": self.display_name,
            "model": f"publishers/google/models/{self.model}",
            "inputConfig": {
                "instancesFormat": "jsonl",
                "gcsSource": {"uris": [self.requests]},
            },
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {"outputUriPrefix": self.output},
            },
            "labels": dict(self.labels),
        }
