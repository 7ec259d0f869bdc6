"""Runs a DAG and follows it: each task as it ends, and how long it took."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from beam_jobs.cli.progress import duration
from localcloud.airflow import AirflowClient
from localcloud.demo.errors import DemoError
from localcloud.demo.output import Output

_REPORTED_STATES = frozenset(
    {"success", "failed", "skipped", "upstream_failed", "removed", "up_for_retry"}
)
# Each poll costs the API server some milliseconds that the tasks could use.
_POLL_S = 0.5


def run(
    client: AirflowClient,
    dag_id: str,
    output: Output,
    *,
    check: Callable[[], None],
    within_s: float,
    conf: Mapping[str, Any] | None = None,
) -> str:
    """Trigger a DAG, print its tasks as they end, and return the run's id.

    A task's duration is wall time since the scheduler picked it up. Airflow's own duration of a
    sensor that reschedules covers its last poke only.

    Args:
        client: a user who may trigger DAGs.
        dag_id: the DAG to run.
        output: where tasks are printed.
        check: called at every poll; an exception from it ends the waiting.
        within_s: how long the run may take, in seconds.
        conf: values for the trigger form; fields that are left out keep the form's default.

    Raises:
        AirflowError: the run failed. The message names the tasks' states and carries the last log
            lines of those that failed.
        DemoError: the run did not end within `within_s` seconds.
    """
    run_id = client.trigger(dag_id, conf)
    status = _RunStatus()
    with output.waiting(lambda: f"{dag_id} {status}"):
        _follow(client, dag_id, run_id, output, status, check=check, within_s=within_s)
    return run_id


class _RunStatus:
    """The state of a run and of its unfinished tasks at the last poll."""

    def __init__(self) -> None:
        self._state = "queued"
        self._unfinished: list[tuple[str, str, float]] = []

    def update(
        self, state: str, task_states: Mapping[str, str | None], started: Mapping[str, float]
    ) -> None:
        """Record the state of the run and of its tasks, and when each task was first seen."""
        self._state = state
        self._unfinished = [
            (name, task_state, started[name])
            for name, task_state in task_states.items()
            if task_state is not None and task_state not in _REPORTED_STATES
        ]

    def __str__(self) -> str:
        now = time.monotonic()
        tasks = (
            f"{name} {state} {duration(now - since)}" for name, state, since in self._unfinished
        )
        return ", ".join([f"is {self._state}", *tasks])


def _follow(
    client: AirflowClient,
    dag_id: str,
    run_id: str,
    output: Output,
    status: _RunStatus,
    *,
    check: Callable[[], None],
    within_s: float,
) -> None:
    deadline = time.monotonic() + within_s
    started: dict[str, float] = {}
    printed: set[tuple[str, str]] = set()
    while True:
        # Read before the tasks, so that no task of an ended run is missed.
        state = client.run_state(dag_id, run_id)
        now = time.monotonic()
        task_states = {task.name: task.state for task in client.task_instances(dag_id, run_id)}
        for name, task_state in task_states.items():
            if task_state is not None:
                started.setdefault(name, now)
            if task_state in _REPORTED_STATES and (name, task_state) not in printed:
                printed.add((name, task_state))
                output.task(name, task_state, now - started[name])
        status.update(state, task_states, started)
        if state.ended:
            client.wait_for_run(dag_id, run_id, within_s=within_s)
            return
        if now > deadline:
            unfinished = ", ".join(f"{name}: {each}" for name, each in task_states.items() if each)
            raise DemoError(
                f"the run of {dag_id} did not end within {within_s:.0f} s; {unfinished}"
            )
        check()
        time.sleep(_POLL_S)
