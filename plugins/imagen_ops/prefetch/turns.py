"""Which run is ahead of which: the runs of a deployment that prefetches take numbers.

What batch inference makes is paid for hours before it is in the store, and no claim lasts so long.
So two runs over the same files would each pay for the same images. A run takes a number before it
orders or launches anything, and looks which other numbers there are only then. Of two at the same
moment, at least one sees the other, and both agree on who was first: Cloud Storage dates numbers.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from beam_jobs.names import TURNS_FOLDER
from imagen_ops.google.rest import explained
from imagen_ops.records.patience import storage_patience
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

    from imagen_ops.google.clients import Clients

# Longer than a run lasts: the DAG's `dagrun_timeout`.
_OLDEST = timedelta(days=14)


class Turn(BaseModel):
    """A run's number.

    Attributes:
        run_id: Airflow's id of the run.
        run_label: the label value of the run.
        bucket: of its prompt files.
        orders: whether the run may order from batch inference.
        began: when the run began, in UTC. Clearing a run that has ended sets that anew.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    run_label: str
    bucket: str
    orders: bool
    began: datetime


class Turns:
    """The numbers of a deployment's runs.

    Args:
        settings: of the deployment.
        clients: to reach Cloud Storage.
    """

    def __init__(self, settings: Settings, clients: "Clients") -> None:
        self._bucket = settings.bucket
        self._clients = clients

    def ahead_of(self, turn: Turn) -> list[Turn]:
        """Take a number, unless the run has one since it began; return the runs ahead of it.

        They may have ended. A number without meaning is nobody's.

        Args:
            turn: of the run. If it has a number, that says whether it orders.

        Raises:
            ApiError: Cloud Storage refuses or does not answer.
        """
        with explained(f"taking a number below gs://{self._bucket}/{TURNS_FOLDER}"):
            client: Client = self._clients.storage.client()
            mine = self._taken(client, turn)
            found = [
                (blob.time_created, blob.name, blob)
                for blob in client.list_blobs(
                    self._bucket, prefix=f"{TURNS_FOLDER}/", **storage_patience()
                )
            ]
            oldest = datetime.now(UTC) - _OLDEST
            before = [
                blob
                for at, name, blob in sorted(found, key=lambda each: each[:2])
                if oldest < at and (at, name) < (mine.time_created, mine.name)
            ]
            return list(_parsed(before))

    def _taken(self, client: "Client", turn: Turn) -> "Blob":
        """Return the run's number, with the date that Cloud Storage gives it."""
        blob = client.bucket(self._bucket).blob(f"{TURNS_FOLDER}/{turn.run_label}.json")
        known = next(_parsed([blob]), None)
        if known is None or known.began != turn.began:
            # Two tasks of one run never do so at once: a number may replace the run's own.
            blob.upload_from_string(
                turn.model_dump_json(), content_type="application/json", **storage_patience()
            )
        blob.reload(**storage_patience())
        return blob


def _parsed(blobs: "Iterable[Blob]") -> Iterator[Turn]:
    from google.api_core.exceptions import NotFound

    for blob in blobs:
        try:
            yield Turn.model_validate_json(blob.download_as_bytes(**storage_patience()))
        except (NotFound, ValidationError):
            continue
