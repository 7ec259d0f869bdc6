"""A real Airflow, with our DAGs and plugins, over the local cloud."""

import contextlib
import dataclasses
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from localcloud.airflow import Airflow, AirflowClient
from localcloud.airflow.standalone import SHAPES
from tests.conftest import BUCKET, PROJECT, Cloud, Lane, eventually
from tests.guarded_storage import guarded

# `make test AIRFLOW=composer` runs these tests in an Airflow as Composer has it.
SHAPE = SHAPES[os.environ.get("TESTS_AIRFLOW", "sqlite")]
# The DAGs take what a deployment calls its topics; here are no other tests on them.
SETTINGS = {
    # At 1 s a look may begin before the scheduler has noticed the end of the one before.
    "IMAGEN_POKE_SECONDS": "2",
    "IMAGEN_CANARY_SECONDS": "30",
    "IMAGEN_RESTARTS_PER_HOUR": "2",
    # Health runs when a test says so.
    "IMAGEN_HEALTH_SCHEDULE": "0 0 1 1 *",
    # Nobody changes a plugin meanwhile, and each look at the DAG files costs seconds.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
}
# Where a canary that does not come back is no part of a test, nobody waits for so long.
PATIENT = {"IMAGEN_CANARY_SECONDS": "120"}
# What a fault leads to is decided in the plugins, where each case has its tests. That a real
# Airflow then does it takes as long as all else here.
A_FAULT = pytest.mark.full


class MainLane(Lane):
    """The topics and the bucket that the DAGs work on."""

    def topic(self, kind: str) -> str:
        return f"projects/{PROJECT}/topics/{kind}"

    def subscription(self, kind: str) -> str:
        return f"projects/{PROJECT}/subscriptions/{kind}-sub"


