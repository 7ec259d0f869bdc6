"""What batch jobs take of a run's budget, as a Dataflow job of the run finds it."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from gcloud.aio.storage import Storage

from beam_jobs.config.budgets import Budget, Unit
from beam_jobs.engine.lease import Lease
from beam_jobs.engine.ledger import Ledger
from beam_jobs.models.base import CallError
from imagen_ops.jobs.launch_request import ledger_path
from imagen_ops.prefetch.budget_ledger import note_share
from imagen_ops.prefetch.share import BatchShare
from tests.plugins.conftest import Deployment

RUN = "manual__1"


def name_of(deployment: Deployment, *, of_money: bool) -> str:
    path = ledger_path(deployment.settings, RUN, of_money=of_money)
    return path.removeprefix(f"gs://{deployment.settings.bucket}/")


def spent_until_refused(deployment: Deployment, budget: Budget, each: int) -> int:
    """Return how often a job could pay `each` before its budget is used up."""

    async def spend() -> int:
        async with aiohttp.ClientSession() as session:
            ledger = Ledger(Storage(session=session), deployment.settings.bucket, budget.ledger)
            lease = Lease(ledger, budget, workers=1, max_in_flight=1, max_retry_s=1.0)
            times = 0
            try:
                while True:
                    await lease.spend(each)
                    times += 1
            except CallError:
                return times
            finally:
                await lease.give_back()

    return asyncio.run(spend())


@pytest.mark.parametrize("of_money", [False, True])
def test_a_job_pays_for_what_the_batch_has_left(deployment: Deployment, of_money: bool) -> None:
    note_share(deployment.settings, deployment.clients, RUN, BatchShare(7, 700_000))
    unit, each = (Unit.MICRO_USD, 100_000) if of_money else (Unit.IMAGES, 1)
    name = name_of(deployment, of_money=of_money)
    budget = Budget("--max", 10 * each, name, unit=unit)
    assert spent_until_refused(deployment, budget, each) == 3
    # What is known better later replaces it, and the job's own share stays.
    note_share(deployment.settings, deployment.clients, RUN, BatchShare(6, 600_000))
    assert spent_until_refused(deployment, budget, each) == 1


def test_what_is_no_ledger_is_not_replaced(deployment: Deployment) -> None:
    bucket = deployment.lane.storage.bucket(deployment.settings.bucket)
    blob: Any = bucket.blob(name_of(deployment, of_money=False))
    for content in ("", "[]", json.dumps({"schema": "imagen.other/1", "shares": {}})):
        blob.upload_from_string(content)
        with pytest.raises(ValueError, match="is not the ledger of a budget"):
            note_share(deployment.settings, deployment.clients, RUN, BatchShare(1, 1))
        assert blob.download_as_text() == content
