"""One local cloud for the whole run, and a lane of its own in it for each test.

Google's libraries read where the metadata server is when they are imported, which is before any
fixture runs. So ports are picked and the environment is set here; the local cloud itself starts
with the first test that asks for it.
"""

import contextlib
import dataclasses
import gc
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import reaper

# Once for a run: xdist's processes inherit the mark of the one that starts them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    reaper.start()

ROOT = Path(__file__).parents[1]
PROJECT = "demo-project"
BUCKET = "demo-project-imagen"

PATIENCE_S = 240.0
"""What only a hang outlasts; a message whose answer was lost comes again after 60 s."""


# How many examples there are is each test's own affair; how long one takes is the machine's, and
# what one run finds every run is to find.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


def _hold() -> socket.socket:
    """A port that nobody is given by chance, minutes before the local cloud binds beside us.

    Linux lets it, as both sides say that they share the address and this one does not listen.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


_SERVICES = ("storage", "vertex", "metadata", "pubsub", "dataflow", "monitoring", "iamcredentials")
_HELD = {name: _hold() for name in _SERVICES}
_PORTS = {name: held.getsockname()[1] for name, held in _HELD.items()}
ENVIRONMENT = {
    "GOOGLE_CLOUD_PROJECT": PROJECT,
    "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{_PORTS['pubsub']}",
    "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{_PORTS['storage']}",
    "GOOGLE_VERTEX_BASE_URL": f"http://127.0.0.1:{_PORTS['vertex']}",
    "GCE_METADATA_HOST": f"127.0.0.1:{_PORTS['metadata']}",
    "GCE_METADATA_IP": f"127.0.0.1:{_PORTS['metadata']}",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW": f"http://127.0.0.1:{_PORTS['dataflow']}/",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": f"http://127.0.0.1:{_PORTS['monitoring']}/",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": (
        f"http://127.0.0.1:{_PORTS['iamcredentials']}/"
    ),
}
os.environ.update(ENVIRONMENT)
# Airflow's too is read when it is imported; never anybody's own.
_AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="airflow-home-")
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
# Airflow's own 30 s may be too short for the first import of its libraries on a busy machine.
os.environ["AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT"] = "300"


# Files whose tests one process runs, one after the other and in this order, so that one Airflow or
# browser serves all of them: it takes up to half a minute of CPU to start.
_TOGETHER = {
    "tests/e2e/test_stream.py": "a deployed Airflow",
    # Two: one after the other, these tests would take longer than all others together.
    "tests/e2e/test_backfill.py": "another deployed Airflow",
    "tests/e2e/test_page.py": "another deployed Airflow",
    "tests/e2e/test_page_in_a_browser.py": "another deployed Airflow",
    "tests/e2e/test_dead_letters.py": "a deployed Airflow",
    "tests/e2e/test_verification.py": "a deployed Airflow",
    "tests/plugins/imagen_ops/alerts/test_run_callbacks_in_airflow.py": "the small Airflow",
    # Stops it at its end.
    "tests/localcloud/airflow/test_standalone.py": "the small Airflow",
    **{f"tests/fab/{p.name}": "an Airflow with FAB" for p in ROOT.glob("tests/fab/test_*.py")},
    **{f"tests/terraform/{p.name}": "one deployment" for p in ROOT.glob("tests/terraform/*.py")},
    **{f"tests/ui/{p.name}": "one browser" for p in ROOT.glob("tests/ui/test_*.py")},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that none is left to run alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    first = [ROOT / name for name in ("tests/localcloud/test_demo.py", *_TOGETHER)]
    order = {path: place for place, path in enumerate(first)}
    items.sort(key=lambda item: (order.get(item.path, len(order)), item.path not in slow))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage in what is collected, now or later: it stays until the end.

    That was a quarter of the time of collecting, in each process, and much of the end of each.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let each process take whole files. (xdist's groups by mark fail with pytest 9.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return _TOGETHER.get(path, path)

    return ByFile(config, log)


def eventually(
    condition: Callable[[], Any], *, within_s: float = PATIENCE_S, what: str = "the condition"
) -> Any:
    """Return the first true value of `condition`; fail if none comes within the deadline.

    It asks less often the longer it takes: what is asked shares the processors with what is waited
    for.
    """
    began = time.monotonic()
    while True:
        if value := condition():
            return value
        if (waited := time.monotonic() - began) > within_s:
            pytest.fail(f"{what} did not hold within {within_s} s; last value {value!r}")
        time.sleep(min(max(0.02, waited / 20), 0.5))


@pytest.fixture(name="eventually", scope="session")
def _eventually() -> Callable[..., Any]:
    return eventually


@dataclasses.dataclass
class Cloud:
    """The local cloud's process, and how its models behave."""

    state: Path
    environment: dict[str, str]
    _changed: bool = True

    def models(self, **settings: float) -> dict[str, Any]:
        """Change how the models behave, and return their counts so far."""
        url = self.environment["GOOGLE_VERTEX_BASE_URL"] + "/localcloud"
        return self._change(url, settings)

    def batches(self, **settings: float | str) -> dict[str, Any]:
        """Change how batch jobs of the models behave, and return their counts so far."""
        url = self.environment["GOOGLE_VERTEX_BASE_URL"] + "/localcloud/batch"
        return self._change(url, settings)

    @property
    def dataflow_url(self) -> str:
        """Where the Dataflow API is, without a slash at the end."""
        return self.environment["CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW"].rstrip("/")

    @property
    def monitoring_url(self) -> str:
        """Where the Monitoring API is, without a slash at the end."""
        return self.environment["CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING"].rstrip("/")

    def dataflow(self, **settings: float) -> dict[str, Any]:
        """Change how Dataflow behaves, and return its counts of calls by method so far."""
        return self._change(f"{self.dataflow_url}/localcloud", settings)

    def pubsub(self, **settings: float) -> dict[str, Any]:
        """Change how Pub/Sub behaves, and return its counts so far."""
        return self._change(f"{self.monitoring_url}/localcloud/pubsub", settings)

    @property
    def signing_url(self) -> str:
        """Where the IAM Credentials API is, without a slash at the end."""
        name = "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"
        return self.environment[name].rstrip("/")

    def signing(self, **settings: float) -> dict[str, Any]:
        """Change how IAM signs, and return its counts of calls by method so far."""
        return self._change(f"{self.signing_url}/localcloud", settings)

    def storage(self, **settings: float) -> dict[str, Any]:
        """Change how Cloud Storage behaves, and return its counts so far."""
        url = self.environment["STORAGE_EMULATOR_HOST"] + "/localcloud"
        return self._change(url, settings)

    def _change(self, url: str, settings: Mapping[str, float | str]) -> dict[str, Any]:
        self._changed = self._changed or bool(settings)
        return dict(_call("PATCH", url, dict(settings))["counts"])

    def calm(self) -> None:
        """Let each stand-in behave as when nobody asks for anything else; quick, small images."""
        if not self._changed:
            return
        # Some of these import Google's libraries; see the top of this file.
        from localcloud.dataflow.settings import Settings as Jobs
        from localcloud.iamcredentials import Settings as Signing
        from localcloud.pubsub.faults import Settings as Messages
        from localcloud.storage.behaviour import Settings as Objects
        from localcloud.vertex.batch import Settings as Batches
        from localcloud.vertex.behaviour import Settings as Models

        self.models(**dataclasses.asdict(Models(latency_s=0.0, canned_bytes=2000)))
        self.batches(**dataclasses.asdict(Batches(pending_s=0.1)))
        self.dataflow(**dataclasses.asdict(Jobs(queued_s=0.2, pending_s=0.2)))
        self.storage(**dataclasses.asdict(Objects()))
        self.pubsub(**dataclasses.asdict(Messages()))
        self.signing(**dataclasses.asdict(Signing()))
        self._changed = False

    def no_jobs(self) -> bool:
        """Cancel the jobs that are active; whether there were none."""
        jobs = f"{self.dataflow_url}/v1b3/projects/{PROJECT}"
        active = _call("GET", f"{jobs}/jobs:aggregated?filter=ACTIVE").get("jobs", [])
        for job in active:
            if job["currentState"] != "JOB_STATE_CANCELLING":
                url = f"{jobs}/locations/{job['location']}/jobs/{job['id']}"
                with contextlib.suppress(urllib.error.HTTPError):  # it has just ended
                    _call("PUT", url, {"requestedState": "JOB_STATE_CANCELLED"})
        return not active


