"""What a submitted pipeline is refused for before anybody looks into it."""

import json

import pytest
from googleapiclient.errors import HttpError

PLACE = {"projectId": "demo-project", "location": "us-central1"}


def submission(**others):
    environment = {"sdkPipelineOptions": {"options": {"pipelineUrl": "gs://bucket/none.pb"}}}
    job = {"name": "a", "type": "JOB_TYPE_STREAMING", "environment": environment}
    return {**job, **others}


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"name": "A"}, "Invalid job name: 'A'"),
        ({"type": "JOB_TYPE_UNKNOWN"}, "expected type JOB_TYPE_STREAMING or JOB_TYPE_BATCH"),
        ({"type": 7}, "Invalid value at 'type' (TYPE_ENUM), 7"),
        ({"environment": {}}, "environment.sdkPipelineOptions.options"),
        ({"nam": "b"}, 'Unknown name "nam"'),
        ({}, "the pipeline is not at pipelineUrl 'gs://bucket/none.pb'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_submission_that_is_incomplete_is_refused_with_what_is_wrong(dataflow, others, words):
    with pytest.raises(HttpError) as caught:
        dataflow.jobs.create(**PLACE, body=submission(**others)).execute()
    error = json.loads(caught.value.content)["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert words in error["message"]
    assert dataflow.list() == {}


def test_packages_that_were_not_staged_are_named(dataflow):
    package = {"name": "sdk.tar", "location": "storage.googleapis.com/bucket/staging/sdk.tar"}
    environment = submission()["environment"] | {"workerPools": [{"packages": [package]}]}
    with pytest.raises(HttpError, match=r"package sdk\.tar is not at"):
        dataflow.jobs.create(**PLACE, body=submission(environment=environment)).execute()


def test_a_submission_cannot_replace_a_job_that_is_not_there(dataflow):
    body = submission(replaceJobId="2026-11-22_12_34_56-1")
    with pytest.raises(HttpError, match="404"):
        dataflow.jobs.create(**PLACE, body=body).execute()
