"""The lifecycle of a launched job, and how the API shows it."""

import json
import os
import signal
import time
import urllib.error
import urllib.request

import pytest
from googleapiclient.errors import HttpError

from localcloud.dataflow import job_lifecycle

pytestmark = pytest.mark.slow

PLACE = {"projectId": "demo-project", "location": "us-central1"}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def refusal(call, *args, **kwargs) -> tuple[int, str, str]:
    with pytest.raises(HttpError) as caught:
        call(*args, **kwargs)
    error = json.loads(caught.value.content)["error"]
    return error["code"], error["status"], error["message"]


def test_a_drained_stream_finishes_and_ends_drained(dataflow, tmp_path):
    finished = tmp_path / "finished"
    job_id = dataflow.running(parameters={"drains_until": str(finished)})
    pid = dataflow.pid(job_id)
    assert dataflow.request(job_id, "DRAINED")["currentState"] == "JOB_STATE_DRAINING"
    assert dataflow.request(job_id, "DRAINED")["requestedState"] == "JOB_STATE_DRAINED"
    finished.touch()
    dataflow.wait(job_id, "DRAINED")
    assert not alive(pid)
    assert dataflow.file(job_id, "log").read_text().count("asked to end") == 1


def test_a_drain_that_ends_badly_is_a_failure(dataflow):
    job_id = dataflow.running(parameters={"exit": "4"})
    dataflow.request(job_id, "DRAINED")
    dataflow.wait(job_id, "FAILED")


@pytest.mark.parametrize("kind", ["stream", "backfill"])
def test_a_cancelled_job_ends_cancelled(dataflow, kind):
    job_id = dataflow.running(kind=kind)
    pid = dataflow.pid(job_id)
    assert dataflow.request(job_id, "CANCELLED")["currentState"] == "JOB_STATE_CANCELLING"
    dataflow.wait(job_id, "CANCELLED")
    assert not alive(pid)


def test_a_job_that_ignores_signals_is_killed_when_it_is_cancelled(dataflow, monkeypatch):
    monkeypatch.setattr(job_lifecycle, "_CANCEL_GRACE_S", 0.3)
    job_id = dataflow.running(parameters={"stubborn": "1"})
    dataflow.request(job_id, "CANCELLED")
    dataflow.wait(job_id, "CANCELLED")


def test_a_draining_job_can_still_be_cancelled(dataflow, monkeypatch, tmp_path):
    monkeypatch.setattr(job_lifecycle, "_CANCEL_GRACE_S", 0.3)
    job_id = dataflow.running(parameters={"drains_until": str(tmp_path / "never")})
    dataflow.request(job_id, "DRAINED")
    dataflow.request(job_id, "CANCELLED")
    assert dataflow.wait(job_id, "DRAINED", "CANCELLED") == "CANCELLED"


def test_a_job_that_is_not_running_yet_can_be_cancelled_but_not_drained(dataflow):
    dataflow.settings.queued_s = 600
    job_id = dataflow.launch()["id"]
    code, status, message = refusal(dataflow.request, job_id, "DRAINED")
    assert (code, status) == (400, "FAILED_PRECONDITION")
    assert "not yet ready for draining" in message
    dataflow.request(job_id, "CANCELLED")
    dataflow.wait(job_id, "CANCELLED")
    assert not dataflow.file(job_id, "log").exists()


def test_a_queued_job_can_be_missing_from_listings_while_it_can_be_read_and_has_its_name(dataflow):
    dataflow.settings.queued_s = 600
    dataflow.settings.unlisted_s = 600
    job_id = dataflow.launch()["id"]
    assert dataflow.list() == {}
    assert dataflow.get(job_id)["currentState"] == "JOB_STATE_QUEUED"
    assert refusal(dataflow.launch)[0] == 409
    dataflow.settings.unlisted_s = 0
    assert [job["id"] for job in dataflow.list()["jobs"]] == [job_id]
    dataflow.settings.unlisted_s = 600
    dataflow.request(job_id, "CANCELLED")
    assert [job["id"] for job in dataflow.list()["jobs"]] == [job_id], "it is no longer queued"


def test_a_batch_job_is_done_at_its_end_and_cannot_be_drained(dataflow, tmp_path):
    finished = tmp_path / "finished"
    job_id = dataflow.running(kind="backfill", parameters={"until": str(finished)})
    assert dataflow.get(job_id)["type"] == "JOB_TYPE_BATCH"
    assert "Only streaming jobs" in refusal(dataflow.request, job_id, "DRAINED")[2]
    finished.touch()
    dataflow.wait(job_id, "DONE")


