"""A bucket with what jobs and DAGs leave in it, and the page over it, with its requests counted."""

import asyncio
import dataclasses
import json
import threading
import types
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.localcloud.storage.conftest import RunningStorage
from tests.plugins.imagen_ops.test_settings import COMPLETE

BUCKET = COMPLETE["IMAGEN_BUCKET"]
# Nothing of this is about credentials; `tests/e2e` has the ones of a real Airflow.
CONNECTION = {
    "conn_type": "google_cloud_platform",
    "extra": {"project": COMPLETE["IMAGEN_PROJECT"], "is_anonymous": True},
}
PICTURE = b"\x89PNG\r\n\x1a\n" + b"picture" * 100


@dataclasses.dataclass
class Stored:
    """The deployment's bucket, from behind: what is put here costs no request."""

    server: RunningStorage
    requests: list[str]
    _goes_on: threading.Event = dataclasses.field(default_factory=threading.Event)
    _stopped: bool = False

    def hang(self) -> None:
        """From now on take requests, and answer none of them."""
        self._goes_on.clear()

    def stop(self) -> None:
        """Be gone."""
        self._goes_on.set()
        if not self._stopped:
            self._stopped = True
            self.server.stop()

    def put(self, name: str, content: bytes | list[Any]) -> None:
        if isinstance(content, list):
            content = b"".join(json.dumps(line).encode() + b"\n" for line in content)
        writer = self.server.store.new_content()
        writer.append([content])
        self.server.store.put(BUCKET, name, writer.finish())

    def records(self, folder: str, *records: dict[str, Any]) -> None:
        """Keep records, each on its day."""
        days: dict[str, list[dict[str, Any]]] = {}
        for record in records:
            day = datetime.fromisoformat(record["at"]).astimezone(UTC).date().isoformat()
            days.setdefault(day, []).append(record)
        for day, of_day in days.items():
            self.put(f"records/{folder}/ds={day}.jsonl", of_day)

    def lines(self, kind: str, at: datetime, *lines: dict[str, Any], tag: str = "0" * 8) -> str:
        """Write an object of the index, as beam_jobs/images/recent_index.py names it; its id."""
        name = f"{9_999_999_999_999 - int(at.timestamp() * 1000):013d}-{tag}"
        self.put(f"images/recent/{kind}/{name}.jsonl", list(lines))
        return name

    def picture(self, digest: str, index: int = 0, extension: str = "png") -> str:
        """Store an image, and return its path below the images."""
        path = f"{digest[:2]}/{digest}-{index}.{extension}"
        self.put(f"images/{path}", PICTURE)
        return path


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stored]:
    requests: list[str] = []
    goes_on = threading.Event()
    goes_on.set()

    async def count(request: web.Request) -> web.StreamResponse | None:
        # Google's client looks at the bucket by itself, once, for its traces.
        if not request.raw_path.startswith(f"/storage/v1/b/{BUCKET}?"):
            requests.append(request.raw_path)
        await asyncio.to_thread(goes_on.wait)
        return None

    server = RunningStorage(tmp_path / "storage", count)
    here = Stored(server, requests, goes_on)
    server.store.create_bucket(BUCKET)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(CONNECTION))
    yield here
    here.stop()


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read is kept for longer than a test takes on any machine."""
    from imagen_ops.ui.sharing import Shared

    get = Shared.get
    monkeypatch.setattr(Shared, "get", lambda self, key, _, read: get(self, key, 3600.0, read))


@pytest.fixture
def patient(keeping: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And storage is given as long: what it says is told, not that it takes its time."""
    from imagen_ops.ui import app
    from imagen_ops.ui.storage import Deadline

    monkeypatch.setattr(app, "PATIENCE_S", 240.0)
    monkeypatch.setattr(Deadline.__init__, "__defaults__", (240.0,))


@pytest.fixture
def storage(stored: Stored) -> Any:
    from imagen_ops.ui.storage import Storage

    return Storage()


class Page:
    """The page's app as somebody sees it who may: what is about access is tested elsewhere."""

    def __init__(self, app: Any) -> None:
        from starlette.testclient import TestClient

        self.app = app
        self.http = TestClient(app, base_url="http://airflow", raise_server_exceptions=False)

    def get(self, path: str, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.get(path, headers=named, follow_redirects=False)

    def panel(self, path: str) -> dict[str, Any]:
        """Ask for a panel, and return its answer."""
        response = self.get(f"/api/{path}")
        assert response.status_code == 200, response.text
        answer = response.json()
        assert set(answer) == {"at", "data", "error"}
        assert datetime.fromisoformat(answer["at"]).tzinfo
        return dict(answer)

    def data(self, path: str) -> Any:
        """Ask for a panel that has no trouble, again where it takes long; its data."""
        # Not above: it sets the environment, and a program of test_cost.py imports this module.
        from tests.conftest import eventually

        answers: list[dict[str, Any]] = []

        def answered() -> bool:
            answers.append(self.panel(path))
            return "has not answered" not in str(answers[-1]["error"])

        eventually(answered, what=f"an answer for {path}")
        assert answers[-1]["error"] is None
        return answers[-1]["data"]


async def everybody(request: Any) -> Any:
    """Let everybody in."""
    return types.SimpleNamespace(get_name=lambda: "ada")


@pytest.fixture
def page(stored: Stored, storage: Any) -> Page:
    from imagen_ops.ui.app import build

    return Page(build(storage, everybody))


def raw_get(app: Any, target: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Ask as no client would, which mends paths: `target` goes out as it is."""
    from urllib.parse import unquote

    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"airflow")],
        "client": ("127.0.0.1", 1),
        "server": ("airflow", 80),
    }
    sent: list[Any] = []

    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in asked:
            return message
        await asyncio.Event().wait()  # who asks stays to hear the answer
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(one.get("body", b"") for one in sent[1:])
