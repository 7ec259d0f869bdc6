"""Vertex AI's batch jobs and Cloud Storage in this process, reached over HTTP."""

import asyncio
import contextlib
import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from localcloud.storage import ObjectStore, storage_app
from localcloud.vertex import Behaviour, Settings, vertex_app
from tests.conftest import _call, eventually

BUCKET = "demo-project-imagen"
MODEL = "gemini-nano-banana-2.1"
PARENT = "projects/demo-project/locations/global"
INPUT = f"gs://{BUCKET}/batch/in.jsonl"
OUTPUT = f"gs://{BUCKET}/batch/out"
ENDED = {
    f"JOB_STATE_{state}"
    for state in ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")
}


def row(text: str, number: int = 0, **config: Any) -> dict[str, Any]:
    """A row of an input file, with a label that tells it apart."""
    request = {
        "contents": [{"role": "user", "parts": [{"text": text}]}],
        "generationConfig": {"responseModalities": ["IMAGE"], **config},
        "labels": {"row": f"r{number}"},
    }
    return {"request": request}


def order(**others: Any) -> dict[str, Any]:
    """The body of a request that creates a job."""
    return {
        "displayName": "night",
        "model": f"publishers/google/models/{MODEL}",
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [INPUT]}},
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": OUTPUT},
        },
        **others,
    }


@dataclasses.dataclass
class Services:
    """Where both are, and what a test does with them."""

    vertex: str
    storage: str
    objects: Any

    def set(self, **settings: Any) -> dict[str, Any]:
        """Change settings of batch jobs, and return the counts so far."""
        return dict(_call("PATCH", f"{self.vertex}/localcloud/batch", settings)["counts"])

    def models(self, **settings: Any) -> dict[str, Any]:
        """Change settings of the models, and return the counts so far."""
        return dict(_call("PATCH", f"{self.vertex}/localcloud", settings)["counts"])

    def put(self, rows: list[Any] | bytes, name: str = "batch/in.jsonl") -> None:
        """Write an object; of a list, a line for each."""
        lines = rows if isinstance(rows, bytes) else b"".join(_line(each) for each in rows)
        self.objects.blob(name).upload_from_string(lines)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API; the path begins behind the version."""
        return _call(method, f"{self.vertex}/v1/{path}", body)

    def create(self, **others: Any) -> str:
        """Create a job, and return its name."""
        return str(self.call("POST", f"{PARENT}/batchPredictionJobs", order(**others))["name"])

    def ended(self, name: str) -> dict[str, Any]:
        """Wait until a job has ended, and return it."""
        return self.reached(name, *ENDED)

    def reached(self, name: str, *states: str) -> dict[str, Any]:
        """Wait until a job is in one of some states, and return it."""

        def reached() -> Any:
            job = self.call("GET", name)
            return job if job["state"] in states else None

        return dict(eventually(reached, within_s=60, what=f"{name} in {states}"))

    def run(self, rows: list[Any] | bytes, **settings: Any) -> dict[str, Any]:
        """Run a job over rows to its end, and return it."""
        self.put(rows)
        self.set(**settings)
        return self.ended(self.create())

    def lines(self, job: dict[str, Any]) -> list[bytes]:
        """Return what a job has written, file by file."""
        return [line for lines in self.files(job).values() for line in lines]

    def files(self, job: dict[str, Any]) -> dict[str, list[bytes]]:
        """Return what a job has written, by the names of its files."""
        folder = job["outputInfo"]["gcsOutputDirectory"].removeprefix(f"gs://{BUCKET}/")
        return {
            blob.name.removeprefix(f"{folder}/"): blob.download_as_bytes().splitlines(keepends=True)
            for blob in self.objects.list_blobs(prefix=f"{folder}/")
        }

    def rows(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what a job has written, parsed."""
        return [json.loads(line) for line in self.lines(job)]


def _line(each: Any) -> bytes:
    return (each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n"


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Services]:
    """Serve both on a state folder."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    store = ObjectStore(folder / "storage")
    with contextlib.suppress(Exception):
        store.create_bucket(BUCKET)
    objects = TestServer(storage_app(store))
    run(objects.start_server())
    url = f"http://127.0.0.1:{objects.port}"
    behaviour = Behaviour(Settings(latency_s=0.0, canned_bytes=2000), seed=1)
    models = TestServer(
        vertex_app(behaviour, storage_url=url, batch_records=folder / "batch-jobs.json")
    )
    run(models.start_server())
    client = storage.Client(
        project="demo-project",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": url},
    )
    services = Services(f"http://127.0.0.1:{models.port}", url, client.bucket(BUCKET))
    services.set(pending_s=0)
    try:
        yield services
    finally:
        run(models.close())
        run(objects.close())
        store.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


@pytest.fixture(name="served_on")
def _served_on() -> Any:
    """`served`, for tests that restart both."""
    return served


@pytest.fixture(scope="session")
def _services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with served(tmp_path_factory.mktemp("batch")) as services:
        yield services


@pytest.fixture
def services(_services: Services) -> Services:
    """Both, quick and without faults."""
    from localcloud.vertex.batch import Settings as Batches

    _services.models(**dataclasses.asdict(Settings(latency_s=0.0, canned_bytes=2000)))
    _services.set(**dataclasses.asdict(Batches(pending_s=0.0)))
    return _services
