"""What all tasks share: which errors are worth a retry, and how waiting survives them."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Cloud
from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


def waiting() -> Any:
    from imagen_ops.stream.sensors import JobEndedSensor

    return JobEndedSensor(task_id="wait", job_id="2026-11-22_00_00_00-1")


def test_a_look_that_dataflow_does_not_answer_is_followed_by_the_next(
    deployment: Deployment, run_task: Run, cloud: Cloud
) -> None:
    cloud.dataflow(error_rate=1.0, error_status=503)
    assert run_task(waiting()) is False


def test_a_look_at_what_is_not_there_ends_the_waiting(
    deployment: Deployment, run_task: Run
) -> None:
    from imagen_ops.errors import ApiError

    with pytest.raises(ApiError, match="HTTP 404"):
        run_task(waiting())


def test_missing_settings_fail_a_task_at_once_with_all_of_them(
    deployment: Deployment, run_task: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.health.canary import SendCanary

    monkeypatch.delenv("IMAGEN_PROJECT")
    monkeypatch.delenv("IMAGEN_BUCKET")
    with pytest.raises(AirflowFailException, match=r"IMAGEN_BUCKET(?s:.*)IMAGEN_PROJECT"):
        run_task(SendCanary(task_id="send"))
