"""The ledger of a budget: a small object in Cloud Storage that all workers of a job share.

It says how much each worker process may pay for, in the budget's unit. A process changes only its
own share, and only with a precondition on what it has read, so that no two can take the same. The
shares are absolute numbers: a write that is repeated, or that arrives late, never adds up.
"""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from gcloud.aio.storage import Storage

from beam_jobs.config.budgets import Budget
from beam_jobs.engine.spending_log import SpendingLogs
from beam_jobs.images.answers import is_resource, shortened
from beam_jobs.images.requests import REQUEST_TIMEOUT_S, StoreError, answer_of, upload_if
from beam_jobs.names import LEDGER_SCHEMA


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """What one worker process has of a budget.

    Args:
        leased: how much it may pay for, over its whole life.
        spent: how much of that it had paid for, or was about to, when it wrote this.
    """

    leased: int
    spent: int


@dataclasses.dataclass(frozen=True, slots=True)
class Shares:
    """The content of a ledger.

    Args:
        by_worker: the share of each worker process, those that have ended included.
        written_at: when it was written, by the writer's clock; None for a ledger not yet written.
        generation: of the object; 0 if there is none.
    """

    by_worker: Mapping[str, Share] = dataclasses.field(default_factory=dict)
    written_at: datetime | None = None
    generation: int = 0

    def leased_by_others(self, worker: str) -> int:
        """Return how much all workers but one may pay for."""
        return sum(share.leased for name, share in self.by_worker.items() if name != worker)

    def to_json(self, budget: Budget) -> bytes:
        """Return the object's content: the shares, and for people what they are of."""
        content = {
            "schema": LEDGER_SCHEMA,
            "option": budget.option,
            budget.unit.value: budget.amount,
            "written_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "shares": {name: dataclasses.asdict(share) for name, share in self.by_worker.items()},
        }
        return json.dumps(content, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, generation: int) -> "Shares":
        """Return what `to_json` wrote.

        Raises:
            ValueError: `content` is something else.
        """
        try:
            fields = json.loads(content)
            if fields["schema"] != LEDGER_SCHEMA:
                expected = f"expected the schema {LEDGER_SCHEMA}"
                raise ValueError(f"{expected}, got {fields['schema']!r:.50}")
            shares = {
                str(name): Share(int(share["leased"]), int(share["spent"]))
                for name, share in fields["shares"].items()
            }
            written_at = datetime.fromisoformat(fields["written_at"]).astimezone(UTC)
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        return cls(shares, written_at, generation)


class Ledger:
    """One ledger. Use it from one event loop only.

    Args:
        storage: sends the requests.
        bucket: where it is.
        name: of the object.
    """

    def __init__(self, storage: Storage, bucket: str, name: str) -> None:
        self._storage = storage
        self._bucket = bucket
        self._name = name
        # What each worker has spent, beside what it has leased.
        self.logs = SpendingLogs(storage, bucket, name)

    @property
    def url(self) -> str:
        """Its gs:// path."""
        return f"gs://{self._bucket}/{self._name}"

    async def read(self) -> Shares:
        """Return what is written; no shares if there is no ledger yet.

        Raises:
            StoreError: it cannot be read, or is no ledger.
        """
        try:
            found = await answer_of(
                self._storage.download_metadata(
                    self._bucket, self._name, timeout=REQUEST_TIMEOUT_S
                ),
                self._bucket,
                paid=True,
            )
        except StoreError as error:
            if error.status == 404:  # if it is the bucket that is missing, `write` says so
                return Shares()
            raise
        if not is_resource(found, self._name):
            raise StoreError(
                f"storage answered for {self.url} with another object: {shortened(found)}",
                transient=True,
            )
        # If it is replaced between the two requests, the generation no longer matches at a write.
        content = await answer_of(
            self._storage.download(self._bucket, self._name, timeout=REQUEST_TIMEOUT_S),
            self._bucket,
            paid=True,
        )
        try:
            return Shares.from_json(content, int(found["generation"]))
        except (ValueError, LookupError) as error:
            raise StoreError(
                f"{self.url} is not the ledger of a budget ({error}), so nothing is paid for; "
                "delete it to start the budget anew, then replay the prompt",
                transient=False,
            ) from error

    async def write(self, shares: Shares, content: bytes) -> bool:
        """Replace what was read as `shares`; return False if somebody else has replaced it.

        Raises:
            StoreError: it was not written, or it is not known whether it was.
        """
        stored = await upload_if(
            self._storage,
            self._bucket,
            self._name,
            content,
            generation=str(shares.generation),
            content_type="application/json",
            paid=True,
        )
        return stored is not None