def _call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer test"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


@pytest.fixture(scope="session")
def _cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    state = tmp_path_factory.mktemp("cloud")
    (state / "ports.json").write_text(json.dumps(_PORTS))
    command = [sys.executable, "-m", "localcloud", "--state", str(state), "up", "--seed", "1"]
    log = state / "log"
    # Not `up --detach` and `down`, which are an interpreter more each.
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True
        )
    ready = state / "environment.json"
    eventually(lambda: ready.exists() or process.poll() is not None, what="the local cloud")
    assert process.poll() is None, log.read_text()[-3000:]
    environment = json.loads(ready.read_text())
    assert environment == ENVIRONMENT, "a port was taken between picking and using it: run again"
    yield Cloud(state, environment)
    process.terminate()
    assert process.wait(30) == 0, log.read_text()[-3000:]


@pytest.fixture
def cloud(_cloud: Cloud) -> Iterator[Cloud]:
    """The local cloud, quick, without faults and without jobs at the start of each test."""
    _cloud.calm()
    yield _cloud
    _cloud.calm()
    eventually(_cloud.no_jobs, what="the end of the test's jobs")


@dataclasses.dataclass
class Lane:
    """Topics, subscriptions and a folder that no other test uses."""

    name: str
    publisher: Any
    subscriber: Any
    storage: Any

    @property
    def images_location(self) -> str:
        return f"gs://{BUCKET}/{self.name}/images"

    def topic(self, kind: str) -> str:
        return f"projects/{PROJECT}/topics/{self.name}-{kind}"

    def subscription(self, kind: str) -> str:
        return f"projects/{PROJECT}/subscriptions/{self.name}-{kind}-sub"

    def options(self, **others: object) -> list[str]:
        """Flags of a job that publishes to this lane."""
        given = {
            "project": PROJECT,
            "responses_topic": self.topic("predictions"),
            "dead_letter_topic": self.topic("dead-letters"),
            "images_output_location": self.images_location,
            **others,
        }
        return [f"--{name}={value}" for name, value in given.items() if value is not None]

    def stream_options(self, **others: object) -> list[str]:
        return self.options(
            runner="localcloud.runner.MicroBatchRunner",
            messages_subscription=self.subscription("prompts"),
            **others,
        )

    def publish(self, *bodies: str | bytes | dict[str, Any], **attributes: str) -> None:
        """Publish prompts: text, bytes, or objects that become JSON."""
        futures = []
        for body in bodies:
            if isinstance(body, dict):
                body = json.dumps(body)
            data = body.encode() if isinstance(body, str) else body
            futures.append(self.publisher.publish(self.topic("prompts"), data, **attributes))
        for future in futures:
            future.result(timeout=120)

    def take(self, kind: str, count: int, *, within_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        """Receive exactly `count` messages of a topic, decoded, with their attributes."""
        received: list[dict[str, Any]] = []

        def pull() -> bool:
            response = self.subscriber.pull(
                subscription=self.subscription(kind),
                max_messages=1000,
                return_immediately=True,
                timeout=60,
            )
            ids = [item.ack_id for item in response.received_messages]
            if ids:
                self.subscriber.acknowledge(subscription=self.subscription(kind), ack_ids=ids)
            for item in response.received_messages:
                content = json.loads(item.message.data)
                content["message_attributes"] = dict(item.message.attributes)
                received.append(content)
            return len(received) >= count

        eventually(pull, within_s=within_s, what=f"{count} messages on {kind}")
        return received

    def predictions(self, count: int, *, within_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        return self.take("predictions", count, within_s=within_s)

    def dead_letters(self, count: int, *, within_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        return self.take("dead-letters", count, within_s=within_s)

    def nothing_left(self, kind: str) -> bool:
        """Whether the subscription has nothing more to give, now; what it gives goes back."""
        response = self.subscriber.pull(
            subscription=self.subscription(kind),
            max_messages=1,
            return_immediately=True,
            timeout=60,
        )
        if ids := [item.ack_id for item in response.received_messages]:
            self.subscriber.modify_ack_deadline(
                subscription=self.subscription(kind), ack_ids=ids, ack_deadline_seconds=0
            )
        return not ids

    def put(self, name: str, content: str | bytes) -> str:
        """Write an object into the lane's folder and return its path."""
        self.storage.bucket(BUCKET).blob(f"{self.name}/{name}").upload_from_string(content)
        return f"gs://{BUCKET}/{self.name}/{name}"

    def delete(self, path: str) -> None:
        """Delete an object by its path, as people do."""
        self.storage.bucket(BUCKET).delete_blob(path.removeprefix(f"gs://{BUCKET}/"))

    def objects(self, folder: str = "") -> dict[str, bytes]:
        """Return names (below the lane's folder) and contents."""
        prefix = f"{self.name}/{folder}"
        return {
            blob.name.removeprefix(f"{self.name}/"): blob.download_as_bytes()
            for blob in self.storage.list_blobs(BUCKET, prefix=prefix)
        }


@pytest.fixture(scope="session")
def _clients(_cloud: Cloud) -> dict[str, Any]:
    """What all lanes share: to create these takes longer than many a test."""
    from google.cloud import pubsub_v1, storage

    return {
        "publisher": pubsub_v1.PublisherClient(),
        "subscriber": pubsub_v1.SubscriberClient(),
        "storage": storage.Client(project=PROJECT),
    }


@pytest.fixture
def lane(cloud: Cloud, _clients: dict[str, Any]) -> Lane:
    """Topics `prompts`, `predictions`, `dead-letters`, each with a subscription, and a folder."""
    lane = Lane(name=f"t{uuid.uuid4().hex[:12]}", **_clients)
    for kind in ("prompts", "predictions", "dead-letters"):
        lane.publisher.create_topic(name=lane.topic(kind))
        lane.subscriber.create_subscription(
            name=lane.subscription(kind), topic=lane.topic(kind), ack_deadline_seconds=60
        )
    return lane


@dataclasses.dataclass
class SmallAirflow:
    """An Airflow with DAGs of the tests' own, in a folder that they may change."""

    airflow: Any
    folder: Path

    def notifications(self) -> list[dict[str, Any]]:
        """Return what its notifier was given, line by line."""
        lines = (self.folder / "alerts.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def small_airflow(
    _cloud: Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallAirflow]:
    """One for the tests of `localcloud.airflow` and those of callbacks."""
    from localcloud.airflow import Airflow

    folder = tmp_path_factory.mktemp("airflow")
    dags = folder / "dags"
    for source in ("localcloud/airflow/dags", "plugins/imagen_ops/alerts/monitored"):
        shutil.copytree(ROOT / "tests" / source, dags, dirs_exist_ok=True)
    notifier = {
        "class": "fake_notifiers.FileNotifier",
        "kwargs": {
            "file": str(folder / "alerts.jsonl"),
            "text": "{{ event }}: {{ text }}",
            # An Airflow Variable, which only some contexts have.
            "where": "{{ var.value.region_of_ops if var is defined else '' }}",
        },
    }
    settings = {
        "IMAGEN_POKE_SECONDS": "7",
        "IMAGEN_NOTIFIER": json.dumps(notifier),
        # As on Composer; `imagen_ops.alerts.alert` says why.
        "AIRFLOW__LOGGING__DAG_PROCESSOR_LOG_TARGET": "stdout",
    }
    airflow = Airflow(folder)
    airflow.start(_cloud.environment, dags=dags, settings=settings)
    try:
        airflow.wait_until_ready(within_s=400)
        yield SmallAirflow(airflow, folder)
    finally:
        airflow.stop()


@pytest.fixture
def admin(small_airflow: SmallAirflow) -> Iterator[Any]:
    """A client of the small Airflow with all rights."""
    with small_airflow.airflow.client("admin") as client:
        yield client


@dataclasses.dataclass
class RunningStream:
    """A streaming job that works in a thread of this process."""

    result: Any
    thread: threading.Thread
    states: list[str]

    def drain(self) -> str:
        """Drain it and return the state that it ended in."""
        self.result.drain()
        return self.ended()

    def ended(self) -> str:
        self.thread.join(timeout=PATIENCE_S)
        assert not self.thread.is_alive(), f"the stream has not ended within {PATIENCE_S} s"
        return self.states[0]

    def counters(self) -> dict[str, Any]:
        """The job's metrics so far, by name."""
        totals: dict[str, Any] = self.result.metrics().totals()
        return totals


@pytest.fixture
def start_stream(lane: Lane) -> Iterator[Callable[..., RunningStream]]:
    """Start the streaming job on the lane, with options of the test's; drained at its end."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    import localcloud.runner  # noqa: F401 - brings its options
    from beam_jobs import stream
    from beam_jobs.config.job_config import job_config

    running: list[RunningStream] = []

    def start(**options: object) -> RunningStream:
        given = PipelineOptions(lane.stream_options(**options), streaming=True)
        pipeline = beam.Pipeline(options=given)
        stream.build(pipeline, job_config(given, streaming=True), lane.subscription("prompts"))
        result = pipeline.run()
        states: list[str] = []
        thread = threading.Thread(
            target=lambda: states.append(result.wait_until_finish()), daemon=True
        )
        thread.start()
        running.append(RunningStream(result, thread, states))
        return running[-1]

    yield start
    for one in running:
        if one.thread.is_alive():
            one.result.cancel()
            one.ended()
