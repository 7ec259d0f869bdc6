"""The page as a whole: its files, its headers, and its errors when something is out of reach."""

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from beam_jobs.outcomes import Reason
from imagen_ops.health.assessment.verdict import ReasonCode
from imagen_ops.ui.panels.actions import ACTIONS
from imagen_ops.ui.static_files import FOLDER
from tests.conftest import ROOT
from tests.plugins.imagen_ops.ui.conftest import Page, Stored, everybody, raw_get
from tests.plugins.imagen_ops.ui.test_pictures import DIGEST

# These list objects. To what asks for one object, a missing bucket is a missing object.
LISTING = ("stream", "plots", "images", "search", "money", "backfills", "dead-letters")
OF_STORAGE = (*LISTING, f"record?digest={DIGEST}")
PATHS = (
    "/",
    "/runbook",
    "/assets/icon.svg",
    *(f"/api/{panel}" for panel in OF_STORAGE),
    "/api/actions",
    "/api/dead-letters/list",
    "/api/done",
    f"/images/ab/{DIGEST}-0.png",
    "/nothing",
    "/api/images?limit=x",
)


def test_the_page_and_everything_it_loads_are_served(page: Page) -> None:
    response = page.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', response.text)
    assert "assets/icon.svg" in loaded
    types = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    for path in loaded:
        asset = page.get(f"/{path}")
        assert asset.status_code == 200, path
        assert asset.headers["content-type"].split(";")[0] == types[path[path.rindex(".") :]]
        assert asset.content == (FOLDER / path.removeprefix("assets/")).read_bytes()


def test_an_unchanged_file_is_not_sent_again(page: Page) -> None:
    for path in ("/", "/assets/icon.svg"):
        etag = page.get(path).headers["etag"]
        again = page.get(path, if_none_match=etag)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["cache-control"] == "private, no-cache", (
            "browsers check for a new version each time"
        )


@pytest.mark.parametrize(
    "name",
    [
        "index.html",
        "no.js",
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "..%5capp.py",
        "/etc/passwd",
        "icon.svg%00",
        "",
    ],
)
def test_no_other_file_is_served(page: Page, name: str) -> None:
    assert raw_get(page.app, f"/assets/{name}")[0] == 404


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_it_serves_no_api_documentation(page: Page, path: str) -> None:
    assert page.get(path).status_code == 404