def test_a_job_that_is_over_stays_as_it_is(dataflow):
    job_id = dataflow.launch(kind="backfill", parameters={"seconds": "0"})["id"]
    dataflow.wait(job_id, "DONE")
    for state in ("CANCELLED", "DRAINED"):
        code, status, message = refusal(dataflow.request, job_id, state)
        assert (code, status) == (400, "FAILED_PRECONDITION")
        assert "has terminated in state JOB_STATE_DONE" in message
    assert dataflow.state_of(job_id) == "DONE"


@pytest.mark.parametrize("state", ["RUNNING", "DONE", "UPDATED"])
def test_no_other_state_can_be_requested(dataflow, state):
    job_id = dataflow.launch()["id"]
    assert refusal(dataflow.request, job_id, state)[:2] == (400, "INVALID_ARGUMENT")


def test_a_job_that_ends_with_an_error_has_failed_and_says_its_last_lines(dataflow):
    job_id = dataflow.launch(parameters={"seconds": "0.1", "exit": "2"})["id"]
    dataflow.wait(job_id, "FAILED")
    (message,) = dataflow.messages(job_id, minimumImportance="JOB_MESSAGE_ERROR")
    assert "ended with exit code 2" in message["messageText"]
    assert "--words=needed" in message["messageText"]


def test_a_job_that_is_killed_has_failed_and_says_by_what(dataflow):
    job_id = dataflow.running()
    os.kill(dataflow.pid(job_id), signal.SIGKILL)
    dataflow.wait(job_id, "FAILED")
    (message,) = dataflow.messages(job_id, minimumImportance="JOB_MESSAGE_ERROR")
    assert "was killed by SIGKILL" in message["messageText"]


def test_a_stream_that_ends_by_itself_has_failed(dataflow):
    job_id = dataflow.launch(parameters={"seconds": "0.1"})["id"]
    dataflow.wait(job_id, "FAILED")
    assert "although the job was not drained" in dataflow.messages(job_id)[-2]["messageText"]


def test_errors_in_the_log_become_messages_with_their_tracebacks(dataflow):
    job_id = dataflow.running(parameters={"logs_error": "it went wrong"})

    def errors():
        return dataflow.messages(job_id, minimumImportance="JOB_MESSAGE_ERROR")

    (message,) = dataflow.eventually(errors, what="the message")
    assert message["messageImportance"] == "JOB_MESSAGE_ERROR"
    assert "it went wrong" in message["messageText"]
    assert message["messageText"].endswith("boom")


def test_messages_tell_the_jobs_states_in_order_and_come_in_pages(dataflow):
    job_id = dataflow.running()
    dataflow.request(job_id, "DRAINED")
    dataflow.wait(job_id, "DRAINED")
    everything = dataflow.messages(job_id)
    assert [m["time"] for m in everything] == sorted({m["time"] for m in everything})
    basic = dataflow.messages(job_id, minimumImportance="JOB_MESSAGE_BASIC")
    states = [m["messageText"].rpartition("JOB_STATE_")[2] for m in basic[1:]]
    assert states == ["PENDING.", "RUNNING.", "DRAINING.", "DRAINED."]
    later = dataflow.messages(job_id, startTime=everything[2]["time"])
    assert later == everything[2:]
    assert dataflow.messages(job_id, endTime=everything[2]["time"]) == everything[:2]
    listing = dataflow.jobs.messages()
    request = listing.list(**PLACE, jobId=job_id, pageSize=2)
    paged = []
    while request is not None:
        answer = request.execute()
        assert len(answer["jobMessages"]) <= 2
        paged += answer["jobMessages"]
        request = listing.list_next(request, answer)
    assert paged == everything


