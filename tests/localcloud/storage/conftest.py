"""Servers on free ports, each with a thread and a loop of its own, and clients that use them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from gcloud.aio.storage import Storage
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from localcloud.http import HttpServer
from localcloud.metadata import metadata_app
from localcloud.storage import Faults, ObjectStore, storage_app

T = TypeVar("T")


class ServerThread:
    """An app on a port of this machine, served by a thread."""

    def __init__(self, app: web.Application) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = HttpServer(app)
        self.port = self._run(self._server.start())

    def stop(self) -> None:
        self._run(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def _run(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


class RunningStorage:
    """A storage server over a folder that outlives it."""

    def __init__(self, root: Path, faults: Faults | None = None) -> None:
        self.store = ObjectStore(root)
        self._thread = ServerThread(storage_app(self.store, faults=faults, seed=1))
        self.port = self._thread.port
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._thread.stop()
        self.store.close()


@pytest.fixture
def serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., RunningStorage]]:
    """Start (or start again) a server over this test's folder, and point the clients to it."""
    running: list[RunningStorage] = []

    def start(faults: Faults | None = None) -> RunningStorage:
        for server in running:
            server.stop()
        running[:] = [RunningStorage(tmp_path / "state", faults)]
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running[0].url)
        return running[0]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def server(serve: Callable[..., RunningStorage]) -> RunningStorage:
    running = serve()
    running.store.create_bucket("pictures")
    return running


@pytest.fixture
def client(server: RunningStorage) -> storage.Client:
    return storage.Client(project="demo-project", credentials=AnonymousCredentials())


@pytest.fixture
def bucket(client: storage.Client) -> storage.Bucket:
    return client.bucket("pictures")


@pytest_asyncio.fixture
async def aio(server: RunningStorage) -> AsyncIterator[Storage]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Storage(session=session)


@pytest.fixture
def metadata_address() -> Iterator[str]:
    """host:port of a metadata server for the project demo-project."""
    thread = ServerThread(metadata_app("demo-project"))
    yield f"127.0.0.1:{thread.port}"
    thread.stop()
