"""What all tasks share: errors and retries, what a log says first, how long a sensor waits."""

import copy
import logging
import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.dag.tasks import ImagenOperator
from imagen_ops.settings import Settings
from tests.conftest import Cloud
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.test_settings import COMPLETE

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


# How long a sensor waits


def never(**options: Any) -> Any:
    """Return a sensor whose wait is never over, with a limit of an hour."""
    from imagen_ops.dag.tasks import ImagenSensor

    class Never(ImagenSensor):
        def check(self, context: Any) -> bool:
            return False

    return Never(task_id="wait", timeout=3600, retries=3, **options)


def ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


def test_a_wait_counts_from_its_first_try_whichever_try_it_is(run_task: Run) -> None:
    from airflow.sdk.exceptions import AirflowSensorTimeout

    state: dict[str, Any] = {}
    assert run_task(never(), state=state) is False
    assert list(state) == ["waiting_since_try_1"]
    began = state["waiting_since_try_1"]
    for try_number in (1, 2, 4):
        assert run_task(never(), state=state, try_number=try_number) is False
        assert state == {"waiting_since_try_1": began}
    state["waiting_since_try_1"] = ago(minutes=61)
    for try_number in (1, 2, 4):
        with pytest.raises(AirflowSensorTimeout, match=r"over all its tries.*limit is 1 h.*clear"):
            run_task(never(), state=state, try_number=try_number)


def test_a_task_that_is_cleared_begins_a_new_wait(run_task: Run) -> None:
    """Clearing a task after its second try lets it have tries 3 to 6."""
    state = {"waiting_since_try_1": ago(days=1)}
    ti = types.SimpleNamespace(max_tries=2 + 3, try_number=3)
    store = types.SimpleNamespace(get=state.get, set=state.__setitem__)
    assert never().poke({"ti": ti, "task_state_store": store}) is False
    assert sorted(state) == ["waiting_since_try_1", "waiting_since_try_3"]


def test_a_wait_that_is_over_at_its_limit_is_no_failure(run_task: Run) -> None:
    from imagen_ops.dag.tasks import ImagenSensor

    class Over(ImagenSensor):
        def check(self, context: Any) -> bool:
            return True

    state = {"waiting_since_try_1": ago(days=1)}
    assert run_task(Over(task_id="wait", timeout=3600), state=state) is True


# What the log of a task that fails says first


def fails_with(error: BaseException) -> Any:
    from imagen_ops.dag.tasks import ImagenOperator

    class Fails(ImagenOperator):
        def act(self, context: Any) -> None:
            raise error

    return Fails(task_id="fails")


def test_the_first_error_in_a_log_is_the_sentence_for_the_operator(
    run_task: Run, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

    from imagen_ops.errors import ApiError

    errors: list[tuple[Exception, str]] = [
        (AirflowFailException("do this"), "do this"),
        (ApiError("reading job 1", 403, "no"), "reading job 1: HTTP 403: no. What to do: grant"),
        (ApiError("reading job 1", 503, "no"), "reading job 1: HTTP 503: no. What to do: wait"),
        (KeyError("model"), "KeyError: 'model'. Airflow retries the task"),
    ]
    for error, sentence in errors:
        caplog.clear()
        with pytest.raises(Exception):  # noqa: B017, PT011
            run_task(fails_with(error))
        first = next(record for record in caplog.records if record.levelno >= logging.ERROR)
        assert first.message.startswith(sentence)
        assert first.exc_info is None, "no stack"
    caplog.clear()
    with caplog.at_level(logging.INFO), pytest.raises(AirflowSkipException):
        run_task(fails_with(AirflowSkipException("nothing to do")))
    assert "skipped: nothing to do" in [record.message for record in caplog.records]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_an_error_that_no_retry_can_fix_has_no_stack_of_other_errors(run_task: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.errors import ApiError

    with pytest.raises(AirflowFailException) as failed:
        run_task(fails_with(ApiError("reading job 1", 403, "no")))
    assert failed.value.__suppress_context__


def test_a_task_can_be_copied_after_it_has_used_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connected:
        def __deepcopy__(self, memo: object) -> None:
            raise TypeError("as Google's clients do")

    task = ImagenOperator(task_id="t")
    task.__dict__["settings"] = Settings.from_environment(COMPLETE)
    task.clients.__dict__["storage"] = Connected()
    copied = copy.deepcopy(task)
    assert copied.clients is not task.clients
    assert "storage" not in vars(copied.clients)
