"""What these DAGs have launched, remembered in the bucket: one small object per job name.

A listing of Dataflow's jobs doesn't show a new job at once, while `jobs.get` of its id does (see
googleapis/google-cloud-node issue 4827). So every launch leaves its job's id here, where a retry, a
drain and the health check find it. A launch is also noted before it is requested: if its task dies
before the answer comes, others know for a while that a job may appear.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from imagen_ops.records.folders import LAUNCH_RECORDS
from imagen_ops.records.patience import storage_patience
from imagen_ops.records.shared_object import SharedObject

if TYPE_CHECKING:
    from google.cloud.storage import Client

SCHEMA = "imagen.launches/1"
# A name has one active job, or two during an update. The others tell people what was before.
_MAX_JOBS = 10
# A launch whose answer never came: after this long, a listing shows the job if there is one. A task
# that launches is ended by its execution timeout, 10 minutes, at the latest.
UNDER_WAY_FOR = timedelta(minutes=15)


@dataclasses.dataclass(frozen=True)
class Drain:
    """A request to drain the stream: when, and by which DAG run and user."""

    at: datetime
    by: str


@dataclasses.dataclass(frozen=True)
class Remembered:
    """What is remembered of one job name.

    Attributes:
        job_ids: the ids of the jobs that were launched, the newest first.
        under_way: by the label of the DAG run, when a launch was requested whose answer is unknown.
        drain: the last request to drain the jobs of this name.
    """

    job_ids: tuple[str, ...] = ()
    under_way: Mapping[str, datetime] = dataclasses.field(default_factory=dict, hash=False)
    drain: Drain | None = None

    def launch_under_way(self, at: datetime) -> bool:
        """Return whether a job may still appear that no id is known of."""
        return any(at - begun < UNDER_WAY_FOR for begun in self.under_way.values())

    def with_job(self, job_id: str, run_label: str) -> "Remembered":
        """Return this with the job that a run's launch has led to."""
        ids = (job_id, *(each for each in self.job_ids if each != job_id))
        return dataclasses.replace(self.without(run_label), job_ids=ids[:_MAX_JOBS])

    def without(self, run_label: str) -> "Remembered":
        """Return this without the launch of that run."""
        rest = {run: begun for run, begun in self.under_way.items() if run != run_label}
        return dataclasses.replace(self, under_way=rest)

    def with_launch(self, run_label: str, at: datetime) -> "Remembered":
        """Return this with a launch that begins now. Those whose time is over are forgotten."""
        recent = {r: begun for r, begun in self.under_way.items() if at - begun < UNDER_WAY_FOR}
        return dataclasses.replace(self, under_way={**recent, run_label: at})

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return {
            "schema": SCHEMA,
            "job_ids": list(self.job_ids),
            "under_way": {run: begun.isoformat() for run, begun in self.under_way.items()},
            "drain": self.drain and {"at": self.drain.at.isoformat(), "by": self.drain.by},
        }

    @classmethod
    def from_json(cls, content: bytes) -> "Remembered":
        """Read what `to_json` returned. What is not readable was not written here: nothing."""
        try:
            record = json.loads(content)
            drain = record["drain"]
            return cls(
                tuple(str(job_id) for job_id in record["job_ids"]),
                {
                    str(run): datetime.fromisoformat(at).astimezone(UTC)
                    for run, at in record["under_way"].items()
                },
                drain and Drain(datetime.fromisoformat(drain["at"]), str(drain["by"])),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls()


class Launches:
    """The launches of a deployment. Google's exceptions pass through.

    Args:
        client: must be allowed to read, list and write objects under `records/launches`.
        bucket: the name, without gs://.
    """

    def __init__(self, client: "Client", bucket: str) -> None:
        self._bucket = client.bucket(bucket)

    def read(self, name: str) -> Remembered:
        """Return what is remembered of a job name."""
        return Remembered.from_json(self._object(name).read() or b"")

    def begin(self, name: str, run_label: str) -> None:
        """Note that a run is about to launch a job of that name."""
        at = datetime.now(UTC)
        self._change(name, lambda was: was.with_launch(run_label, at))

    def launched(self, name: str, run_label: str, job_id: str) -> None:
        """Note the job that a launch has led to."""
        self._change(name, lambda was: was.with_job(job_id, run_label))

    def refused(self, name: str, run_label: str) -> None:
        """Note that a run's launch has led to no job."""
        self._change(name, lambda was: was.without(run_label))

    def drained(self, name: str, drain: Drain) -> None:
        """Note a request to drain the jobs of that name."""
        self._change(name, lambda was: dataclasses.replace(was, drain=drain))

    def names_since(self, prefix: str, at: datetime) -> list[str]:
        """Return the job names that begin with `prefix` and were launched since then."""
        blobs = self._bucket.list_blobs(
            prefix=f"{LAUNCH_RECORDS}/{prefix}",
            fields="items(name,updated),nextPageToken",
            **storage_patience(),
        )
        recent = [blob.name for blob in blobs if blob.updated and blob.updated >= at]
        return [name.rpartition("/")[2].removesuffix(".json") for name in recent]

    def _object(self, name: str) -> SharedObject:
        return SharedObject(self._bucket, f"{LAUNCH_RECORDS}/{name}.json")

    def _change(self, name: str, change: Callable[[Remembered], Remembered]) -> None:
        self._object(name).change(
            lambda was: json.dumps(change(Remembered.from_json(was or b"")).to_json()).encode()
        )
