"""What all tasks share: which errors are retried, and that a sensor survives them."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Cloud
from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


def waiting() -> Any:
    from imagen_ops.stream.sensors import JobEndedSensor

    return JobEndedSensor(task_id="wait", job_id="2026-11-22_00_00_00-1")


def test_a_sensor_keeps_waiting_if_dataflow_is_unavailable(
    deployment: Deployment, run_task: Run, cloud: Cloud
) -> None:
    cloud.dataflow(error_rate=1.0, error_status=503)
    assert run_task(waiting()) is False


def test_a_sensor_stops_waiting_for_a_job_that_does_not_exist(
    deployment: Deployment, run_task: Run
) -> None:
    from imagen_ops.errors import ApiError

    with pytest.raises(ApiError, match="HTTP 404"):
        run_task(waiting())


def test_missing_settings_fail_a_task_at_once_and_are_all_listed(
    deployment: Deployment, run_task: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.health.canary import SendCanary

    monkeypatch.delenv("IMAGEN_PROJECT")
    monkeypatch.delenv("IMAGEN_BUCKET")
    with pytest.raises(AirflowFailException, match=r"IMAGEN_BUCKET(?s:.*)IMAGEN_PROJECT"):
        run_task(SendCanary(task_id="send"))
