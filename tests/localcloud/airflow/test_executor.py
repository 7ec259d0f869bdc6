"""What the scheduler learns of a task that has two processes under the same key."""

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.utils.state import TaskInstanceState

KEY = TaskInstanceKey("imagen_backfill", "approve", "manual__1")


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Any:
    from localcloud.airflow.executor import LastProcessExecutor, LocalExecutor

    # Sends to processes, of which there are none here.
    monkeypatch.setattr(LocalExecutor, "_process_workloads", lambda *_: None)
    return LastProcessExecutor(parallelism=1)


def test_the_end_of_a_process_is_not_told_once_the_task_has_another_one(executor: Any) -> None:
    resumed = [SimpleNamespace(key=KEY)]
    executor._process_workloads(resumed)
    executor._process_workloads(resumed)
    executor.change_state(KEY, TaskInstanceState.SUCCESS)
    assert executor.get_event_buffer() == {}
    executor.change_state(KEY, TaskInstanceState.FAILED)
    assert executor.get_event_buffer() == {KEY: (TaskInstanceState.FAILED, None)}
    # And the same again, as a task does that checks every minute.
    executor._process_workloads(resumed)
    executor.change_state(KEY, TaskInstanceState.SUCCESS)
    assert executor.get_event_buffer() == {KEY: (TaskInstanceState.SUCCESS, None)}


def test_what_else_is_said_of_a_task_is_passed_on(executor: Any) -> None:
    executor._process_workloads([SimpleNamespace(key=KEY)])
    executor.change_state(KEY, TaskInstanceState.QUEUED, "a worker", remove_running=False)
    assert executor.get_event_buffer() == {KEY: (TaskInstanceState.QUEUED, "a worker")}
    # Such as that it was queued for too long, and has never had a process.
    another = TaskInstanceKey("imagen_backfill", "plan", "manual__1")
    executor.fail(another)
    assert executor.get_event_buffer() == {another: (TaskInstanceState.FAILED, None)}
