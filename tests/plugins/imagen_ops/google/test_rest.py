"""Errors of an API, from a server that answers as it is told."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conftest import Cloud
from tests.plugins.conftest import connection


class Moody:
    """Answers each request with the next of `answers`; the last one for good."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                status, body = outer.answers.pop(0) if outer.answers[1:] else outer.answers[0]
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
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def moody() -> Iterator[Moody]:
    server = Moody()
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


def refusal(status: int, message: str = "no") -> tuple[int, dict[str, Any]]:
    return status, {"error": {"code": status, "message": message, "status": "X"}}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
def test_a_refusal_becomes_an_error_with_googles_words_and_advice(
    dataflow: Callable[..., Any], moody: Moody, status: int
) -> None:
    from imagen_ops.errors import ApiError

    moody.answers = [refusal(status, "in Google's words")]
    with pytest.raises(ApiError, match=r"in Google's words.*What to do") as refused:
        dataflow(moody.url).get("job-1")
    assert refused.value.status == status
    assert "job-1" in str(refused.value)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_by_itself_is_tried_again(
    dataflow: Callable[..., Any], moody: Moody, status: int
) -> None:
    moody.answers = [refusal(status), (200, {"id": "1", "name": "n"})]
    assert dataflow(moody.url, retries=1).get("1").id == "1"
    assert len(moody.asked) == 2


# After a 401 the credentials are refreshed first.
@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_what_does_not_pass_is_not(dataflow: Callable[..., Any], moody: Moody, status: int) -> None:
    from imagen_ops.errors import ApiError

    moody.answers = [refusal(status)]
    with pytest.raises(ApiError):
        dataflow(moody.url, retries=3).get("1")
    assert len(moody.asked) == 1


def test_a_server_that_is_not_there_is_said_to_be_silent(
    dataflow: Callable[..., Any], moody: Moody
) -> None:
    from imagen_ops.errors import NO_ANSWER, ApiError

    hook = dataflow(moody.url)
    moody.server.server_close()
    with pytest.raises(ApiError, match=r"nothing came back.*network") as refused:
        hook.get("1")
    assert refused.value.status == NO_ANSWER
    assert refused.value.passing


def test_an_answer_that_is_no_json_is_an_error_too(
    dataflow: Callable[..., Any], moody: Moody
) -> None:
    from imagen_ops.errors import ApiError

    moody.answers = [(502, {})]
    with pytest.raises(ApiError, match="HTTP 502"):
        dataflow(moody.url).get("1")


def test_a_name_in_use_has_a_type_of_its_own(dataflow: Callable[..., Any], moody: Moody) -> None:
    from imagen_ops.google.dataflow import NameInUseError
    from imagen_ops.jobs.launch_request import LaunchRequest

    moody.answers = [refusal(409, "There is already an active job named imagen-stream")]
    with pytest.raises(NameInUseError, match="already an active job"):
        dataflow(moody.url).launch(LaunchRequest("imagen-stream", "gs://b/t.json", {}, {}))


def test_a_listing_is_read_to_its_last_page_and_only_the_exact_name_counts(
    dataflow: Callable[..., Any], moody: Moody
) -> None:
    def job(number: int, name: str) -> dict[str, str]:
        return {
            "id": str(number),
            "name": name,
            "currentState": "JOB_STATE_RUNNING",
            "createTime": f"2026-11-22T10:00:{number:02d}Z",
        }

    moody.answers = [
        (200, {"jobs": [job(1, "imagen-stream-old")], "nextPageToken": "more"}),
        (200, {"jobs": [job(2, "imagen-stream"), job(3, "imagen-stream-2")]}),
        (200, job(2, "imagen-stream")),
    ]
    assert dataflow(moody.url).active("imagen-stream").id == "2"
    assert "pageToken=more" in moody.asked[1]
    assert "name=imagen-stream" in moody.asked[0]
    assert "/jobs/2?" in moody.asked[2]


@pytest.mark.parametrize(
    ("state", "harmless"),
    [("DRAINING", True), ("DRAINED", True), ("FAILED", True), ("PENDING", False)],
)
def test_a_drain_that_somebody_else_asked_for_first_is_no_error(
    dataflow: Callable[..., Any], moody: Moody, state: str, harmless: bool
) -> None:
    from imagen_ops.errors import ApiError

    job = {"id": "1", "name": "imagen-stream", "currentState": f"JOB_STATE_{state}"}
    moody.answers = [refusal(400, "not in a state to be drained"), (200, job)]
    if harmless:
        dataflow(moody.url).drain("1")
    else:
        with pytest.raises(ApiError, match="not in a state"):
            dataflow(moody.url).drain("1")


def test_endpoints_may_come_as_text_as_the_connection_form_keeps_them(
    cloud: Cloud, moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.google.dataflow import DataflowJobsHook

    endpoints = json.dumps({"dataflow": moody.url})
    extra = connection(cloud, api_endpoints=endpoints)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", extra)
    moody.answers = [(200, {"id": "1", "name": "n"})]
    hook = DataflowJobsHook("google_cloud_default", project="demo-project", region="us-central1")
    assert hook.get("1").id == "1"
