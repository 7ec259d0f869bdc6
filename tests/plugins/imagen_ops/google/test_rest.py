"""How the REST hooks deal with responses and errors, against a scripted server."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conftest import Cloud
from tests.plugins.conftest import connection


class ScriptedServer:
    """Sends the next of `responses` for each request, and repeats the last one."""

    def __init__(self) -> None:
        self.responses: list[tuple[int, dict[str, Any]]] = []
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                status, body = outer.responses.pop(0) if outer.responses[1:] else outer.responses[0]
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.do_GET()

            def do_PUT(self) -> None:
                self.do_POST()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        # Whoever stops it waits for its next look, which is half a second away by default.
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def dataflow(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def make(url: str, retries: int = 0) -> Any:
        from imagen_ops.google.dataflow import DataflowJobsHook

        extra = connection(cloud, api_endpoints={"dataflow": url}, num_retries=retries)
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", extra)
        return DataflowJobsHook(
            "google_cloud_default", project="demo-project", region="us-central1"
        )

    return make


def error_response(status: int, message: str = "no") -> tuple[int, dict[str, Any]]:
    return status, {"error": {"code": status, "message": message, "status": "X"}}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
def test_an_error_response_becomes_an_error_with_googles_message_and_advice(
    dataflow: Callable[..., Any], scripted: ScriptedServer, status: int
) -> None:
    from imagen_ops.errors import ApiError

    scripted.responses = [error_response(status, "in Google's words")]
    with pytest.raises(ApiError, match=r"in Google's words.*What to do") as raised:
        dataflow(scripted.url).get("job-1")
    assert raised.value.status == status
    assert "job-1" in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_transient_error_is_retried(
    dataflow: Callable[..., Any], scripted: ScriptedServer, status: int
) -> None:
    scripted.responses = [error_response(status), (200, {"id": "1", "name": "n"})]
    assert dataflow(scripted.url, retries=1).get("1").id == "1"
    assert len(scripted.requests) == 2


# After a 401 the credentials are refreshed first.
@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_a_permanent_error_is_not_retried(
    dataflow: Callable[..., Any], scripted: ScriptedServer, status: int
) -> None:
    from imagen_ops.errors import ApiError

    scripted.responses = [error_response(status)]
    with pytest.raises(ApiError):
        dataflow(scripted.url, retries=3).get("1")
    assert len(scripted.requests) == 1


def test_an_unreachable_server_is_reported_as_no_answer(
    dataflow: Callable[..., Any], scripted: ScriptedServer
) -> None:
    from imagen_ops.errors import NO_ANSWER, ApiError

    hook = dataflow(scripted.url)
    scripted.server.server_close()
    with pytest.raises(ApiError, match=r"no answer.*network") as raised:
        hook.get("1")
    assert raised.value.status == NO_ANSWER
    assert raised.value.transient


def test_an_error_response_without_details_is_an_error_too(
    dataflow: Callable[..., Any], scripted: ScriptedServer
) -> None:
    from imagen_ops.errors import ApiError

    scripted.responses = [(502, {})]
    with pytest.raises(ApiError, match="HTTP 502"):
        dataflow(scripted.url).get("1")


def test_a_name_in_use_has_its_own_exception(
    dataflow: Callable[..., Any], scripted: ScriptedServer
) -> None:
    from imagen_ops.google.dataflow import NameInUseError
    from imagen_ops.jobs.launch_request import LaunchRequest

    scripted.responses = [error_response(409, "There is already an active job named imagen-stream")]
    request = LaunchRequest(
        job_name="imagen-stream", template="gs://b/t.json", parameters={}, environment={}
    )
    with pytest.raises(NameInUseError, match="already an active job"):
        dataflow(scripted.url).launch(request)


def test_a_listing_is_read_to_its_last_page_and_matches_only_the_exact_name(
    dataflow: Callable[..., Any], scripted: ScriptedServer
) -> None:
    def job(number: int, name: str) -> dict[str, str]:
        return {
            "id": str(number),
            "name": name,
            "currentState": "JOB_STATE_RUNNING",
            "createTime": f"2026-11-22T10:00:{number:02d}Z",
        }

    scripted.responses = [
        (200, {"jobs": [job(1, "imagen-stream-old")], "nextPageToken": "more"}),
        (200, {"jobs": [job(2, "imagen-stream"), job(3, "imagen-stream-2")]}),
        (200, job(2, "imagen-stream")),
    ]
    assert dataflow(scripted.url).active("imagen-stream").id == "2"
    assert "pageToken=more" in scripted.requests[1]
    assert "name=imagen-stream" in scripted.requests[0]
    assert "/jobs/2?" in scripted.requests[2]


@pytest.mark.parametrize(
    ("state", "harmless"),
    [("DRAINING", True), ("DRAINED", True), ("FAILED", True), ("PENDING", False)],
)
def test_a_drain_that_somebody_else_requested_first_is_not_an_error(
    dataflow: Callable[..., Any], scripted: ScriptedServer, state: str, harmless: bool
) -> None:
    from imagen_ops.errors import ApiError

    job = {"id": "1", "name": "imagen-stream", "currentState": f"JOB_STATE_{state}"}
    scripted.responses = [error_response(400, "not in a state to be drained"), (200, job)]
    if harmless:
        dataflow(scripted.url).drain("1")
    else:
        with pytest.raises(ApiError, match="not in a state"):
            dataflow(scripted.url).drain("1")


def test_endpoints_may_be_text_as_the_connection_form_stores_them(
    cloud: Cloud, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.google.dataflow import DataflowJobsHook

    endpoints = json.dumps({"dataflow": scripted.url})
    extra = connection(cloud, api_endpoints=endpoints)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", extra)
    scripted.responses = [(200, {"id": "1", "name": "n"})]
    hook = DataflowJobsHook("google_cloud_default", project="demo-project", region="us-central1")
    assert hook.get("1").id == "1"


def test_an_answer_that_a_library_gave_up_repeating_the_call_for_is_an_answer() -> None:
    from google.api_core import exceptions

    from imagen_ops.errors import ApiError
    from imagen_ops.google.rest import explained

    last = exceptions.ServiceUnavailable("try again later")
    expected = r"HTTP 503: try again later.*the service has a problem"
    with pytest.raises(ApiError, match=expected), explained("reading"):
        raise exceptions.RetryError("Timeout of 20.0s exceeded", last)


@pytest.mark.parametrize("cause", [None, ConnectionError("refused")])
def test_silence_that_a_library_gave_up_on_is_none(cause: Exception | None) -> None:
    from google.api_core import exceptions

    from imagen_ops.errors import NO_ANSWER, ApiError
    from imagen_ops.google.rest import explained

    expected = r"no answer.*check the network"
    with pytest.raises(ApiError, match=expected) as silent, explained("reading"):
        raise exceptions.RetryError("Timeout of 20.0s exceeded", cause)
    assert silent.value.status == NO_ANSWER


@pytest.mark.slow
def test_a_storage_that_answers_503_to_everything_is_named_within_a_minute(
    cloud: Cloud, lane: Any
) -> None:
    from imagen_ops.errors import ApiError
    from imagen_ops.google.rest import explained
    from imagen_ops.records.history import History

    history = History(lane.storage, "demo-project-imagen", f"{lane.name}/health")
    cloud.storage(error_rate=1.0, error_status=503)
    began = time.monotonic()
    expected = r"HTTP 503.*wait; the service has a problem"
    with pytest.raises(ApiError, match=expected), explained("reading the last record"):
        history.last(datetime.now(UTC))
    assert time.monotonic() - began < 40


def test_a_call_leaves_a_clean_log(
    dataflow: Callable[..., Any], scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With httplib2 alone, google-auth warns about time-outs whenever it fetches a token."""
    scripted.responses = [(200, {"id": "1", "name": "n"})]
    with caplog.at_level("WARNING"):
        dataflow(scripted.url).get("1")
    assert [record.message for record in caplog.records] == []


