"""Airflow's LocalExecutor, which knows the processes of a task apart, as Composer's executor does.

A task that was parked, or that checks again, has another process under the same key. Airflow 3.3.1
takes the end of the first one, if it is told late, for an unexpected end of the second, and fails
the try (https://github.com/apache/airflow/issues/72716). CeleryExecutor, which Composer runs, keeps
the result of the last process alone (`_send_workloads` of the provider).
"""

import collections
from collections.abc import Sequence
from typing import Any

from airflow.executors.local_executor import LocalExecutor
from airflow.utils.state import TaskInstanceState
from typing_extensions import override

_ENDED = (TaskInstanceState.SUCCESS, TaskInstanceState.FAILED)


class LastProcessExecutor(LocalExecutor):
    """Tells the scheduler of the end of a task's last process only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._processes: collections.Counter[Any] = collections.Counter()

    @override
    def _process_workloads(self, workload_list: Sequence[Any]) -> None:
        self._processes.update(workload.key for workload in workload_list)
        super()._process_workloads(workload_list)  # type: ignore[no-untyped-call]

    @override
    def change_state(
        self, key: Any, state: Any, info: Any = None, remove_running: bool = True
    ) -> None:
        if state in _ENDED and key in self._processes:
            self._processes[key] -= 1
            if self._processes[key] > 0:
                return
            del self._processes[key]
        super().change_state(key, state, info, remove_running)
