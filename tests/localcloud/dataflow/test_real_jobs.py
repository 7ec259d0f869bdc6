"""The project's own jobs on the local cloud, launched as Airflow does it.

Submitted as Beam does it they are in tests/beam_jobs/test_clean_environment.py.
"""

import datetime as dt

import pytest
from google.api_core.client_options import ClientOptions
from googleapiclient.discovery import build

pytestmark = pytest.mark.slow

PLACE = {"projectId": "demo-project", "location": "us-central1"}


class Api:
    """Both APIs, through Google's client, with credentials from the metadata server."""

    def __init__(self, cloud, eventually):
        self.cloud = cloud
        self.eventually = eventually
        options = ClientOptions(api_endpoint=cloud.dataflow_url)
        self.dataflow = build(
            "dataflow", "v1b3", client_options=options, cache_discovery=False
        ).projects()
        options = ClientOptions(api_endpoint=cloud.monitoring_url)
        self.monitoring = build("monitoring", "v3", client_options=options, cache_discovery=False)
        self.jobs = self.dataflow.locations().jobs()

    def launch(self, name, kind, parameters):
        launch = {
            "jobName": name,
            "containerSpecGcsPath": f"gs://demo-project-imagen/templates/{kind}.json",
            "parameters": parameters,
        }
        templates = self.dataflow.locations().flexTemplates()
        return templates.launch(**PLACE, body={"launchParameter": launch}).execute()["job"]["id"]

    def wait(self, job_id, *states):
        def there():
            state = self.jobs.get(**PLACE, jobId=job_id).execute()["currentState"]
            return state if state.removeprefix("JOB_STATE_") in states else None

        return self.eventually(there, what=f"state {states}")

    def request(self, job_id, state):
        body = {"requestedState": f"JOB_STATE_{state}"}
        self.jobs.update(**PLACE, jobId=job_id, body=body).execute()

    def counted(self, job_id):
        metrics = self.jobs.getMetrics(**PLACE, jobId=job_id).execute().get("metrics", [])
        return {each["name"]["name"]: each.get("scalar") for each in metrics}

    def errors(self, job_id):
        messages = self.jobs.messages().list(
            **PLACE, jobId=job_id, minimumImportance="JOB_MESSAGE_ERROR"
        )
        return [m["messageText"] for m in messages.execute().get("jobMessages", [])]

    def latest(self, metric, **labels):
        now = dt.datetime.now(dt.UTC)
        terms = [f'resource.labels.{name} = "{value}"' for name, value in labels.items()]
        series = (
            self.monitoring.projects()
            .timeSeries()
            .list(
                name="projects/demo-project",
                filter=" AND ".join([f'metric.type = "{metric}"', *terms]),
                interval_startTime=(now - dt.timedelta(minutes=5)).isoformat(),
                interval_endTime=now.isoformat(),
            )
        )
        found = series.execute().get("timeSeries", [])
        return int(found[0]["points"][0]["value"]["int64Value"]) if found else None


@pytest.fixture
def api(cloud, eventually):
    return Api(cloud, eventually)


def parameters_of(lane, **others):
    return {
        "responses_topic": lane.topic("predictions"),
        "dead_letter_topic": lane.topic("dead-letters"),
        "images_output_location": lane.images_location,
        **others,
    }


def test_a_stream_from_its_template_works_is_measured_and_drains(api, lane, eventually):
    subscription = lane.subscription("prompts")
    parameters = parameters_of(lane, messages_subscription=subscription)
    lane.publish("waits before the job runs")
    job_id = api.launch(lane.name, "stream", parameters)
    api.wait(job_id, "RUNNING")
    assert lane.predictions(1)[0]["prompt"] == "waits before the job runs"
    eventually(lambda: api.counted(job_id).get("predictions") == 1, what="the count")
    api.cloud.models(hold=True)
    lane.publish("takes its time")
    lag = "dataflow.googleapis.com/job/system_lag"
    eventually(lambda: api.latest(lag, job_name=lane.name), what="a lag of a second")
    undelivered = "pubsub.googleapis.com/subscription/num_undelivered_messages"
    assert api.latest(undelivered, subscription_id=subscription.rpartition("/")[2]) == 1
    assert api.latest("dataflow.googleapis.com/job/is_failed", job_name=lane.name) == 0
    api.request(job_id, "DRAINED")
    api.cloud.models(hold=False)
    api.wait(job_id, "DRAINED")
    assert lane.predictions(1)[0]["prompt"] == "takes its time"
    assert lane.nothing_left("prompts")
    assert api.counted(job_id)["predictions"] == 2


def test_a_backfill_from_its_template_is_done(api, lane):
    prompts = lane.put("prompts.txt", "a fox\na heron\n")
    parameters = parameters_of(lane, prompts=prompts, source="backfill:test")
    job_id = api.launch(lane.name, "backfill", parameters)
    api.wait(job_id, "DONE")
    assert {p["prompt"] for p in lane.predictions(2)} == {"a fox", "a heron"}


def test_a_job_with_missing_prompt_files_fails_and_says_why(api, lane):
    parameters = parameters_of(lane, prompts="gs://demo-project-imagen/none/*.txt")
    job_id = api.launch(lane.name, "backfill", parameters)
    api.wait(job_id, "FAILED")
    assert any("none/*.txt does not exist" in text for text in api.errors(job_id))
    assert api.latest("dataflow.googleapis.com/job/is_failed", job_name=lane.name) == 1