@dataclasses.dataclass
class Operated:
    """The stream, as an operator has it: through Airflow's API, and Dataflow's to check."""

    airflow: Airflow
    client: AirflowClient
    cloud: Cloud
    lane: Lane
    dataflow: Any

    def run(self, dag_id: str, conf: dict[str, Any] | None = None, within_s: float = 400.0) -> str:
        """Trigger a DAG and wait until its run has succeeded; the run's id."""
        run_id = self.client.trigger(dag_id, conf)
        self.client.wait_for_run(dag_id, run_id, within_s=within_s)
        return run_id

    def ended(self, dag_id: str, run_id: str, within_s: float = 400.0) -> str:
        """Wait until a run has ended, however it does; its state."""

        def state() -> str | None:
            found = self.client.run_state(dag_id, run_id)
            return found.value if found.ended else None

        return str(eventually(state, within_s=within_s, what=f"the end of {dag_id} {run_id}"))

    def health(self) -> tuple[str, dict[str, Any], str]:
        """Run health: the state of its run, its verdict, and the run's id."""
        run_id = self.client.trigger("imagen_stream_health")
        state = self.ended("imagen_stream_health", run_id)
        verdict = self.client.xcom("imagen_stream_health", run_id, "assess")
        return state, dict(verdict), run_id

    def task(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return a task instance of a run."""
        tasks = self.client.task_instances(dag_id, run_id)
        return next(task for task in tasks if task.task_id == task_id)

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return the log of a task's last try."""
        task = self.task(dag_id, run_id, task_id)
        return "\n".join(self.client.task_log(dag_id, run_id, task))

    def first_error(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return the first line of level ERROR in the log of a task's last try."""
        lines = self.log(dag_id, run_id, task_id).splitlines()
        return next(line for line in lines if line.startswith("ERROR "))

    def active_jobs(self) -> list[str]:
        """Return the ids of the jobs that are active, whatever they are called."""
        jobs = self.dataflow.projects().locations().jobs()
        answer = jobs.list(projectId=PROJECT, location="us-central1", filter="ACTIVE").execute()
        return [job["id"] for job in answer.get("jobs", [])]

    def jobs(self) -> list[str]:
        """Return the ids of all jobs that there ever were."""
        jobs = self.dataflow.projects().locations().jobs()
        answer = jobs.list(projectId=PROJECT, location="us-central1", filter="ALL").execute()
        return [job["id"] for job in answer.get("jobs", [])]

    def job_state(self, job_id: str) -> str:
        """Return a job's state, as Dataflow writes it."""
        jobs = self.dataflow.projects().locations().jobs()
        answer = jobs.get(projectId=PROJECT, location="us-central1", jobId=job_id).execute()
        return str(answer["currentState"])

    def kill(self, job_id: str) -> None:
        """Kill the job's process, as a machine that goes away does, and wait until it is FAILED."""
        pid = self.cloud.state / "dataflow" / "jobs" / job_id / "pid"
        os.kill(int(pid.read_text()), signal.SIGKILL)
        eventually(lambda: self.job_state(job_id) == "JOB_STATE_FAILED", what="FAILED")

    def cancel(self, job_id: str) -> None:
        """Cancel a job, as somebody does in the console, and wait until it is CANCELLED."""
        jobs = self.dataflow.projects().locations().jobs()
        body = {"requestedState": "JOB_STATE_CANCELLED"}
        jobs.update(projectId=PROJECT, location="us-central1", jobId=job_id, body=body).execute()
        eventually(lambda: self.job_state(job_id) == "JOB_STATE_CANCELLED", what="CANCELLED")

    def lose_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Kill a task's process, as a worker without memory does, until Airflow wants a retry."""

        def lost() -> bool:
            task = self.task(dag_id, run_id, task_id)
            if task.state == "running" and task.pid:
                # A task that waits has a new process for each check.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(task.pid, signal.SIGKILL)
            return bool(task.state == "up_for_retry")

        eventually(lost, within_s=120, what=f"the loss of {task_id}")

    def desired(self) -> dict[str, Any]:
        """Return what the DAGs remember of what was asked for."""
        return dict(json.loads(self.client.variable("imagen_stream") or "{}"))

    def records(self, folder: str) -> list[dict[str, Any]]:
        """Return what health has left under `records/`, oldest first."""
        blobs = self.lane.storage.list_blobs(BUCKET, prefix=f"records/{folder}/")
        bucket = self.lane.storage.bucket(BUCKET)
        # Read anew by name: a day's object is rewritten by each run that ends.
        texts = [bucket.blob(blob.name).download_as_text() for blob in blobs]
        lines = [line for text in texts for line in text.splitlines()]
        return sorted((json.loads(line) for line in lines), key=lambda record: record["at"])


@pytest.fixture(scope="package")
def airflow(_cloud: Cloud) -> Iterator[Airflow]:
    """An Airflow with `dags/` and `plugins/`, in the shape that the run was asked for.

    Of Cloud Storage it gets what `composer.tf` grants Composer's account. The jobs that it launches
    are not its own processes, and see all of it.
    """
    name = "STORAGE_EMULATOR_HOST"
    airflow = Airflow(_cloud.state)
    with guarded("composer", _cloud.environment[name]) as storage:
        environment = _cloud.environment | {name: storage.url}
        airflow.start(environment, shape=SHAPE, settings=SETTINGS | PATIENT)
        try:
            airflow.wait_until_ready(within_s=400)
            yield airflow
        finally:
            airflow.stop()
    assert storage.refused == []
    assert storage.asked, "Airflow's requests did not come this way"


@pytest.fixture
def operated(airflow: Airflow, cloud: Cloud) -> Iterator[Operated]:
    """A deployment in which nothing runs, nothing is wanted and nothing waits."""
    import google.auth
    from google.api_core.client_options import ClientOptions
    from google.cloud import pubsub_v1, storage
    from googleapiclient.discovery import build

    lane = MainLane(
        name="",
        publisher=pubsub_v1.PublisherClient(),
        subscriber=pubsub_v1.SubscriberClient(),
        storage=storage.Client(project=PROJECT),
    )
    dataflow = build(
        "dataflow",
        "v1b3",
        credentials=google.auth.default()[0],
        client_options=ClientOptions(api_endpoint=cloud.dataflow_url),
    )
    bucket = lane.storage.bucket(BUCKET)
    for blob in lane.storage.list_blobs(BUCKET, prefix="records/"):
        # By name: the record of a run that has just ended may be rewritten meanwhile.
        bucket.blob(blob.name).delete()
    with airflow.client() as client:
        client.set_variable("imagen_stream", "")
        yield Operated(airflow, client, cloud, lane, dataflow)
        for dag in client.dags():
            for run_id in client.run_ids(dag.dag_id):
                if not client.run_state(dag.dag_id, run_id).ended:
                    client.mark_run(dag.dag_id, run_id, "failed")


Run = Callable[..., Any]
