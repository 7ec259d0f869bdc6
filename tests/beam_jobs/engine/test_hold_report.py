"""What workers say in the bucket of models that refuse every prompt."""

import datetime
import json
import time

import pytest

from beam_jobs.engine.hold_report import HoldReport
from beam_jobs.engine.model_gate import Hold
from beam_jobs.names import HOLD_SCHEMA, HOLDS_FOLDER
from tests.conftest import BUCKET

pytestmark = pytest.mark.asyncio


def hold(model):
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    return Hold(model, since, time.monotonic() - 300, "model answered 404: gone")


@pytest.fixture
def worker(session):
    """A worker's report, and the list of holds that it reports."""

    def make():
        holds = []
        return HoldReport(session, BUCKET, "stream", lambda: holds), holds

    return make


@pytest.fixture
def said(lane):
    def read(model):
        blob = lane.storage.bucket(BUCKET).get_blob(f"{HOLDS_FOLDER}/{model}.json")
        return json.loads(blob.download_as_bytes()) if blob else None

    return read


async def test_a_hold_is_an_object_until_its_end(worker, said, lane):
    report, holds = worker()
    model = f"gemini-{lane.name}"
    holds.append(hold(model))
    await report.report()
    content = said(model)
    assert (content["schema"], content["model"], content["source"]) == (
        HOLD_SCHEMA,
        model,
        "stream",
    )
    assert content["detail"] == "model answered 404: gone"
    at, since = (datetime.datetime.fromisoformat(content[name]) for name in ("at", "since"))
    assert 299 <= (at - since).total_seconds() <= 330
    holds.clear()
    await report.report()
    assert said(model) is None


async def test_a_worker_whose_object_another_one_has_removed_goes_on_to_report(worker, said, lane):
    (first, of_first), (second, of_second) = worker(), worker()
    model, other = f"gemini-{lane.name}", f"gemini-{lane.name}-other"
    of_first.append(hold(model))
    of_second.append(hold(model))
    await first.report()
    await second.report()
    of_first.clear()
    await first.report()
    of_second[:] = [hold(other)]
    await second.report()
    assert said(model) is None
    assert said(other)
