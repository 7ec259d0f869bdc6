"""Faults on demand, as clients meet them: errors, latency, no answer at all; and the way back."""

import concurrent.futures
import time

import pytest
import requests
from google.api_core import exceptions
from google.cloud.storage.retry import DEFAULT_RETRY

from localcloud import http


def patch(server, **settings):
    answer = requests.patch(f"{server.url}/localcloud", json=settings, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def statuses(server, calls=40):
    url = f"{server.url}/storage/v1/b/pictures/o"
    with requests.Session() as session:
        return [session.get(url, timeout=60).status_code for _ in range(calls)]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_errors_occur_at_the_configured_rate_and_status(server, status):
    patch(server, error_rate=0.5, error_status=status)
    seen = statuses(server)
    assert set(seen) == {200, status}
    assert 8 < seen.count(status) < 32
    assert patch(server, error_rate=0)["counts"] == {
        "calls": 40,
        "failed": seen.count(status),
        "hung": 0,
    }
    assert set(statuses(server)) == {200}


def test_while_down_is_set_every_call_fails_and_changes_nothing(server, bucket):
    bucket.blob("a").upload_from_string(b"before")
    # Its error status is no matter then.
    patch(server, down=1, error_status=429)
    blob = bucket.blob("a")
    for call in (
        lambda: blob.upload_from_string(b"after", retry=None),
        lambda: blob.download_as_bytes(retry=None),
        lambda: blob.delete(retry=None),
        lambda: blob.create_resumable_upload_session(retry=None),
        lambda: list(bucket.list_blobs(retry=None)),
        lambda: bucket.client.create_bucket("other", retry=None),
        lambda: bucket.delete_blobs(["a"], retry=None),
    ):
        with pytest.raises(exceptions.ServiceUnavailable):
            call()
    assert requests.get(f"{server.url}/pictures/a", timeout=60).status_code == 503
    assert requests.post(f"{server.url}/batch/storage/v1", timeout=60).status_code == 503
    patch(server, down=0)
    assert [found.name for found in bucket.list_blobs()] == ["a"]
    assert blob.download_as_bytes() == b"before"


def test_a_client_that_retries_succeeds_when_the_outage_is_over(server, bucket, eventually):
    patch(server, error_rate=1)
    often = DEFAULT_RETRY.with_delay(initial=0.05, maximum=0.1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        upload = pool.submit(bucket.blob("a").upload_from_string, b"x", retry=often)
        eventually(lambda: patch(server)["counts"]["failed"] >= 3, what="three attempts")
        assert not upload.done()
        patch(server, error_rate=0)
        upload.result(120)
    assert bucket.blob("a").download_as_bytes() == b"x"


@pytest.mark.parametrize(
    ("switch", "status", "reason"),
    [
        ("policy_violated", 412, "orgPolicyConstraintFailed"),
        ("key_disabled", 400, "cloudKmsDisabledKey"),
    ],
)
def test_uploads_are_refused_for_what_is_wrong_with_the_bucket_and_reads_go_on(
    server, bucket, switch, status, reason
):
    bucket.blob("a").upload_from_string(b"before")
    patch(server, **{switch: True})
    url = f"{server.url}/upload/storage/v1/b/pictures/o?name=b&ifGenerationMatch=0&uploadType="
    for kind in ("media", "multipart", "resumable"):
        answer = requests.post(f"{url}{kind}", data=b"{}", timeout=60)
        assert answer.status_code == status
        assert answer.json()["error"]["errors"][0]["reason"] == reason
    assert [found.name for found in bucket.list_blobs()] == ["a"]
    assert bucket.blob("a").download_as_bytes() == b"before"
    patch(server, **{switch: False})
    bucket.blob("b").upload_from_string(b"after")


def test_calls_take_longer_by_the_latency(server):
    patch(server, latency_s=0.3)
    started = time.monotonic()
    assert statuses(server, calls=1) == [200]
    assert time.monotonic() - started > 0.3


def test_calls_are_answered_at_the_rate_that_is_set(server):
    patch(server, calls_per_s=20)
    started = time.monotonic()
    assert set(statuses(server, calls=11)) == {200}
    assert time.monotonic() - started >= 0.5


def test_calls_above_a_rate_are_refused_once_a_second_s_worth_was_answered(server):
    patch(server, refused_above_per_s=1)
    assert statuses(server, calls=10).count(429) >= 5
    time.sleep(1.1)
    assert statuses(server, calls=1) == [200]


def test_who_comes_when_all_connections_are_taken_waits_until_one_is_closed(server):
    patch(server, connections=1)
    url = f"{server.url}/storage/v1/b/pictures"
    with requests.Session() as first:
        assert first.get(url, timeout=60).status_code == 200
        with pytest.raises(requests.ReadTimeout):
            requests.get(url, timeout=(60, 0.5))
        assert first.get(url, timeout=60).status_code == 200
    assert requests.get(url, timeout=60).status_code == 200
    patch(server, connections=0)


@pytest.mark.slow
def test_a_call_that_hangs_lasts_as_long_as_its_client_and_the_others_go_on(server, eventually):
    url = f"{server.url}/storage/v1/b/pictures"
    patch(server, hang_rate=1)
    with pytest.raises(requests.ReadTimeout):
        requests.get(url, timeout=(60, 2))
    assert patch(server, hang_rate=0.5)["counts"]["hung"] == 1
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(requests.get, url, timeout=120) for _ in range(8)]

        def none_undecided() -> bool:
            answered = sum(call.done() for call in calls)
            return answered + patch(server)["counts"]["hung"] == 8 + 1

        eventually(none_undecided, what="an answer, or none, to each call")
        answered = [call for call in calls if call.done()]
        # So that the others do not last as long as their clients would wait.
        patch(server, hang_rate=0)
    assert 0 < len(answered) < 8
    assert {call.result().status_code for call in answered} == {200}


@pytest.mark.parametrize("end", ["settings", "server"])
def test_hanging_calls_are_cut_off_when_the_rate_is_0_or_the_server_stops(
    serve, server, end, monkeypatch, eventually
):
    # So that an end that waits for what hangs takes much longer than a slow one that does not.
    monkeypatch.setattr(http, "SHUTDOWN_SECONDS", 120.0)
    server = serve()
    patch(server, hang_rate=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(requests.get, f"{server.url}/storage/v1/b/pictures", timeout=120)
        eventually(lambda: patch(server)["counts"]["hung"] == 1, what="the call")
        assert not call.done()
        started = time.monotonic()
        patch(server, hang_rate=0) if end == "settings" else serve()
        with pytest.raises(requests.ConnectionError):
            call.result(60)
        assert time.monotonic() - started < 60


def test_settings_stay_reachable_during_faults(server):
    patch(server, down=1, hang_rate=1, latency_s=5, error_rate=1, error_status=500)
    shown = requests.get(f"{server.url}/localcloud", timeout=60).json()["settings"]
    assert shown == {
        "error_rate": 1.0,
        "error_status": 500,
        "latency_s": 5.0,
        "calls_per_s": 0.0,
        "refused_above_per_s": 0.0,
        "connections": 0,
        "hang_rate": 1.0,
        "down": True,
        "policy_violated": False,
        "key_disabled": False,
        "md5": True,
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"error_rat": 1}, "unknown setting 'error_rat'; expected one of error_rate, error_status"),
        ({"error_rate": "x"}, "'error_rate': expected a number of at least 0"),
        ({"latency_s": -1}, "'latency_s': expected a number of at least 0"),
        ({"latency_s": True}, "'latency_s': expected a number"),
        ({"error_status": 200}, "'error_status': expected one of"),
        ([], "Expected an object"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_and_none_is_changed(server, settings, words):
    before = patch(server)["settings"]
    given = {"hang_rate": 1, **settings} if isinstance(settings, dict) else settings
    refused = requests.patch(f"{server.url}/localcloud", json=given, timeout=60)
    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]
    assert patch(server)["settings"] == before


def test_no_bucket_shares_the_settings_path(server, client):
    client.create_bucket("localcloud").blob("a").upload_from_string(b"x")
    assert requests.get(f"{server.url}/localcloud/a", timeout=60).content == b"x"


def test_without_md5_objects_have_none_and_can_still_be_read(server, bucket):
    patch(server, md5=0)
    bucket.blob("unhashed").upload_from_string(b"content")
    again = bucket.get_blob("unhashed")
    assert (again.md5_hash, again.crc32c is None) == (None, False)
    assert again.download_as_bytes() == b"content"


def test_a_failing_state_folder_is_named_as_the_cause_and_a_retry_succeeds(
    server, bucket, tmp_path
):
    contents = tmp_path / "state" / "contents"
    contents.rename(tmp_path / "elsewhere")
    with pytest.raises(exceptions.ServiceUnavailable, match=r"state folder fails: .*No such file"):
        bucket.blob("a").upload_from_string(b"a", retry=None)
    (tmp_path / "elsewhere").rename(contents)
    bucket.blob("a").upload_from_string(b"a")
    assert bucket.blob("a").download_as_bytes() == b"a"
