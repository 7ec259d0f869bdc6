"""The page in a real Airflow, behind its login."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from tests.conftest import BUCKET
from tests.e2e.conftest import Operated
from tests.e2e.visitor import Visitor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# A valid value for each path parameter of a route.
EXAMPLES = {"name": "page.css", "path": "00/" + "0" * 32 + "-0.png"}

DIGEST = "cd" + "0123456789" * 3
PATH = f"images/cd/{DIGEST}-0.png"
PICTURE = b"\x89PNG\r\n\x1a\n" + b"picture" * 100_000


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
    """Return one address per route."""
    from imagen_ops.ui.app import routes
    from imagen_ops.ui.storage import Storage
    from imagen_ops.ui.turns import Turns

    queries = Turns("test", threads=1, waiting=1, user_threads=1, user_waiting=1)
    paths = [getattr(route, "path", None) for route in routes(Storage(), queries).routes]
    assert all(paths), "this test cannot request a route without a path"
    return [
        "/imagen" + re.sub(r"{(\w+)(?::path)?}", lambda match: EXAMPLES[match[1]], str(path))
        for path in paths
    ]


@pytest.mark.usefixtures("stored")
def test_without_a_login_everything_is_401(operated: Operated) -> None:
    stranger = Visitor(operated, None)
    targets = addresses()
    assert len(targets) >= 9
    for target in [*targets, f"/imagen/{PATH}", "/imagen/none", "/imagen/images/../api/stream"]:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            status, headers, body = stranger.ask(target, method)
            assert status == 401, (method, target)
            assert "content-security-policy" in headers
            assert b"PNG" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_no_method_changes_anything(operated: Operated, method: str) -> None:
    assert Visitor(operated, "admin").ask("/imagen/api/stream", method)[0] == 405


@pytest.mark.usefixtures("stored")
def test_a_viewer_sees_everything_and_may_trigger_nothing(operated: Operated) -> None:
    viewer = Visitor(operated, "viewer")
    status, headers, body = viewer.ask("/imagen/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>Imagen</title>" in body
    for panel in ("stream", "plots", "backfills", "dead-letters"):
        viewer.panel(panel)
    image = viewer.panel("images?limit=1")["images"][0]
    assert (image["url"], image["prompt"]) == (PATH, "<b>A fox</b>")
    status, headers, body = viewer.ask(f"/imagen/{image['url']}")
    assert (status, headers["content-type"], body) == (200, "image/png", PICTURE)
    assert headers["cache-control"] == "private, no-cache", "an image ends with the login"
    actions = viewer.panel("actions")
    assert actions["user"] == "viewer"
    assert {dag["allowed"] for dag in actions["dags"]} == {False}
    admins = Visitor(operated, "admin").panel("actions")["dags"]
    assert {dag["allowed"] for dag in admins} == {True}
    assert {dag["dag_id"] for dag in admins} == {dag.dag_id for dag in operated.client.dags()}


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    "target",
    [
        f"/imagen/images/../images/cd/{DIGEST}-0.png",
        f"/imagen/images/%2e%2e/images/cd/{DIGEST}-0.png",
        f"/imagen/images/cd%2f{DIGEST}-0.png",
        "/imagen/images/..%2f..%2frecords/health/ds=TODAY.jsonl",
        f"/imagen/images//cd/{DIGEST}-0.png",
        f"/imagen/images/gs://{BUCKET}/{PATH}",
        "/imagen/images/recent/predictions/",
        "/imagen/assets/..%2fapp.py",
    ],
)
def test_a_path_that_leads_elsewhere_is_404(operated: Operated, target: str) -> None:
    target = target.replace("TODAY", f"{datetime.now(UTC):%Y-%m-%d}")
    assert Visitor(operated, "admin").ask(target)[0] == 404


def test_airflows_menu_links_to_the_page(operated: Operated) -> None:
    status, _, body = Visitor(operated, "admin").ask("/api/v2/plugins")
    assert status == 200
    views = [view for plugin in json.loads(body)["plugins"] for view in plugin["external_views"]]
    [ours] = [view for view in views if view["name"] == "Imagen"]
    assert Visitor(operated, "viewer").ask(f"/{ours['href']}")[0] == 200
    assert Visitor(operated, "viewer").ask(f"/{ours['icon']}")[0] == 200


def test_one_users_many_requests_leave_room_for_another_users(operated: Operated) -> None:
    viewer, admin = Visitor(operated, "viewer"), Visitor(operated, "admin")
    admin.panel("stream")

    def ask(n: int) -> int:
        return viewer.ask(f"/imagen/images/00/00{n:030x}-0.png")[0]

    with ThreadPoolExecutor(300) as threads:
        asked = [threads.submit(ask, n) for n in range(600)]
        began = time.monotonic()
        admin.panel("stream")
        assert admin.ask("/imagen/")[0] == 200
        took = time.monotonic() - began
    answers = Counter(each.result() for each in asked)
    print(f"another user's panel and shell took {took:.2f} s; the many got {answers}")
    assert set(answers) <= {404, 503}
    assert took < 10, "Airflow itself looks up each login in its database, one after the other"