def test_jobs_are_listed_by_state_and_by_exact_name(dataflow):
    ended = dataflow.launch("imagen", kind="backfill", parameters={"seconds": "0"})["id"]
    dataflow.wait(ended, "DONE")
    first, second = dataflow.launch("imagen")["id"], dataflow.launch("imagen-2")["id"]

    def ids(**query):
        return [job["id"] for job in dataflow.list(**query).get("jobs", [])]

    assert ids(filter="ACTIVE") == [first, second]
    assert ids(filter="TERMINATED") == [ended]
    assert ids(filter="ALL") == [first, second, ended]
    assert ids(name="imagen", filter="ACTIVE") == [first]
    assert ids(name="image") == []
    page = dataflow.list(filter="ALL", pageSize=2)
    assert len(page["jobs"]) == 2
    assert ids(filter="ALL", pageSize=2, pageToken=page["nextPageToken"]) == [ended]
    client = dataflow.client().projects().jobs()
    aggregated = client.aggregated(projectId="demo-project", filter="ACTIVE").execute()
    assert len(aggregated["jobs"]) == 2
    assert client.get(projectId="demo-project", jobId=first).execute()["id"] == first
    assert client.list(projectId="other-project").execute() == {}
    elsewhere = dataflow.jobs.list(projectId="demo-project", location="europe-west1").execute()
    assert elsewhere == {}


def test_summaries_leave_out_labels_and_environment_and_full_views_have_them(dataflow):
    environment = {"additionalUserLabels": {"team": "pictures"}, "maxWorkers": 2}
    job_id = dataflow.launch(environment=environment)["id"]
    summary = dataflow.get(job_id, view="JOB_VIEW_SUMMARY")
    assert not {"labels", "environment"} & set(summary)
    assert not {"labels", "environment"} & set(dataflow.list(view="JOB_VIEW_ALL")["jobs"][0])
    for view in ("JOB_VIEW_ALL", "JOB_VIEW_DESCRIPTION"):
        job = dataflow.get(job_id, view=view)
        assert job["labels"] == {"team": "pictures"}
        assert job["environment"]["workerPools"][0]["autoscalingSettings"]["maxNumWorkers"] == 2
        assert job["environment"]["sdkPipelineOptions"]["options"]["words"] == "needed"


def test_an_unknown_job_is_404_and_an_unknown_field_400(dataflow):
    assert refusal(dataflow.get, "2026-11-22_12_34_56-1")[:2] == (404, "NOT_FOUND")
    assert refusal(dataflow.request, "none", "CANCELLED")[0] == 404
    job_id = dataflow.launch()["id"]
    update = dataflow.jobs.update(**PLACE, jobId=job_id, body={"requested": "JOB_STATE_DONE"})
    assert 'Unknown name "requested"' in refusal(update.execute)[2]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{dataflow.url}/v1b3/projects/demo-project/jobs")
    assert caught.value.code == 401


def test_metrics_have_dataflows_format_tentative_and_committed(dataflow):
    job_id = dataflow.running()
    answer = dataflow.jobs.getMetrics(**PLACE, jobId=job_id).execute()
    assert "metricTime" in answer
    counted = [m for m in answer["metrics"] if m["name"]["name"] == "predictions"]
    assert [m["scalar"] for m in counted] == [2, 2]
    assert [m["name"]["context"].get("tentative") for m in counted] == [None, "true"]
    assert counted[0]["name"]["origin"] == "user"
    assert counted[0]["name"]["context"]["namespace"] == "imagen"
    (latency, _) = [m for m in answer["metrics"] if m["name"]["name"] == "latency_ms"]
    assert latency["distribution"] == {"count": 2, "sum": 30, "min": 10, "max": 20, "mean": 15.0}
    memory = [m for m in answer["metrics"] if m["name"]["name"] == "CurrentMemoryUsage"]
    assert memory[0]["scalar"] > 1_000_000


def test_the_job_page_is_escaped_and_accepts_the_consoles_links(dataflow):
    job_id = dataflow.running(parameters={"logs_error": "<script>alert(1)</script>"})
    job_page = f"dataflow/jobs/us-central1/{job_id}"
    query = f"resource.type%3D%22dataflow_step%22%0Aresource.labels.job_id%3D%22{job_id}%22"
    search = f"logs/query;query={query}?project=demo-project"
    suffixes = ("", "?project=demo-project", ";mainTab=X", "/step=a;b")
    for path in (*(job_page + suffix for suffix in suffixes), search):
        url = f"{dataflow.url}/{path}"
        with urllib.request.urlopen(url) as answer:
            page = answer.read().decode()
            assert answer.headers["Content-Type"].startswith("text/html")
        assert "JOB_STATE_RUNNING" in page
        assert "<script>" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "http://" not in page.replace(dataflow.url, "")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{dataflow.url}/dataflow/jobs/us-central1/none")


