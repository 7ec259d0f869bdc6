"""A run of a DAG, followed: its tasks as they end, and how long each took."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from beam_jobs.cli.progress import duration
from localcloud.airflow import AirflowClient
from localcloud.demo.errors import DemoError
from localcloud.demo.telling import Teller

_TOLD = frozenset({"success", "failed", "skipped", "upstream_failed", "removed", "up_for_retry"})
# Each look costs the API server some milliseconds that the tasks could use.
_POLL_S = 0.5


def run(
    client: AirflowClient,
    dag_id: str,
    tell: Teller,
    *,
    check: Callable[[], None],
    within_s: float,
    conf: Mapping[str, Any] | None = None,
) -> str:
    """Trigger a DAG, tell of its tasks as they end, and return the id of its run.

    A task's seconds are by the clock on the wall, from when the scheduler took it up: of a sensor
    that comes back now and then, Airflow itself counts only its last look.

    Args:
        client: a user who may trigger DAGs.
        dag_id: of the DAG.
        tell: who tells.
        check: called now and then; what it raises ends the waiting.
        within_s: seconds.
        conf: values for the trigger form; what is left out has the form's default.

    Raises:
        AirflowError: the run failed; the message names the tasks' states and carries the last log
            lines of those that failed.
        DemoError: it has not ended within `within_s` seconds.
    """
    run_id = client.trigger(dag_id, conf)
    waited_for = _Waited()
    with tell.waiting(lambda: f"{dag_id} {waited_for}"):
        _follow(client, dag_id, run_id, tell, waited_for, check=check, within_s=within_s)
    return run_id


class _Waited:
    """Where a run was when it was last looked at."""

    def __init__(self) -> None:
        self._state = "queued"
        self._tasks: list[tuple[str, str, float]] = []

    def see(self, state: str, states: Mapping[str, str | None], begun: Mapping[str, float]) -> None:
        """Note the states of the run and of its tasks, and since when those have been at it."""
        self._state = state
        self._tasks = [
            (name, found, begun[name])
            for name, found in states.items()
            if found is not None and found not in _TOLD
        ]

    def __str__(self) -> str:
        now = time.monotonic()
        tasks = (f"{name} {state} {duration(now - at)}" for name, state, at in self._tasks)
        return ", ".join([f"is {self._state}", *tasks])


def _follow(
    client: AirflowClient,
    dag_id: str,
    run_id: str,
    tell: Teller,
    waited_for: _Waited,
    *,
    check: Callable[[], None],
    within_s: float,
) -> None:
    deadline = time.monotonic() + within_s
    begun: dict[str, float] = {}
    told: set[tuple[str, str]] = set()
    while True:
        # Before the tasks are looked at, so that none of an ended run is missed.
        state = client.run_state(dag_id, run_id)
        now = time.monotonic()
        states = {task.name: task.state for task in client.task_instances(dag_id, run_id)}
        for name, task_state in states.items():
            if task_state is not None:
                begun.setdefault(name, now)
            if task_state in _TOLD and (name, task_state) not in told:
                told.add((name, task_state))
                tell.task(name, task_state, now - begun[name])
        waited_for.see(state, states, begun)
        if state.ended:
            client.wait_for_run(dag_id, run_id, within_s=within_s)
            return
        if now > deadline:
            under_way = ", ".join(f"{name}: {found}" for name, found in states.items() if found)
            raise DemoError(
                f"the run of {dag_id} has not ended within {within_s:.0f} s; {under_way}"
            )
        check()
        time.sleep(_POLL_S)
