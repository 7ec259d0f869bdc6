"""A model that refuses every prompt: it is retired, or its role is taken away."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from googleapiclient.discovery import build

from beam_jobs.names import HOLDS_FOLDER
from imagen_ops.google.storage import StorageHook
from imagen_ops.health.holds import read_holds
from tests.conftest import BUCKET, Cloud, Lane, eventually
from tests.faults.books import prompt_bodies
from tests.plugins.conftest import connection

pytestmark = [
    # A minute and more each, most of it waiting for reports.
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

OLD, NEW = "gemini-3.1-flash-image", "gemini-nano-banana-2.1"


class StreamJob:
    """A stream of the Dataflow stand-in, launched and updated from its template."""

    def __init__(self, cloud: Cloud, lane: Lane, **parameters: object) -> None:
        options = ClientOptions(api_endpoint=cloud.dataflow_url)
        api = build("dataflow", "v1b3", client_options=options, cache_discovery=False)
        self._locations = api.projects().locations()
        self._lane = lane
        self._parameters = {
            "messages_subscription": lane.subscription("prompts"),
            "responses_topic": lane.topic("predictions"),
            "dead_letter_topic": lane.topic("dead-letters"),
            "images_output_location": lane.images_location,
            **{name: str(value) for name, value in parameters.items()},
        }
        self._id = self._launch()

    def _launch(self, **launch: object) -> str:
        body = {
            "jobName": self._lane.name,
            "containerSpecGcsPath": f"gs://{BUCKET}/templates/stream.json",
            "parameters": self._parameters,
            **launch,
        }
        place = {"projectId": "demo-project", "location": "us-central1"}
        launched = (
            self._locations.flexTemplates()
            .launch(**place, body={"launchParameter": body})
            .execute()
        )
        job_id = str(launched["job"]["id"])
        self._place = {**place, "jobId": job_id}
        eventually(lambda: self.state() == "JOB_STATE_RUNNING", what="a running job")
        return job_id

    def state(self) -> str:
        return str(self._locations.jobs().get(**self._place).execute()["currentState"])

    def update(self, **parameters: object) -> None:
        """Launch the job anew in place of the running one, as an operator does."""
        self._parameters |= {name: str(value) for name, value in parameters.items()}
        self._launch(update=True)

    def drain(self) -> None:
        body = {"requestedState": "JOB_STATE_DRAINED"}
        self._locations.jobs().update(**self._place, body=body).execute()
        eventually(lambda: self.state() == "JOB_STATE_DRAINED", what="the end", within_s=300)


def hold_of(lane: Lane, model: str) -> dict[str, Any] | None:
    blob = lane.storage.bucket(BUCKET).get_blob(f"{HOLDS_FOLDER}/{model}.json")
    return json.loads(blob.download_as_bytes()) if blob else None


def publish_most(lane: Lane, bodies: list[bytes]) -> list[bytes]:
    """Publish most of the prompts, and return the others, which are to meet the refusing model."""
    most = len(bodies) * 3 // 4
    lane.publish(*bodies[:most])
    return bodies[most:]


@pytest.fixture
def unheld(lane: Lane) -> Lane:
    """A lane, and no report that an earlier test left."""
    for blob in lane.storage.list_blobs(BUCKET, prefix=f"{HOLDS_FOLDER}/"):
        blob.delete()
    return lane


def test_prompts_of_a_retired_model_wait_until_the_job_is_updated(
    faults, cloud, unheld, books, paid, unanswered, monkeypatch
):
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(cloud))
    lane, bodies = unheld, prompt_bodies("retired", faults.many(2_000, least=200))
    cloud.models(latency_s=0.2)
    cloud.dataflow(updated_s=1.0)
    job = StreamJob(cloud, lane, model=OLD)
    later = publish_most(lane, bodies)
    eventually(lambda: paid() >= len(bodies) / 2, what="half of the images")
    cloud.models(retired_models=OLD)
    lane.publish(*later)
    hold = eventually(lambda: hold_of(lane, OLD), what="a report of the model")
    assert (hold["model"], hold["source"]) == (OLD, "stream")
    assert "404" in hold["detail"]
    (found,) = read_holds(StorageHook(), BUCKET, at=datetime.now(UTC))
    assert found.model == OLD
    by_old = paid()
    books.stays_as_it_is(faults.many(60, least=3))
    told = books.count()
    assert told < len(bodies)
    job.update(model=NEW)
    books.wait(bodies)
    job.drain()
    books.settle()
    twice, unsaid = paid() - len(bodies), by_old - told
    faults.row(
        "stream: the model is retired, and the job is updated to another one",
        f"{len(bodies):,} prompts: {by_old:,} images by the old model; those in bundles with "
        "prompts that waited were made again by the new one",
        **books.figures(bodies, twice, unanswered()),
    )
    assert not books.failures
    # Under the name of the other model. Nothing else is made twice.
    assert twice == unsaid
    assert books.without_image() == []


def test_a_fallback_takes_over_from_a_retired_model_without_a_pause(
    faults, cloud, unheld, books, paid, unanswered
):
    lane, bodies = unheld, prompt_bodies("fallback", faults.many(2_000, least=200))
    cloud.models(latency_s=0.2)
    billed = cloud.models()["billed_usd"]
    job = StreamJob(cloud, lane, model=OLD, fallback_models=NEW)
    later = publish_most(lane, bodies)
    eventually(lambda: paid() >= len(bodies) / 2, what="half of the images")
    cloud.models(retired_models=OLD)
    lane.publish(*later)
    books.wait(bodies, within_s=120)
    job.drain()
    books.settle()
    models = {body["model"] for body in books.messages.values()}
    assert models == {OLD, NEW}
    for body in books.messages.values():
        assert body["requested_model"] == OLD
        assert body["model_version"].startswith(body["model"])
        assert all(body["digest"] in path for path in body["images"])
    cost = sum(body["cost_usd"] for body in books.messages.values())
    assert cost == pytest.approx(cloud.models()["billed_usd"] - billed)
    twice = paid() - len(bodies)
    by_new = sum(body["model"] == NEW for body in books.messages.values())
    faults.row(
        "stream: the model is retired, and a fallback takes over",
        f"{len(bodies):,} prompts, {by_new:,} of them by the fallback",
        **books.figures(bodies, twice, unanswered()),
    )
    assert not books.failures
    assert twice == 0


def test_prompts_wait_while_a_role_is_missing_and_then_all_are_made(
    faults, cloud, unheld, books, paid, unanswered
):
    lane, bodies = unheld, prompt_bodies("role", faults.many(2_000, least=200))
    cloud.models(latency_s=0.2)
    job = StreamJob(cloud, lane, model=OLD)
    later = publish_most(lane, bodies)
    eventually(lambda: paid() >= len(bodies) / 2, what="half of the images")
    cloud.models(forbidden_models=OLD)
    lane.publish(*later)
    eventually(lambda: hold_of(lane, OLD), what="a report of the model")
    books.stays_as_it_is(faults.many(60, least=3))
    cloud.models(forbidden_models="")
    books.wait(bodies)
    eventually(lambda: hold_of(lane, OLD) is None, what="the end of the report")
    job.drain()
    books.settle()
    twice = paid() - len(bodies)
    faults.row(
        "stream: the role for the model is taken away and given back",
        f"{len(bodies):,} prompts",
        **books.figures(bodies, twice, unanswered()),
    )
    assert not books.failures
    assert twice == 0