def test_an_error_has_googles_word_for_it(
    dataflow: Callable[..., Any], scripted: ScriptedServer
) -> None:
    from imagen_ops.errors import ApiError

    scripted.responses = [(400, {"error": {"message": "no", "status": "FAILED_PRECONDITION"}})]
    with pytest.raises(ApiError) as raised:
        dataflow(scripted.url).get("1")
    assert raised.value.code == "FAILED_PRECONDITION"


def test_a_job_that_a_listing_still_shows_as_active_has_ended_if_it_says_so(
    dataflow: Callable[..., Any], scripted: ScriptedServer
) -> None:
    job = {"id": "1", "name": "imagen-stream", "currentState": "JOB_STATE_RUNNING"}
    scripted.responses = [
        (200, {"jobs": [job]}),
        (200, {**job, "currentState": "JOB_STATE_FAILED"}),
    ]
    assert dataflow(scripted.url).active("imagen-stream") is None


def test_a_name_in_use_tells_the_id_of_the_job_that_has_it(
    dataflow: Callable[..., Any], scripted: ScriptedServer
) -> None:
    from imagen_ops.google.dataflow import NameInUseError
    from imagen_ops.jobs.launch_request import LaunchRequest

    job_id = "2026-11-22_10_00_00-1234567890123456789"
    text = f"There is already an active job named imagen-stream with id: {job_id}. If you want to"
    scripted.responses = [error_response(409, text)]
    request = LaunchRequest("imagen-stream", "gs://b/t.json", {}, {})
    with pytest.raises(NameInUseError) as raised:
        dataflow(scripted.url).launch(request)
    assert raised.value.job_id == job_id
