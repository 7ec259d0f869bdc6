"""A job's life: states, early ends, limits, and what the service agent may not do."""

import json
import re

import pytest

from tests.conftest import eventually
from tests.localcloud.vertex.batch.conftest import BUCKET, INPUT, OUTPUT, PARENT, Services, row

EIGHT = [row(f"A fox {n}", n) for n in range(8)]


def test_a_job_waits_then_runs_then_has_succeeded(services: Services):
    services.put(EIGHT)
    services.set(kept_in="RUNNING", pending_s=0.2)
    created = services.call(
        "POST",
        f"{PARENT}/batchPredictionJobs",
        {
            "displayName": "night",
            "model": "publishers/google/models/gemini-3-pro-image",
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [INPUT]}},
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {"outputUriPrefix": f"{OUTPUT}/"},
            },
            "labels": {"run": "r1"},
        },
    )
    assert created["state"] == "JOB_STATE_PENDING"
    assert created["labels"] == {"run": "r1"}
    assert not {"startTime", "endTime", "completionStats", "outputInfo", "error"} & set(created)
    running = services.reached(created["name"], "JOB_STATE_RUNNING")
    assert running["createTime"] < running["startTime"]
    services.set(kept_in="")
    ended = services.ended(created["name"])
    assert ended["state"] == "JOB_STATE_SUCCEEDED"
    assert ended["startTime"] < ended["endTime"] == ended["updateTime"]
    folder = ended["outputInfo"]["gcsOutputDirectory"]
    assert folder.startswith(f"{OUTPUT}/prediction-model-20")
    assert ended["createTime"] not in folder, "it is close to that, and not the same"


@pytest.mark.parametrize("state", ["QUEUED", "PENDING"])
def test_a_job_can_be_kept_before_it_begins(services: Services, state):
    services.put(EIGHT)
    services.set(kept_in=state)
    name = services.create()
    job = services.reached(name, f"JOB_STATE_{state}")
    assert "outputInfo" not in job
    services.set(kept_in="")
    assert services.ended(name)["completionStats"] == {"successfulCount": "8"}


@pytest.mark.parametrize("state", ["RUNNING", "PAUSED", "UPDATING"])
def test_a_job_can_be_kept_halfway(services: Services, state):
    services.put(EIGHT)
    services.set(kept_in=state)
    name = services.create()

    def halfway():
        job = services.reached(name, f"JOB_STATE_{state}")
        return job.get("completionStats") == {"successfulCount": "4"}

    eventually(halfway, within_s=60)
    services.set(kept_in="")
    assert services.ended(name)["completionStats"] == {"successfulCount": "8"}


@pytest.mark.parametrize("state", ["EXPIRED", "CANCELLED", "FAILED", "PARTIALLY_SUCCEEDED"])
def test_a_job_that_ends_early_exports_what_was_finished_and_bills_that_alone(
    services: Services, state
):
    before = services.set()
    job = services.run(EIGHT, end_in=state, end_after=0.25)
    assert job["state"] == f"JOB_STATE_{state}"
    assert len(services.rows(job)) == 2
    assert job["completionStats"] == {"successfulCount": "2", "incompleteCount": "6"}
    assert ("error" in job) is (state in ("FAILED", "CANCELLED"))
    counts = services.set()
    assert counts["rows"] - before["rows"] == counts["images"] - before["images"] == 2
    assert 0 < counts["billed_usd"] - before["billed_usd"] < 0.04


def test_a_job_can_expire_before_it_begins(services: Services):
    job = services.run(EIGHT, end_in="EXPIRED", end_after=0)
    assert job["state"] == "JOB_STATE_EXPIRED"
    assert not {"startTime", "outputInfo", "error"} & set(job)
    assert job["completionStats"] == {"incompleteCount": "-1"}, "nobody has counted the rows"


