"""The page where it lives: in a real Airflow, behind its login, in a browser."""

import http.client
import json
import math
import os
import re
import shutil
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BUCKET, eventually
from tests.e2e.conftest import Operated

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CHROMIUM = shutil.which("chromium")
# With a folder in it, the pictures of the documents are taken anew.
PICTURES = os.environ.get("PICTURES")
SCRIPT = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"
# For each parameter that a route may have, one that makes an address of it.
EXAMPLES = {"name": "page.css", "path": "00/" + "0" * 32 + "-0.png"}

DIGEST = "cd" + "0123456789" * 3
PATH = f"images/cd/{DIGEST}-0.png"
PICTURE = b"\x89PNG\r\n\x1a\n" + b"picture" * 100_000


class Browser:
    """Sends paths as they are, which other clients mend; `token` is its login's, if it has one."""

    def __init__(self, operated: Operated, user: str | None) -> None:
        self._at = urllib.parse.urlsplit(operated.airflow.url)
        self._headers: dict[str, str] = {}
        if user:
            login = {"username": user, "password": operated.airflow.home.passwords()[user]}
            answer = self.ask("/auth/token", "POST", json.dumps(login))
            # As a browser has it.
            self._headers["Cookie"] = f"_token={json.loads(answer[2])['access_token']}"

    def ask(
        self, target: str, method: str = "GET", body: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        assert self._at.hostname
        connection = http.client.HTTPConnection(self._at.hostname, self._at.port, timeout=30)
        headers = {**self._headers, "Content-Type": "application/json"}
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return response.status, named, response.read()

    def panel(self, name: str) -> Any:
        status, _, body = self.ask(f"/imagen/api/{name}")
        assert status == 200
        answer = json.loads(body)
        assert answer["error"] is None
        return answer["data"]


@pytest.fixture
def stored(operated: Operated) -> Iterator[None]:
    at = datetime.now(UTC)
    bucket = operated.lane.storage.bucket(BUCKET)
    bucket.blob(PATH).upload_from_string(PICTURE, content_type="image/png")
    name = f"{9_999_999_999_999 - int(at.timestamp() * 1000):013d}-00000000"
    line = {"schema": "imagen.recent/1", "at": at.isoformat(), "prompt": "<b>A fox</b>"}
    line |= {"images": [f"gs://{BUCKET}/{PATH}"], "model": "m", "reused": False}
    bucket.blob(f"images/recent/predictions/{name}.jsonl").upload_from_string(
        json.dumps(line) + "\n"
    )
    yield
    bucket.delete_blobs([PATH, f"images/recent/predictions/{name}.jsonl"])


def addresses() -> list[str]:
    """Return one address for each route there is."""
    from imagen_ops.ui.app import routes
    from imagen_ops.ui.storage import Storage

    found = [getattr(route, "path", None) for route in routes(Storage()).routes]
    assert all(found), "a route without a path is one that this test cannot try"
    return [
        "/imagen" + re.sub(r"{(\w+)(?::path)?}", lambda match: EXAMPLES[match[1]], str(path))
        for path in found
    ]


@pytest.mark.usefixtures("stored")
def test_without_a_login_there_is_nothing_to_see(operated: Operated) -> None:
    stranger = Browser(operated, None)
    found = addresses()
    assert len(found) >= 9
    for target in [*found, f"/imagen/{PATH}", "/imagen/none", "/imagen/images/../api/stream"]:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            status, headers, body = stranger.ask(target, method)
            assert status == 401, (method, target)
            assert "content-security-policy" in headers
            assert b"PNG" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_there_changes_anything(operated: Operated, method: str) -> None:
    assert Browser(operated, "admin").ask("/imagen/api/stream", method)[0] == 405


@pytest.mark.usefixtures("stored")
def test_a_viewer_sees_all_of_it_and_may_trigger_nothing(operated: Operated) -> None:
    viewer = Browser(operated, "viewer")
    status, headers, body = viewer.ask("/imagen/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>Imagen</title>" in body
    for panel in ("stream", "plots", "backfills", "dead-letters"):
        viewer.panel(panel)
    image = viewer.panel("images?limit=1")["images"][0]
    assert (image["url"], image["prompt"]) == (PATH, "<b>A fox</b>")
    status, headers, body = viewer.ask(f"/imagen/{image['url']}")
    assert (status, headers["content-type"], body) == (200, "image/png", PICTURE)
    actions = viewer.panel("actions")
    assert actions["user"] == "viewer"
    assert {dag["allowed"] for dag in actions["dags"]} == {False}
    admins = Browser(operated, "admin").panel("actions")["dags"]
    assert {dag["allowed"] for dag in admins} == {True}
    assert {dag["dag_id"] for dag in admins} == {dag.dag_id for dag in operated.client.dags()}


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    "target",
    [
        f"/imagen/images/../images/cd/{DIGEST}-0.png",
        f"/imagen/images/%2e%2e/images/cd/{DIGEST}-0.png",
        f"/imagen/images/cd%2f{DIGEST}-0.png",
        f"/imagen/images/..%2f..%2frecords/health/ds={datetime.now(UTC):%Y-%m-%d}.jsonl",
        f"/imagen/images//cd/{DIGEST}-0.png",
        f"/imagen/images/gs://{BUCKET}/{PATH}",
        "/imagen/images/recent/predictions/",
        "/imagen/assets/..%2fapp.py",
    ],
)
def test_a_path_that_leads_elsewhere_is_404(operated: Operated, target: str) -> None:
    assert Browser(operated, "admin").ask(target)[0] == 404


def test_the_menu_leads_to_it(operated: Operated) -> None:
    status, _, body = Browser(operated, "admin").ask("/api/v2/plugins")
    assert status == 200
    views = [view for plugin in json.loads(body)["plugins"] for view in plugin["external_views"]]
    [ours] = [view for view in views if view["name"] == "Imagen"]
    assert Browser(operated, "viewer").ask(f"/{ours['href']}")[0] == 200
    assert Browser(operated, "viewer").ask(f"/{ours['icon']}")[0] == 200


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH (Debian: chromium)")
def test_an_operator_sees_the_stream_and_its_images_and_gets_to_the_form(
    operated: Operated,
) -> None:
    from playwright.sync_api import expect, sync_playwright

    operated.run("imagen_stream_start")
    for text in (SCRIPT, "fault:blocked and so refused", *(f"A lighthouse, {n}" for n in range(7))):
        operated.lane.publish(text)
    operated.lane.predictions(8)
    operated.lane.dead_letters(1)
    operated.health()
    a_day_of_looks(operated)
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_context(viewport={"width": 1440, "height": 1100}).new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.set_default_timeout(30_000)
        page.goto(f"{operated.airflow.url}/plugin/imagen")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill(operated.airflow.home.passwords()["admin"])
        page.get_by_role("button", name=re.compile("sign in|log in", re.IGNORECASE)).click()
        page.wait_for_url(re.compile(r"^(?!.*/auth/)"))
        page.goto(f"{operated.airflow.url}/plugin/imagen")
        frame = page.frame_locator("iframe")
        expect(frame.get_by_text("HEALTHY").first).to_be_visible()
        expect(frame.get_by_text("BLOCKED").first).to_be_visible()
        expect(frame.get_by_text(SCRIPT).first).to_be_visible()
        expect(frame.locator("#plots path").first).to_be_visible()
        picture(page, "page.png")
        frame.locator("#images img").first.click()
        large = frame.locator("dialog img")
        expect(large).to_be_visible()
        eventually(lambda: large.evaluate("image => image.naturalWidth > 0"), what="the image")
        page.keyboard.press("Escape")
        expect(frame.locator("dialog")).to_be_hidden()
        frame.locator("a[href*='imagen_stream_start']").first.click()
        page.wait_for_url(re.compile("/dags/imagen_stream_start"))
        page.get_by_role("button", name="Trigger").first.click()
        expect(page.get_by_text("If a stream is active already").first).to_be_visible()
        picture(page, "trigger-form.png")
        away = [
            url for url in asked if not url.startswith((operated.airflow.url, "data:", "blob:"))
        ]
        assert away == []
        assert not any(frame.evaluate("window.pwned") for frame in page.frames)
        browser.close()


def a_day_of_looks(operated: Operated) -> None:
    """Put a look every five minutes of the last day before the one that there is."""
    last = operated.records("health")[-1]
    now = datetime.fromisoformat(last["at"])
    days: dict[str, list[str]] = {}
    prompts, failed, refused = 0, 0, 0
    for number in range(288, 0, -1):
        at = now - timedelta(minutes=5 * number)
        busy = 1 - math.cos(2 * math.pi * number / 288) + (6 if 60 < number < 80 else 0)
        prompts, failed = prompts + round(120 * busy), failed + round(3 * busy)
        refused += round(40 * busy) if 60 < number < 80 else 0
        totals = {"prompts": prompts, "predictions": prompts - failed, "images": prompts}
        totals |= {"failures": failed, "failures_BLOCKED": failed, "quota_refusals": refused}
        lag = 12 + 10 * busy
        look = {**last, "run_id": f"before-{number}", "at": at.isoformat(), "totals": totals}
        look["job"] = {"id": "2026-11-01_00_00_00-1", "state": "RUNNING"}
        look["readings"] = {"system_lag": lag, "watermark_age": 2 * lag}
        look["readings"] |= {"backlog_age": lag**2 / 9, "backlog_size": round(40 * busy**2)}
        days.setdefault(f"{at:%Y-%m-%d}", []).append(json.dumps(look))
    days.setdefault(f"{now:%Y-%m-%d}", []).append(json.dumps(last))
    bucket = operated.lane.storage.bucket(BUCKET)
    for day, lines in days.items():
        bucket.blob(f"records/health/ds={day}.jsonl").upload_from_string("\n".join(lines) + "\n")


def picture(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / name)
