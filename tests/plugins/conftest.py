"""A separate deployment for each test: settings, topics, a bucket, templates, a connection."""

import dataclasses
import json
import types
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import BUCKET, PROJECT, Cloud, Lane

REGION = "us-central1"


@dataclasses.dataclass
class Deployment:
    """What `composer.tf` would create, and the environment variables that it would set."""

    lane: Lane
    settings: Any
    clients: Any
    environment: dict[str, str]

    def form(self, **fields: object) -> dict[str, Any]:
        """Return the start DAG's form with its defaults and these fields."""
        return {"model": self.settings.model, "on_active": "keep", **fields}

    def cancel_jobs(self) -> None:
        """Cancel the stream's job, if there is one."""
        # Not what is remembered as well: a test may have taken storage away.
        for job in self.clients.dataflow.listed("ACTIVE", name=self.settings.stream_job_name):
            self.clients.dataflow.cancel(job.id)


def connection(cloud: Cloud, **extra: object) -> str:
    """Return the Airflow connection that leads to the local cloud."""
    endpoints = {
        name: cloud.environment[f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}"].rstrip("/")
        for name in ("dataflow", "monitoring")
    }
    extra = {"project": PROJECT, "num_retries": 1, "api_endpoints": endpoints, **extra}
    return json.dumps({"conn_type": "google_cloud_platform", "extra": extra})


@pytest.fixture
def deployment(lane: Lane, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    from imagen_ops.google.clients import Clients
    from imagen_ops.settings import Settings

    bucket = lane.storage.create_bucket(f"{lane.name}-imagen")
    for template in ("stream", "backfill", "prefetch_import"):
        spec = lane.storage.bucket(BUCKET).blob(f"templates/{template}.json").download_as_bytes()
        bucket.blob(f"templates/{template}.json").upload_from_string(spec)
    lane.subscriber.create_subscription(
        request={
            "name": lane.subscription("canary"),
            "topic": lane.topic("predictions"),
            "filter": "attributes:canary",
        }
    )
    environment = {
        "IMAGEN_PROJECT": PROJECT,
        "IMAGEN_REGION": REGION,
        "IMAGEN_BUCKET": bucket.name,
        "IMAGEN_STREAM_TEMPLATE": f"gs://{bucket.name}/templates/stream.json",
        "IMAGEN_BACKFILL_TEMPLATE": f"gs://{bucket.name}/templates/backfill.json",
        "IMAGEN_PREFETCH_TEMPLATE": f"gs://{bucket.name}/templates/prefetch_import.json",
        "IMAGEN_STREAM_JOB_NAME": f"{lane.name}-stream",
        "IMAGEN_POKE_SECONDS": "0.2",
        "IMAGEN_CANARY_SECONDS": "20",
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": connection(cloud),
    }
    for kind in ("prompts", "predictions", "dead-letters"):
        name = kind.replace("-", "_").upper()
        environment[f"IMAGEN_{name}_TOPIC"] = f"{lane.name}-{kind}"
        environment[f"IMAGEN_{name}_SUBSCRIPTION"] = f"{lane.name}-{kind}-sub"
    environment["IMAGEN_CANARY_SUBSCRIPTION"] = f"{lane.name}-canary-sub"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    created = Deployment(lane, settings, Clients(settings), environment)
    yield created
    cloud.dataflow(error_rate=0.0)
    created.cancel_jobs()


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's Variables, without a running Airflow."""
    values: dict[str, str] = {}

    def read(key: str, default: str | None = None) -> str | None:
        return values.get(key, default)

    def write(key: str, value: str, description: str | None = None) -> None:
        values[key] = value

    variable = types.SimpleNamespace(get=read, set=write)
    monkeypatch.setattr("imagen_ops.stream.wanted.Variable", variable)
    monkeypatch.setattr("imagen_ops.health.canary_keys.Variable", variable)
    return values


@pytest.fixture
def run_task() -> Callable[..., Any]:
    """Run an operator's `execute`, or a sensor's `poke` once, and return the result.

    `approved` is what a person has approved; with an `event`, a task that was parked is resumed.
    Of other runs, `at_work` are under way, and of these, `importing` have not ended their import.
    """

    def run(
        task: Any,
        *,
        run_id: str = "manual__1",
        dag_id: str = "imagen_stream_start",
        params: dict[str, Any] | None = None,
        active_start_runs: int = 0,
        day: datetime | None = None,
        try_number: int = 1,
        outlet_events: Any = None,
        run_start: datetime | None = None,
        run_type: str = "manual",
        start_paused: bool = False,
        state: dict[str, Any] | None = None,
        approved: dict[str, Any] | None = None,
        event: dict[str, Any] | None = None,
        max_tries: int | None = None,
        at_work: Collection[str] = (),
        importing: Collection[str] = (),
    ) -> Any:
        dag_run = types.SimpleNamespace(
            dag_id=dag_id,
            run_id=run_id,
            triggering_user_name="ada",
            start_date=run_start or datetime.now(UTC),
            logical_date=day,
            run_type=run_type,
            conf=params,
        )

        def runs(dag_id: str, states: list[str], run_ids: list[str] | None = None) -> int:
            return active_start_runs if run_ids is None else len(set(run_ids) & set(at_work))

        ti = types.SimpleNamespace(
            get_dr_count=runs,
            get_ti_count=lambda dag_id, task_ids, run_ids, states: len(
                set(run_ids).difference(importing)
            ),
            get_dag=lambda dag_id: types.SimpleNamespace(is_paused=start_paused),
            try_number=try_number,
            max_tries=task.retries if max_tries is None else max_tries,
            id="a task instance",
            xcom_pull=lambda task_ids: approved if task_ids == "approve" else None,
        )
        states = {} if state is None else state
        store = types.SimpleNamespace(get=states.get, set=states.__setitem__)
        context = {
            "dag_run": dag_run,
            "run_id": run_id,
            "params": params or {},
            "ti": ti,
            "outlet_events": outlet_events,
            "task_state_store": store,
            "task_instance": ti,
            "task": task,
        }
        if event is not None:
            return task.execute_complete(context, event)
        return task.execute(context) if hasattr(task, "act") else task.poke(context)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests with a deployment as slow: creating it takes time for each of them."""
    for item in items:
        if "deployment" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
