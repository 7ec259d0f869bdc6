"""The tasks of the health check, to be run one by one, and the alerts that they write."""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Cloud
from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


@pytest.fixture
def queued_jobs(cloud: Cloud) -> Iterator[None]:
    """Keep jobs QUEUED, so that no process starts."""
    cloud.dataflow(queued_s=600.0)
    yield
    cloud.dataflow(queued_s=0.5, unlisted_s=0.0)


@pytest.fixture
def alerts(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    caplog.set_level(logging.WARNING, "imagen.alerts")
    return lambda: [
        json.loads(record.message) for record in caplog.records if record.name == "imagen.alerts"
    ]


def assess(run_task: Run, run_id: str, canary: Any = None, **run_options: Any) -> dict[str, Any]:
    from imagen_ops.health.operators import AssessStream

    verdict = run_task(AssessStream(task_id="assess", canary=canary), run_id=run_id, **run_options)
    return dict(verdict)


def restart(run_task: Run, run_id: str, verdict: dict[str, Any], **run_options: Any) -> Any:
    from imagen_ops.health.operators import RestartStream

    task = RestartStream(task_id="restart", verdict=verdict, start_dag_id="imagen_stream_start")
    return run_task(task, run_id=run_id, **run_options)


def request_stream(deployment: Deployment, minutes_ago: float = 60) -> None:
    """Record that the stream should run, as a start some time ago would have."""
    from imagen_ops.stream.wanted import WantedState

    WantedState(
        wanted=True,
        by="a test",
        at=datetime.now(UTC) - timedelta(minutes=minutes_ago),
        form={"model": deployment.settings.model, "max_workers": 3},
    ).save()