def patch(dataflow, **settings):
    request = urllib.request.Request(
        f"{dataflow.url}/localcloud", json.dumps(settings).encode(), method="PATCH"
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_faults_occur_at_the_configured_rate_and_status_and_calls_are_counted(dataflow):
    patch(dataflow, error_rate=0.5, error_status=429)
    codes = []
    for _ in range(40):
        try:
            dataflow.list()
            codes.append(200)
        except HttpError as error:
            codes.append(error.status_code)
    assert set(codes) == {200, 429}
    assert 8 < codes.count(429) < 32
    assert patch(dataflow, error_rate=0)["counts"]["jobs.list"] == 40
    patch(dataflow, latency_s=0.2)
    started = time.monotonic()
    dataflow.list()
    assert time.monotonic() - started > 0.2


@pytest.mark.parametrize(
    "settings", [{"error_rat": 1}, {"error_rate": "x"}, {"latency_s": -1}, {"error_status": 200}]
)
def test_a_setting_that_makes_no_sense_is_refused(dataflow, settings):
    with pytest.raises(urllib.error.HTTPError, match="400"):
        patch(dataflow, **settings)


def put_into(dataflow, job_id, state) -> None:
    """As if the local cloud had ended while the job was in that state."""
    path = dataflow.file(job_id, "job.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": f"JOB_STATE_{state}"}))


def test_after_a_restart_active_jobs_resume_and_ending_jobs_reach_their_end(dataflow):
    going, draining, cancelling = (dataflow.running(name) for name in "abc")
    over = dataflow.launch("d", kind="backfill", parameters={"seconds": "0"})["id"]
    dataflow.wait(over, "DONE")
    before, pid, messages = dataflow.get(over), dataflow.pid(going), dataflow.messages(over)
    dataflow.stop()
    assert not alive(pid)
    put_into(dataflow, draining, "DRAINING")
    put_into(dataflow, cancelling, "CANCELLING")
    dataflow.start()
    dataflow.eventually(lambda: dataflow.started(going), what="its process")
    assert dataflow.state_of(going) == "RUNNING"
    assert dataflow.pid(going) != pid
    dataflow.wait(draining, "DRAINED")
    dataflow.wait(cancelling, "CANCELLED")
    assert (dataflow.get(over), dataflow.messages(over)) == (before, messages)
    texts = [message["messageText"] for message in dataflow.messages(going)]
    assert "The job's worker was lost and is replaced." in texts

    def counted() -> int:
        answer = dataflow.jobs.getMetrics(**PLACE, jobId=going).execute()
        return max(m["scalar"] for m in answer["metrics"] if m["name"]["name"] == "predictions")

    dataflow.eventually(lambda: counted() == 4, what="what both processes have counted")
    dataflow.request(going, "DRAINED")
    dataflow.wait(going, "DRAINED")


def test_a_drain_right_after_a_restart_waits_for_the_worker_to_be_there(dataflow, tmp_path):
    start = tmp_path / "start"
    start.touch()
    job_id = dataflow.running(parameters={"starts_with": str(start)})
    dataflow.stop()
    start.unlink()
    dataflow.start()
    dataflow.eventually(lambda: dataflow.started(job_id), what="its process")
    dataflow.request(job_id, "DRAINED")
    start.touch()
    assert dataflow.wait(job_id, "DRAINED", "FAILED") == "DRAINED"
    assert "asked to end" in dataflow.file(job_id, "log").read_text()


def test_a_job_that_is_launched_before_earlier_jobs_resume_runs_once(dataflow):
    job_id = dataflow.running()
    dataflow.resume()
    dataflow.request(job_id, "DRAINED")
    dataflow.wait(job_id, "DRAINED")
    texts = [message["messageText"] for message in dataflow.messages(job_id)]
    assert "The job's worker was lost and is replaced." not in texts
    assert sum(text.startswith("Worker started") for text in texts) == 1


def test_a_stopped_local_cloud_leaves_no_process_and_no_job_ended(dataflow):
    stream, batch = dataflow.running("a"), dataflow.running("b", kind="backfill")
    pids = [dataflow.pid(stream), dataflow.pid(batch)]
    dataflow.stop()
    assert not any(map(alive, pids))
    dataflow.start()
    assert {dataflow.state_of(stream), dataflow.state_of(batch)} == {"RUNNING"}
