"""Writes what batch jobs take of a run's budget into the ledgers that its Dataflow jobs keep."""

import functools
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from beam_jobs.names import LEDGER_SCHEMA
from imagen_ops.google.rest import explained
from imagen_ops.jobs.launch_request import ledger_path
from imagen_ops.prefetch.share import BATCH_SHARE, BatchShare
from imagen_ops.records.shared_object import SharedObject
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.google.clients import Clients


def note_share(settings: Settings, clients: "Clients", run_id: str, share: BatchShare) -> None:
    """Write down what the batch jobs of a run have taken of its budget.

    It replaces what was written before. Jobs that are launched later find it and pay for as much
    less.

    Args:
        settings: of the deployment.
        clients: to reach Cloud Storage.
        run_id: Airflow's id of the run.
        share: what they have taken, over all parts.

    Raises:
        ApiError: Cloud Storage refuses, or does not answer.
        ValueError: one of the ledgers is something else.
    """
    for of_money, amount in ((False, share.images), (True, share.micro_usd)):
        path = ledger_path(settings, run_id, of_money=of_money)
        bucket, _, name = path.removeprefix("gs://").partition("/")
        ledger = SharedObject(clients.storage.client().bucket(bucket), name)
        with explained(f"writing the batch jobs' share into {path}"):
            ledger.change(functools.partial(_with_share, amount=amount, path=path))


def _with_share(was: bytes | None, *, amount: int, path: str) -> bytes:
    """Return a ledger with the batch jobs' share; the first Dataflow job adds its budget."""
    ledger: dict[str, Any] = {"schema": LEDGER_SCHEMA, "shares": {}}
    if was is not None:
        try:
            ledger = json.loads(was)
            known = ledger["schema"] == LEDGER_SCHEMA and isinstance(ledger["shares"], dict)
        except (ValueError, LookupError, TypeError):
            known = False
        if not known:
            raise ValueError(
                f"{path} is not the ledger of a budget: expected an {LEDGER_SCHEMA}. Delete it to "
                "start the run's budget anew, then clear this task"
            )
    ledger["shares"][BATCH_SHARE] = {"leased": amount, "spent": amount}
    ledger["written_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps(ledger, indent=1).encode()
