"""Workers of a job on the local Dataflow, which are real processes, share its rate."""

import json
import time
import urllib.request

import pytest
from google.api_core.client_options import ClientOptions
from googleapiclient.discovery import build

from beam_jobs.names import FLEETS_FOLDER
from tests.conftest import BUCKET

pytestmark = [pytest.mark.slow, pytest.mark.full]

PLACE = {"projectId": "demo-project", "location": "us-central1"}
PER_S = 4.0
# What a change of shares may take.
SETTLED_S = 30.0
MEASURED_S = 10.0


def test_two_of_eight_workers_use_the_whole_rate_and_so_does_the_one_that_is_left(
    cloud, lane, eventually
):
    cloud.models(latency_s=1.0)
    options = ClientOptions(api_endpoint=cloud.dataflow_url)
    dataflow = build("dataflow", "v1b3", client_options=options, cache_discovery=False)
    locations = dataflow.projects().locations()
    for number in range(8):
        lane.publish(*(f"fox {number}-{each}" for each in range(60)))
    launch = {
        "jobName": lane.name,
        "containerSpecGcsPath": "gs://demo-project-imagen/templates/stream.json",
        # With even parts of eight, two workers would have a quarter.
        "environment": {"numWorkers": 2, "maxWorkers": 8},
        "parameters": {
            "responses_topic": lane.topic("predictions"),
            "dead_letter_topic": lane.topic("dead-letters"),
            "images_output_location": lane.images_location,
            "messages_subscription": lane.subscription("prompts"),
            "max_requests_per_minute": str(60 * PER_S),
        },
    }
    launched = locations.flexTemplates().launch(**PLACE, body={"launchParameter": launch})
    job_id = launched.execute()["job"]["id"]

    def settles():
        within_s = SETTLED_S + MEASURED_S
        eventually(lambda: _rate_is_used(cloud), what="the rate", within_s=within_s)

    try:
        eventually(lambda: _fleet(lane) == 2, what="both workers in the fleet", within_s=90)
        settles()

        workers = f"{cloud.dataflow_url}/localcloud/jobs/{job_id}/workers"
        with urllib.request.urlopen(workers) as answer:
            first = json.load(answer)["workers"][0]["name"]
        kill = urllib.request.Request(f"{workers}/{first}/kill", method="POST")
        urllib.request.urlopen(kill).close()
        settles()
    finally:
        body = {"requestedState": "JOB_STATE_CANCELLED"}
        locations.jobs().update(**PLACE, jobId=job_id, body=body).execute()


def _fleet(lane):
    blobs = lane.storage.list_blobs(BUCKET, prefix=f"{FLEETS_FOLDER}/")
    folders = [blob for blob in blobs if blob.name.endswith("/split.json")]
    return max((json.loads(blob.download_as_bytes())["workers"] for blob in folders), default=0)


def _rate_is_used(cloud):
    before, began = cloud.models()["calls"], time.monotonic()
    time.sleep(MEASURED_S)
    rate = (cloud.models()["calls"] - before) / (time.monotonic() - began)
    return rate == pytest.approx(PER_S, rel=0.1)