@pytest.mark.parametrize("kept", ["QUEUED", "RUNNING", "PAUSED"])
def test_a_job_is_cancelled_wherever_it_is(services: Services, kept):
    services.put(EIGHT)
    services.set(kept_in=kept)
    name = services.create()
    services.reached(name, f"JOB_STATE_{kept}")
    services.call("POST", f"{name}:cancel", {})
    job = services.ended(name)
    assert job["state"] == "JOB_STATE_CANCELLED"
    assert job["error"]["code"] == 1
    if "outputInfo" in job:
        assert len(services.lines(job)) == int(job["completionStats"].get("successfulCount", 0))


def test_output_is_sharded_and_one_file_has_no_number(services: Services):
    files = services.files(services.run(EIGHT, shard_rows=3))
    assert {name: len(lines) for name, lines in files.items()} == {
        "predictions_0001.jsonl": 3,
        "predictions_0002.jsonl": 3,
        "predictions_0003.jsonl": 2,
    }
    assert list(services.files(services.run(EIGHT, shard_rows=8))) == ["predictions.jsonl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no requests"),
        (b'{"request": {}}\n{broken\n', "Failed to import data. .*line 2: Syntax error"),
        (b'{"prompt": "A fox"}\n', "line 1: there is no request"),
        (b'{"request": "A fox"}\n', "line 1: request is no object"),
        (b"[]\n", "line 1: there is no request"),
    ],
)
def test_an_input_that_is_no_requests_fails_the_job(services: Services, content, message):
    job = services.run(content)
    assert job["state"] == "JOB_STATE_FAILED"
    assert job["error"]["code"] == 3
    assert job["completionStats"] == {"incompleteCount": "-1"}
    assert re.search(message, job["error"]["message"])


def test_an_input_that_is_not_there_fails_the_job(services: Services):
    services.objects.blob("batch/in.jsonl").delete()
    job = services.ended(services.create())
    assert job["error"] == {"code": 5, "message": f"No such object: {INPUT}"}


def test_an_input_has_a_maximum_of_requests_and_of_bytes(services: Services):
    job = services.run(EIGHT, max_requests=7)
    assert "has more than 7 requests" in job["error"]["message"]
    job = services.run(EIGHT, max_requests=8, max_file_bytes=100)
    assert "the maximum is 100" in job["error"]["message"]
    assert services.run(EIGHT, max_file_bytes=10**6)["state"] == "JOB_STATE_SUCCEEDED"


def test_blank_lines_are_no_requests(services: Services):
    lines = [json.dumps(each).encode() for each in EIGHT[:2]]
    job = services.run(b"\n".join([b"", *lines, b"", b""]))
    assert job["completionStats"] == {"successfulCount": "2"}


@pytest.mark.parametrize(
    ("setting", "permission"),
    [("agent_reads", "storage.objects.get"), ("agent_writes", "storage.objects.create")],
)
def test_a_job_fails_where_the_service_agent_has_no_permission(
    services: Services, setting, permission
):
    job = services.run(EIGHT, **{setting: False})
    assert job["state"] == "JOB_STATE_FAILED"
    assert job["error"]["code"] == 7
    assert f"does not have {permission} access" in job["error"]["message"]
    assert "@gcp-sa-aiplatform.iam.gserviceaccount.com" in job["error"]["message"]
    if setting == "agent_writes":
        assert services.lines(job) == []


def test_jobs_run_side_by_side(services: Services):
    services.put(EIGHT)
    services.set(kept_in="PAUSED")
    names = [services.create(displayName=f"night {n}") for n in range(3)]
    for name in names:
        services.reached(name, "JOB_STATE_PAUSED")
    services.set(kept_in="")
    folders = {services.ended(name)["outputInfo"]["gcsOutputDirectory"] for name in names}
    assert len(folders) == 3
    blobs = services.objects.list_blobs(prefix=f"{OUTPUT.removeprefix(f'gs://{BUCKET}/')}/")
    assert {f"gs://{BUCKET}/{blob.name.rpartition('/')[0]}" for blob in blobs} >= folders
