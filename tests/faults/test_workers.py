"""A job with three workers on the local Dataflow, one of which is killed at work."""

import json
import urllib.request

import pytest

from beam_jobs.engine.image_maker import ROOM_OVER_IN_FLIGHT
from tests.conftest import eventually
from tests.faults.books import prompt_bodies

pytestmark = [
    pytest.mark.full,  # five processes that import Beam; bundles and pools have their own tests
    pytest.mark.timeout(1800),
]

PLACE = "/v1b3/projects/demo-project/locations/us-central1"
TEMPLATES = "gs://demo-project-imagen/templates"
IN_FLIGHT = 16
# With those whose images are on their way to storage.
UNDER_WAY = int(IN_FLIGHT * ROOM_OVER_IN_FLIGHT) + 1


class DataflowJob:
    """A job, through Dataflow's API and the local cloud's own routes."""

    def __init__(self, cloud, lane, kind, **parameters):
        self._url = cloud.dataflow_url
        self._lane = lane
        launch = {
            "jobName": lane.name,
            "containerSpecGcsPath": f"{TEMPLATES}/{kind}.json",
            "environment": {"numWorkers": 3, "maxWorkers": 4},
            "parameters": {
                "responses_topic": lane.topic("predictions"),
                "dead_letter_topic": lane.topic("dead-letters"),
                "images_output_location": lane.images_location,
                "max_in_flight": str(IN_FLIGHT),
                **parameters,
            },
        }
        body = {"launchParameter": launch}
        self.id = self._call("POST", f"{PLACE}/flexTemplates:launch", body)["job"]["id"]
        self._workers = f"/localcloud/jobs/{self.id}/workers"

    def state(self):
        return self._call("GET", f"{PLACE}/jobs/{self.id}")["currentState"][10:]

    def wait(self, state):
        def there():
            now = self.state()
            if now != state and now in ("FAILED", "CANCELLED", "DONE", "DRAINED"):
                pytest.fail(f"expected {state}, got {now}: {self.messages()}")
            return now == state

        eventually(there, within_s=600, what=state)

    def request(self, state):
        self._call("PUT", f"{PLACE}/jobs/{self.id}", {"requestedState": f"JOB_STATE_{state}"})

    def messages(self):
        found = self._call("GET", f"{PLACE}/jobs/{self.id}/messages")
        return [message["messageText"] for message in found.get("jobMessages", ())]

    def counted(self):
        metrics = self._call("GET", f"{PLACE}/jobs/{self.id}/metrics").get("metrics", ())
        return {each["name"]["name"]: each.get("scalar") for each in metrics}

    def workers(self):
        return self._call("GET", self._workers)["workers"]

    def add(self):
        self._call("POST", self._workers)

    def kill(self, worker):
        self._call("POST", f"{self._workers}/{worker['name']}/kill")

    def _call(self, method, path, body=None):
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json", "Authorization": "Bearer test"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


@pytest.mark.parametrize("kind", ["stream", "backfill"])
def test_a_worker_that_is_killed_is_replaced_and_no_prompt_is_lost(
    kind, faults, cloud, lane, books, paid, unanswered
):
    bodies = prompt_bodies("shared", faults.many(3000, least=200))
    cloud.models(latency_s=0.2)
    if kind == "stream":
        lane.publish(*bodies)
        given = {"messages_subscription": lane.subscription("prompts")}
    else:
        report = f"gs://demo-project-imagen/{lane.name}/report.json"
        given = {"prompts": lane.put("rows.jsonl", b"\n".join(bodies)), "report": report}
    job = DataflowJob(cloud, lane, kind, **given)
    job.wait("RUNNING")
    eventually(lambda: paid() >= len(bodies) // 5, within_s=300, what="a fifth of the images")
    in_flight = cloud.models()["in_flight"]
    dead = job.workers()[0]
    job.kill(dead)
    job.add()
    books.wait(bodies)
    if kind == "stream":
        eventually(lambda: len(job.workers()) == 4, what="four workers")
        job.request("DRAINED")
        job.wait("DRAINED")
        assert lane.nothing_left("prompts")
    else:
        job.wait("DONE")
        written = json.loads(lane.objects()["report.json"])
        assert (written["prompts"], written["predictions"]) == (len(bodies), len(bodies))
        assert job.counted()["prompts"] == len(bodies), "a bundle counts once"
    books.settle()
    assert any(dead["name"] in text and "is replaced" in text for text in job.messages())
    twice = paid() - len(bodies)
    faults.row(
        f"{kind}: one of its three workers is killed, and a fourth is added",
        f"{len(bodies):,} prompts; {in_flight} calls in flight at the kill",
        **books.figures(bodies, twice, unanswered()),
    )
    assert not books.failures
    assert 0 <= twice + unanswered() <= UNDER_WAY
    assert books.without_image() == []
