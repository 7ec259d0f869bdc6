"""The Dataflow API in this process, with jobs that start in no time, through Google's client."""

import asyncio
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

from localcloud.dataflow import JobService, Settings, dataflow_app, templates
from localcloud.dataflow.states import JobType
from localcloud.dataflow.templates import Program
from localcloud.http import HttpServer

PROJECT, REGION = "demo-project", "us-central1"
_MODULE = "tests.localcloud.dataflow.fake_job"
_OPTIONAL = (
    *("seconds", "exit", "logs_error", "stubborn", "never_ready"),
    *("starts_with", "until", "drains_until", "messages_subscription"),
)


class Objects:
    """Cloud Storage, as far as Dataflow looks at it."""

    def __init__(self) -> None:
        self.contents: dict[tuple[str, str], bytes] = {}

    def read(self, bucket: str, name: str) -> bytes:
        return self.contents[bucket, name]

    def exists(self, bucket: str, name: str) -> bool:
        return (bucket, name) in self.contents


@dataclasses.dataclass
class Dataflow:
    """A running stand-in and what the tests do with it."""

    state: Path
    eventually: Callable[..., Any]
    objects: Objects = dataclasses.field(default_factory=Objects)
    settings: Settings = dataclasses.field(
        default_factory=lambda: Settings(queued_s=0.02, pending_s=0.02)
    )

    _clients: threading.local = dataclasses.field(default_factory=threading.local)

    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

        async def serve() -> int:
            environment = {"TOPIC": "from the local cloud"}
            self.service = JobService(self.state, environment, self.settings)
            self._server = HttpServer(dataflow_app(self.service, self.objects, environment, seed=1))
            port = await self._server.start()
            self.service.start()
            return port

        self.url = f"http://127.0.0.1:{self._run(serve())}"

    def resume(self) -> None:
        """Go on with former jobs, as the local cloud does some time after it began to serve."""

        async def go_on() -> None:
            self.service.start()

        self._run(go_on())

    def stop(self) -> None:
        async def end() -> None:
            await self.service.stop()
            await self._server.stop()

        self._run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=120)

    def client(self) -> Any:
        """A client of this thread's own: they are not for several."""
        found = getattr(self._clients, "client", None)
        if found is None or self._clients.url != self.url:
            self._clients.url = self.url
            found = self._clients.client = build(
                "dataflow",
                "v1b3",
                client_options=ClientOptions(api_endpoint=self.url),
                credentials=Credentials(token="test"),
                cache_discovery=False,
            )
        return found

    @property
    def jobs(self) -> Any:
        return self.client().projects().locations().jobs()

    def launch_raw(self, **launch: Any) -> Any:
        body = {"launchParameter": launch.pop("body", launch)}
        if launch.pop("validate_only", False):
            body["validateOnly"] = True
        templates = self.client().projects().locations().flexTemplates()
        return templates.launch(projectId=PROJECT, location=REGION, body=body).execute()

    def launch(
        self, name: str = "imagen-stream", kind: str = "stream", **others: Any
    ) -> dict[str, Any]:
        parameters = {"words": "needed", **others.pop("parameters", {})}
        answer = self.launch_raw(
            jobName=name,
            containerSpecGcsPath=f"gs://bucket/templates/{kind}.json",
            parameters=parameters,
            **others,
        )
        return dict(answer.get("job", {}))

    def get(self, job_id: str, **query: Any) -> dict[str, Any]:
        found = self.jobs.get(projectId=PROJECT, location=REGION, jobId=job_id, **query)
        return dict(found.execute())

    def state_of(self, job_id: str) -> str:
        return str(self.get(job_id)["currentState"]).removeprefix("JOB_STATE_")

    def wait(self, job_id: str, *states: str) -> str:
        def there() -> str | None:
            state = self.state_of(job_id)
            return state if state in states else None

        return str(self.eventually(there, what=f"state {' or '.join(states)}"))

    def running(self, name: str = "imagen-stream", **others: Any) -> str:
        """Launch a job and return its id once it is RUNNING."""
        job_id = str(self.launch(name, **others)["id"])
        self.wait(job_id, "RUNNING")
        return job_id

    def request(self, job_id: str, state: str) -> dict[str, Any]:
        body = {"requestedState": f"JOB_STATE_{state}"}
        update = self.jobs.update(projectId=PROJECT, location=REGION, jobId=job_id, body=body)
        return dict(update.execute())

    def no_longer_queued(self, job_id: str) -> None:
        """End the job's time in the queue, so that a test need not wait for it."""
        lifecycle, _ = self.service._lifecycles[job_id]
        self.loop.call_soon_threadsafe(lifecycle.wake)

    def messages(self, job_id: str, **query: Any) -> list[dict[str, Any]]:
        answer = self.jobs.messages().list(
            projectId=PROJECT, location=REGION, jobId=job_id, **query
        )
        return list(answer.execute().get("jobMessages", []))

    def list(self, **query: Any) -> dict[str, Any]:
        return dict(self.jobs.list(projectId=PROJECT, location=REGION, **query).execute())

    def file(self, job_id: str, name: str) -> Path:
        return self.state / "jobs" / job_id / name

    def started(self, job_id: str) -> bool:
        """Whether its process is there; the file with its number is empty for a moment."""
        pid = self.file(job_id, "pid")
        return pid.exists() and bool(pid.read_text())

    def pid(self, job_id: str) -> int:
        return int(self.file(job_id, "pid").read_text())


@pytest.fixture
def dataflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> Iterator[Dataflow]:
    monkeypatch.setattr(
        templates,
        "PROGRAMS",
        {
            "imagen-stream": Program(_MODULE, JobType.STREAMING),
            "imagen-backfill": Program(_MODULE, JobType.BATCH),
        },
    )
    running = Dataflow(tmp_path / "dataflow", eventually)
    for kind in ("stream", "backfill"):
        parameters = [{"name": name, "isOptional": True} for name in _OPTIONAL]
        parameters.append({"name": "words", "regexes": ["[a-z]+"]})
        spec = {
            "image": f"us-docker.pkg.dev/p/imagen/imagen-{kind}:local",
            "sdkInfo": {"language": "PYTHON"},
            "metadata": {"name": kind, "parameters": parameters},
            "defaultEnvironment": {"machineType": "e2-standard-2"},
        }
        running.objects.contents["bucket", f"templates/{kind}.json"] = json.dumps(spec).encode()
    running.start()
    yield running
    running.stop()
