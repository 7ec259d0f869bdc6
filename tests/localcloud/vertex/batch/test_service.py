"""Jobs across restarts, and the requests that a stand-in refuses."""

import json
import re
import urllib.error

import pytest

from tests.localcloud.vertex.batch.conftest import PARENT, Services, row


def refused(services: Services, method, path, body=None):
    """The status, the google.rpc status and the message of an error."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        services.call(method, path, body)
    error = json.loads(raised.value.read())["error"]
    assert error["code"] == raised.value.code
    return error["code"], error["status"], error["message"]


def test_a_job_that_does_not_exist_is_not_found(services: Services):
    for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", ":cancel")):
        path = f"{PARENT}/batchPredictionJobs/123{suffix}"
        assert refused(services, method, path) == (
            404,
            "NOT_FOUND",
            "The BatchPredictionJob does not exist.",
        )


def test_a_job_is_at_its_own_location_alone(services: Services):
    name = services.create()
    other = name.replace("/global/", "/us-central1/")
    assert refused(services, "GET", other)[0] == 404
    services.ended(name)


def test_an_ended_job_is_not_cancelled_and_a_running_one_not_deleted(services: Services):
    services.put([row("A"), row("B")])
    services.set(kept_in="RUNNING")
    name = services.create()
    services.reached(name, "JOB_STATE_RUNNING")
    assert refused(services, "DELETE", name)[:2] == (400, "FAILED_PRECONDITION")
    services.set(kept_in="")
    services.ended(name)
    assert refused(services, "POST", f"{name}:cancel")[:2] == (400, "FAILED_PRECONDITION")
    operation = services.call("DELETE", name)
    assert operation["done"]
    assert "/operations/" in operation["name"]
    assert refused(services, "GET", name)[0] == 404


def test_a_job_is_cancelled_once(services: Services):
    services.put([row("A"), row("B")])
    services.set(kept_in="QUEUED")
    name = services.create()
    services.call("POST", f"{name}:cancel", {})
    services.ended(name)
    assert refused(services, "POST", f"{name}:cancel")[:2] == (400, "FAILED_PRECONDITION")


def test_a_caller_without_the_permission_creates_nothing(services: Services):
    services.set(forbidden=True)
    code, status, message = refused(services, "POST", f"{PARENT}/batchPredictionJobs", {})
    assert (code, status) == (403, "PERMISSION_DENIED")
    assert "aiplatform.batchPredictionJobs.create" in message


def test_calls_fail_as_settings_say(services: Services):
    services.set(error_rate=1.0, error_status=429)
    assert refused(services, "GET", f"{PARENT}/batchPredictionJobs")[0] == 429
    services.set(error_rate=0.0)
    services.models(down=True)
    assert refused(services, "GET", f"{PARENT}/batchPredictionJobs")[0] == 503


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kept_in": "SUCCEEDED"}, "kept_in.*QUEUED, PENDING, RUNNING, PAUSED, UPDATING"),
        ({"end_in": "RUNNING"}, "end_in.*EXPIRED, FAILED, CANCELLED, PARTIALLY_SUCCEEDED"),
        ({"shard_rows": 0}, "shard_rows.*at least 1"),
        ({"rows": 1}, "unknown setting 'rows'"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_and_changes_nothing(services, settings, message):
    with pytest.raises(urllib.error.HTTPError) as raised:
        services.set(failed_rate=0.5, **settings)
    assert re.search(message, json.loads(raised.value.read())["error"]["message"])
    job = services.run([row("A")])
    assert job["completionStats"] == {"successfulCount": "1"}


@pytest.mark.slow
def test_jobs_survive_a_restart_and_active_ones_begin_anew(tmp_path, served_on):
    with served_on(tmp_path) as services:
        done = services.run([row("A"), row("B")])
        services.set(kept_in="PAUSED")
        name = services.create()
        services.reached(name, "JOB_STATE_PAUSED")
    with served_on(tmp_path) as services:
        assert services.call("GET", done["name"]) == done
        job = services.ended(name)
        assert job["completionStats"] == {"successfulCount": "2"}
        assert len(services.lines(job)) == 2, "what was half written is not there"
        assert services.set()["rows"] == 2
