import json

import pytest

from imagen_ops.jobs.batch_job import BatchJob, BatchRequest, BatchState, RowCounts

NAME = "projects/p/locations/global/batchPredictionJobs/7"


def test_every_state_of_the_service_is_known() -> None:
    """As the installed description of the API lists them."""
    from googleapiclient.discovery_cache import get_static_doc

    schemas = json.loads(get_static_doc("aiplatform", "v1") or "")["schemas"]
    states = schemas["GoogleCloudAiplatformV1BatchPredictionJob"]["properties"]["state"]["enum"]
    assert {f"JOB_STATE_{state}" for state in BatchState} == set(states)


@pytest.mark.parametrize("name", ["JOB_STATE_RUNNING", "RUNNING", " running "])
def test_a_state_is_read_with_and_without_its_prefix(name: str) -> None:
    assert BatchState.parse(name) is BatchState.RUNNING


@pytest.mark.parametrize("name", [None, "", "JOB_STATE_NEW_IN_2027"])
def test_a_state_that_nobody_knows_is_unspecified(name: str | None) -> None:
    assert BatchState.parse(name) is BatchState.UNSPECIFIED


def test_a_job_has_what_the_service_says_of_it() -> None:
    job = BatchJob.from_api(
        {
            "name": NAME,
            "displayName": "imagen-prefetch-1",
            "state": "JOB_STATE_PARTIALLY_SUCCEEDED",
            "createTime": "2026-11-22T01:02:03.123456789Z",
            "startTime": "2026-11-22T02:02:03Z",
            "completionStats": {"successfulCount": "12", "failedCount": "3"},
            "labels": {"imagen-run": "abc"},
        }
    )
    assert job.id == "7"
    assert job.begun
    assert job.rows == RowCounts(successful=12, failed=3)
    assert job.labels == {"imagen-run": "abc"}
    assert job.standing == ("batch job 7 is PARTIALLY_SUCCEEDED: 12 successful, 3 failed, 0 to go")


def test_a_job_that_has_just_been_created_has_no_counts_yet() -> None:
    job = BatchJob.from_api({"name": NAME, "state": "JOB_STATE_PENDING"})
    assert (job.rows, job.begun, job.error, job.created) == (None, False, "", None)
    assert job.standing == "batch job 7 is PENDING"


def test_a_count_that_the_service_does_not_know_is_not_negative() -> None:
    stats = {"successfulCount": "1", "incompleteCount": "-1"}
    assert RowCounts.from_api(stats) == RowCounts(successful=1)


def test_an_error_stays_on_one_line_and_short() -> None:
    job = BatchJob.from_api({"name": NAME, "error": {"message": "no\nrights " + "x" * 10_000}})
    assert "\n" not in job.error
    assert job.error.startswith("no")
    assert len(job.error) < 600


def test_a_resource_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a batch job with a name, got only .* state"):
        BatchJob.from_api({"state": "JOB_STATE_PENDING"})


def test_a_request_says_what_to_read_and_where_to_write() -> None:
    request = BatchRequest(
        display_name="d",
        model="gemini-3.1-flash-image",
        requests="gs://b/prefetch/1/requests.jsonl",
        output="gs://b/prefetch/1/output",
        labels={"imagen-run": "1"},
    )
    body = request.body()
    assert body["model"] == "publishers/google/models/gemini-3.1-flash-image"
    assert body["inputConfig"]["gcsSource"] == {"uris": ["gs://b/prefetch/1/requests.jsonl"]}
    assert body["outputConfig"]["gcsDestination"] == {"outputUriPrefix": "gs://b/prefetch/1/output"}
    assert body["labels"] == {"imagen-run": "1"}