@pytest.mark.parametrize("path", PATHS)
def test_every_response_lets_a_browser_run_only_our_scripts(page: Page, path: str) -> None:
    headers = page.get(path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["img-src"] == "'self'"
    assert policy["connect-src"] == policy["frame-ancestors"] == "'self'"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["referrer-policy"] == "same-origin"
    if path.startswith("/api/"):
        assert headers["cache-control"] == "no-store"


def test_every_word_in_capitals_leads_to_its_section_of_the_runbook(
    page: Page, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.ui.app import build

    shown = page.get("/runbook")
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    anchors = set(re.findall(r' id="([\w-]+)"', shown.text))
    assert {code.value.lower() for code in (*ReasonCode, *Reason)} <= anchors
    assert {"alert-crash-loop", "stream_crash_loop", "stop-everything"} <= anchors
    # All links lead to its own sections, or to other sites.
    links = set(re.findall(r'<a href="([^"]+)"', shown.text))
    assert {link.removeprefix("#") for link in links if link.startswith("#")} <= anchors
    assert all(link.startswith(("#", "https://")) for link in links)

    monkeypatch.setenv("IMAGEN_RUNBOOK_URL", "https://wiki.example/imagen")
    elsewhere = Page(build(storage, everybody)).get("/runbook")
    assert elsewhere.headers["location"] == "https://wiki.example/imagen"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_can_be_changed_through_it(
    page: Page, stored: Stored, path: str, method: str
) -> None:
    assert page.http.request(method, path).status_code in (404, 405)
    assert stored.requests == []


def test_an_internal_error_has_the_security_headers_too(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_ops.ui.panels.images.media_type_of", lambda path: 1 / 0)
    response = page.get(f"/images/ab/{DIGEST}-0.png")
    assert response.status_code == 500
    assert "content-security-policy" in response.headers


def test_the_actions_are_exactly_the_existing_dags() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "dags").glob("*.py"))
    ids = set(re.findall(r'(?:DAG\(\s*|START = )"(imagen_\w+)"', texts))
    assert {action.dag_id for action in ACTIONS} == ids
    assert len(ids) == 5


@pytest.mark.usefixtures("long_timeouts")
def test_each_panel_reports_wrong_settings(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEN_BUCKET")
    for panel in OF_STORAGE:
        answer = page.panel(panel)
        assert answer["data"] is None
        assert "IMAGEN_BUCKET: is not set, for example my-project-imagen" in answer["error"]
        assert answer["cause"] == "settings"
    assert page.get("/").status_code == 200


@pytest.mark.usefixtures("long_timeouts")
def test_without_storage_each_panel_says_so_and_the_page_still_loads(
    page: Page, stored: Stored
) -> None:
    stored.stop()
    started = time.monotonic()
    for panel in OF_STORAGE:
        answer = page.panel(panel)
        assert answer["data"] is None
        assert "cannot reach Cloud Storage for gs://my-project-imagen" in answer["error"]
        assert answer["cause"] == "storage"
    assert time.monotonic() - started < 60
    assert page.get("/").status_code == 200


@pytest.mark.usefixtures("long_timeouts")
def test_a_missing_bucket_is_named_in_the_error(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_BUCKET", "no-such-bucket")
    for panel in LISTING:
        error = page.panel(panel)["error"]
        assert "bucket gs://no-such-bucket does not exist: check IMAGEN_BUCKET" in error


@pytest.mark.usefixtures("long_timeouts")
def test_a_missing_connection_is_named_in_the_error(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_GCP_CONN_ID", "no_such_connection")
    error = page.panel("images")["error"]
    assert "no credentials for Cloud Storage" in error
    assert "no_such_connection" in error


@pytest.mark.slow
@pytest.mark.usefixtures("long_cache")
def test_storage_that_never_answers_delays_nobody_for_long(page: Page, stored: Stored) -> None:
    page.data("stream")
    stored.hang()

    panels = ["images", "backfills", "dead-letters", "images?limit=1"]
    with ThreadPoolExecutor(8) as threads:
        started = time.monotonic()
        waiting = [threads.submit(page.panel, panel) for panel in panels]
        # If it waited for storage, it would be an error too.
        assert page.panel("stream")["error"] is None, "a cached answer is returned at once"
        for future in waiting:
            answer = future.result()
            assert answer["data"] is None
            assert "Cloud Storage has not answered within" in answer["error"]
        assert time.monotonic() - started < 60


def test_nothing_is_read_on_the_event_loop(
    page: Page, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.ui.storage import Storage

    threads: set[str] = set()
    for name in ("list_objects", "read", "download", "settings"):
        original = getattr(Storage, name)

        def noted(self: Any, *args: Any, original: Any = original, **kwargs: Any) -> Any:
            threads.add(threading.current_thread().name.rpartition("_")[0])
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Storage, name, noted)
    stored.lines("predictions", datetime.now(UTC), {"images": []})
    for path in PATHS:
        page.get(path)
    page.get(f"/images/{stored.picture(DIGEST)}")
    names = ("find", "index", "money", "newest", "panel", "picture", "record", "search")
    assert threads == {f"imagen-ui-{name}" for name in names}


def test_an_answer_is_always_valid_json(page: Page, stored: Stored) -> None:
    """Records with numbers that JSON does not have must not break the page."""
    stored.put(
        "records/health/ds=" + datetime.now(UTC).date().isoformat() + ".jsonl",
        json.dumps(
            {
                "run_id": "r",
                "at": datetime.now(UTC).isoformat(),
                "verdict": {"status": "DOWN"},
                "totals": {"prompts": float("inf"), "images": float("nan"), "bytes": 1e400},
                "readings": {"system_lag": float("nan"), "backlog_age": 10**30},
            }
        ).encode(),
    )
    shown = page.data("stream")
    assert shown["totals"] == {}
    assert shown["check"]["readings"] == {}
    assert shown["word"] == "DOWN"
