"""A bucket with data like that of jobs and DAGs, and the page, whose requests are counted."""

import asyncio
import dataclasses
import json
import threading
import types
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from beam_jobs.images.location import END_OF_TIME_MS, countdown, day_folder, index_folder
from tests.localcloud.storage.conftest import RunningStorage
from tests.plugins.imagen_ops.test_settings import COMPLETE

BUCKET = COMPLETE["IMAGEN_BUCKET"]
# These tests need no credentials. Those in `tests/e2e` use the ones of a real Airflow.
CONNECTION = {
    "conn_type": "google_cloud_platform",
    "extra": {"project": COMPLETE["IMAGEN_PROJECT"], "is_anonymous": True},
}
PICTURE = b"\x89PNG\r\n\x1a\n" + b"picture" * 100


@dataclasses.dataclass
class Stored:
    """Direct access to the deployment's bucket, which counts as no request."""

    server: RunningStorage
    requests: list[str]
    # Seconds that a request takes, by its path.
    delay_s: Callable[[str], float] = lambda path: 0.0
    _goes_on: threading.Event = dataclasses.field(default_factory=threading.Event)
    _stopped: bool = False

    def hang(self) -> None:
        """From now on accept requests without answering them."""
        self._goes_on.clear()

    def go_on(self) -> None:
        """Answer all requests again."""
        self._goes_on.set()

    def stop(self) -> None:
        """Shut the server down."""
        self._goes_on.set()
        if not self._stopped:
            self._stopped = True
            self.server.stop()

    def put(
        self, name: str, content: bytes | list[Any], metadata: dict[str, str] | None = None
    ) -> None:
        if isinstance(content, list):
            content = b"".join(json.dumps(line).encode() + b"\n" for line in content)
        writer = self.server.store.new_content()
        writer.append([content])
        fields = {"metadata": metadata} if metadata else {}
        self.server.store.put(BUCKET, name, writer.finish(), fields)

    def records(self, folder: str, *records: dict[str, Any]) -> None:
        """Store records, each in the object of its day."""
        days: dict[str, list[dict[str, Any]]] = {}
        for record in records:
            day = datetime.fromisoformat(record["at"]).astimezone(UTC).date().isoformat()
            days.setdefault(day, []).append(record)
        for day, its_records in days.items():
            self.put(f"records/{folder}/ds={day}.jsonl", its_records)

    def lines(self, kind: str, at: datetime, *lines: dict[str, Any], tag: str = "0" * 8) -> str:
        """Store an object of the index, named as `beam_jobs.images.location` says.

        Returns:
            Its name without folder and extension.
        """
        name = f"{END_OF_TIME_MS - int(at.timestamp() * 1000):013d}-{tag}"
        self.put(f"images/{index_folder(kind)}{name}.jsonl", list(lines))
        return name

    def day(self, at: datetime, *lines: Any, tag: str = "0" * 8) -> str:
        """Store an object of the index by day, and return its name."""
        ms = int(at.timestamp() * 1000)
        name = f"{day_folder(at.astimezone(UTC).date())}{countdown(ms)}-{tag}.jsonl"
        self.put(f"images/{name}", list(lines))
        return name

    def picture(self, digest: str, index: int = 0, extension: str = "png") -> str:
        """Store an image, and return its path relative to the images folder."""
        path = f"{digest[:2]}/{digest}-{index}.{extension}"
        self.put(f"images/{path}", PICTURE)
        return path


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stored]:
    requests: list[str] = []
    goes_on = threading.Event()
    goes_on.set()

    async def count(request: web.Request) -> web.StreamResponse | None:
        # Google's client reads the bucket once by itself, for its traces.
        if not request.raw_path.startswith(f"/storage/v1/b/{BUCKET}?"):
            requests.append(request.raw_path)
        await asyncio.to_thread(goes_on.wait)
        await asyncio.sleep(stored.delay_s(request.raw_path))
        return None

    server = RunningStorage(tmp_path / "storage", count)
    stored = Stored(server, requests, _goes_on=goes_on)
    server.store.create_bucket(BUCKET)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(CONNECTION))
    yield stored
    stored.stop()


@pytest.fixture
def long_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cache answers for longer than a test takes on any machine."""
    from imagen_ops.ui.sharing import SharedReads

    get = SharedReads.get
    monkeypatch.setattr(SharedReads, "get", lambda self, key, _, *how: get(self, key, 3600.0, *how))


@pytest.fixture
def long_timeouts(long_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give storage that long too, so that a slow machine causes no time-out errors."""
    from imagen_ops.ui import app
    from imagen_ops.ui.storage import Deadline

    monkeypatch.setattr(app, "ANSWER_TIMEOUT_S", 240.0)
    monkeypatch.setattr(Deadline.__init__, "__defaults__", (240.0,))


@pytest.fixture
def storage(stored: Stored) -> Any:
    from imagen_ops.ui.storage import Storage

    return Storage()


class Page:
    """The page's app as an authorized user sees it. test_access.py tests access control."""

    def __init__(self, app: Any) -> None:
        from starlette.testclient import TestClient

        self.app = app
        self.http = TestClient(app, base_url="http://airflow", raise_server_exceptions=False)

    def get(self, path: str, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.get(path, headers=named, follow_redirects=False)

    def panel(self, path: str) -> dict[str, Any]:
        """Request a panel, and return its answer."""
        response = self.get(f"/api/{path}")
        assert response.status_code == 200, response.text
        answer = response.json()
        assert set(answer) == {"at", "data", "error", "cause"}
        assert datetime.fromisoformat(answer["at"]).tzinfo
        return dict(answer)

    def data(self, path: str) -> Any:
        """Request a panel until it answers in time, and return its data. It must have no error."""
        # Imported late: it changes the environment, and a program in test_cost.py imports this.
        from tests.conftest import eventually

        answers: list[dict[str, Any]] = []

        def answered() -> bool:
            answers.append(self.panel(path))
            return "has not answered" not in str(answers[-1]["error"])

        eventually(answered, what=f"an answer for {path}")
        assert answers[-1]["error"] is None
        return answers[-1]["data"]


async def everybody(request: Any) -> Any:
    """Admit everybody."""
    return types.SimpleNamespace(get_id=lambda: "ada", get_name=lambda: "ada")


@pytest.fixture
def page(stored: Stored, storage: Any) -> Page:
    from imagen_ops.ui.app import build

    return Page(build(storage, everybody))


def raw_get(app: Any, target: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Send `target` exactly as it is. HTTP clients would normalize the path."""
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

    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await asyncio.Event().wait()  # the client stays connected
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])
