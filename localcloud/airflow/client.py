"""What people do in Airflow's UI, for programs: its REST API with a login, typed.

`airflow` itself is not imported, nor is its database read: what works here works on Composer.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from localcloud.airflow.answers import (
    AirflowError,
    AnswerError,
    Dag,
    ImportFailure,
    RunState,
    TaskInstance,
    log_line,
    words_of,
)

__all__ = ["AirflowClient", "AirflowError", "AnswerError", "Dag", "RunState", "TaskInstance"]

_TIMEOUT_S = 30.0
_POLL_S = 0.25
# Enough for a stack trace and what led to it.
_LAST_LINES = 25


class AirflowClient:
    """One user's way into an Airflow. Every method may raise `AnswerError`.

    Args:
        url: of the API server, without a path.
        user: a name of the SimpleAuthManager.
        password: the user's.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False)
        self._login = {"username": user, "password": password}
        self._token: str | None = None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> "AirflowClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def health(self) -> dict[str, Any]:
        """Return what the API server knows of the components; needs no login."""
        answer: dict[str, Any] = self._ask("GET", "/api/v2/monitor/health", login=False)
        return answer

    def warm_up(self) -> None:
        """Have the server build the API that tasks talk to, which takes it seconds, once."""
        self._ask("GET", "/execution/health", login=False)

    def dags(self) -> list[Dag]:
        """Return the DAGs that were parsed."""
        return [Dag.of(item) for item in self._pages("/api/v2/dags", "dags")]

    def import_errors(self) -> list[ImportFailure]:
        """Return the DAG files that cannot be imported."""
        return [
            ImportFailure.of(item) for item in self._pages("/api/v2/importErrors", "import_errors")
        ]

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        """Pause a DAG, or let it run: neither schedule nor trigger starts tasks of a paused one."""
        self._ask("PATCH", _path("dags", dag_id), json={"is_paused": paused})

    def trigger(
        self, dag_id: str, conf: Mapping[str, Any] | None = None, *, run_id: str | None = None
    ) -> str:
        """Start a run with values for the DAG's params, and return its id.

        Raises:
            AnswerError: there is no such DAG (404), a value is refused (400 or 422, in Airflow's
                words), the user may not (403), or there is a run of that id (409).
        """
        body: dict[str, Any] = {"conf": dict(conf or {}), "logical_date": None}
        if run_id is not None:
            body["dag_run_id"] = run_id
        answer = self._ask("POST", _path("dags", dag_id, "dagRuns"), json=body)
        return str(answer["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> RunState:
        """Return the state of a run."""
        return RunState(self._ask("GET", _path("dags", dag_id, "dagRuns", run_id))["state"])

    def run_ids(self, dag_id: str) -> list[str]:
        """Return the ids of a DAG's runs."""
        path = _path("dags", dag_id, "dagRuns")
        return [str(item["dag_run_id"]) for item in self._pages(path, "dag_runs")]

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return the tasks of a run, mapped ones each."""
        path = _path("dags", dag_id, "dagRuns", run_id, "taskInstances")
        return [TaskInstance.of(item) for item in self._pages(path, "task_instances")]

    def wait_for_run(self, dag_id: str, run_id: str, *, within_s: float) -> None:
        """Wait until a run has succeeded.

        Raises:
            AirflowError: it failed, or has not ended in `within_s` seconds; the message names the
                tasks' states and carries the last log lines of those that failed.
        """
        deadline = time.monotonic() + within_s
        while not (state := self.run_state(dag_id, run_id)).ended:
            if time.monotonic() > deadline:
                raise AirflowError(
                    f"run {run_id} of {dag_id} is {state} after {within_s:.0f} s\n"
                    + self._account(dag_id, run_id)
                )
            time.sleep(_POLL_S)
        if state is RunState.FAILED:
            raise AirflowError(f"run {run_id} of {dag_id} failed\n{self._account(dag_id, run_id)}")

    def task_log(self, dag_id: str, run_id: str, task: TaskInstance) -> list[str]:
        """Return the log of a task's last try, an entry each."""
        answer = self._ask(
            "GET",
            _path(*_of(dag_id, run_id, task.task_id), "logs", str(max(task.try_number, 1))),
            params={"full_content": True, "map_index": task.map_index},
            headers={"Accept": "application/json"},
        )
        return [log_line(entry) for entry in answer["content"]]

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", *, index: int = -1
    ) -> Any:
        """Return a value that a task left; 404 where there is none."""
        path = _path(*_of(dag_id, run_id, task_id), "xcomEntries", key)
        return self._ask("GET", path, params={"map_index": index, "deserialize": True})["value"]

    def extra_links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
        """Return the links that the task's page shows, by name."""
        answer = self._ask("GET", _path(*_of(dag_id, run_id, task_id), "links"))
        return dict(answer["extra_links"])

    def clear(
        self, dag_id: str, run_id: str, task_ids: Sequence[str], *, downstream: bool = False
    ) -> None:
        """Have tasks of a run done again, and with `downstream` what comes after them."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": list(task_ids),
            "only_failed": False,
            "include_downstream": downstream,
        }
        self._ask("POST", _path("dags", dag_id, "clearTaskInstances"), json=body)

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Set a task's state: `success`, `failed` or `skipped`; a running one is stopped."""
        path = _path(*_of(dag_id, run_id, task_id))
        self._ask("PATCH", path, json={"new_state": state})

    def mark_run(self, dag_id: str, run_id: str, state: str) -> None:
        """Set a run's state: `success` or `failed`; its running tasks are stopped."""
        self._ask("PATCH", _path("dags", dag_id, "dagRuns", run_id), json={"state": state})

    def slots_taken(self, pool: str = "default_pool") -> int:
        """Return how many worker slots of a pool are taken by tasks that run or are about to."""
        answer = self._ask("GET", _path("pools", pool))
        return int(answer["running_slots"]) + int(answer["queued_slots"])

    def asset_events(self, dag_id: str, run_id: str) -> list[Mapping[str, Any]]:
        """Return what a run has told of its Assets, each event's `extra`."""
        path = "/api/v2/assets/events"
        asked = {"source_dag_id": dag_id, "source_run_id": run_id}
        return [item["extra"] for item in self._ask("GET", path, params=asked)["asset_events"]]

    def variable(self, key: str) -> str | None:
        """Return a Variable's value, or None where there is no such Variable."""
        try:
            answer = self._ask("GET", _path("variables", key))
        except AnswerError as error:
            if error.status == 404:
                return None
            raise
        return None if answer["value"] is None else str(answer["value"])

    def set_variable(self, key: str, value: str) -> None:
        """Set a Variable, made if need be."""
        body = {"key": key, "value": value}
        try:
            self._ask("PATCH", _path("variables", key), json=body)
        except AnswerError as error:
            if error.status != 404:
                raise
            self._ask("POST", _path("variables"), json=body)

    def _account(self, dag_id: str, run_id: str) -> str:
        tasks = self.task_instances(dag_id, run_id)
        lines = [", ".join(f"{task.name}: {task.state or 'not begun'}" for task in tasks)]
        for task in tasks:
            if task.state in ("failed", "up_for_retry"):
                lines.append(f"last lines of {task.name}, try {task.try_number}:")
                log = "\n".join(self.task_log(dag_id, run_id, task)).splitlines()
                lines += [f"  {line}" for line in log[-_LAST_LINES:]]
        return "\n".join(lines)

    def _pages(self, path: str, key: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        while True:
            answer = self._ask("GET", path, params={"limit": 100, "offset": len(found)})
            found += answer[key]
            if not answer[key] or len(found) >= answer["total_entries"]:
                return found

    def _ask(self, method: str, path: str, *, login: bool = True, **how: Any) -> Any:
        headers = dict(how.pop("headers", {}))
        for attempt in (1, 2):
            if login:
                headers["Authorization"] = f"Bearer {self._token or self._new_token()}"
            answer = self._send(method, path, headers=headers, **how)
            # A token lives for a day.
            if answer.status_code != 401 or not login or attempt == 2:
                break
            self._token = None
        return _content(answer, f"{method} {path}")

    def _new_token(self) -> str:
        answer = self._send("POST", "/auth/token", json=self._login)
        self._token = str(_content(answer, "POST /auth/token")["access_token"])
        return self._token

    def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **how)
        except httpx.HTTPError as error:
            raise AirflowError(
                f"{method} {path} was not answered by {self._http.base_url}: {error!r}; "
                "is Airflow up?"
            ) from error


def _content(answer: httpx.Response, asked: str) -> Any:
    try:
        content = answer.json() if answer.content else None
    except ValueError:
        content = answer.text
    if answer.is_success:
        return content
    raise AnswerError(asked, answer.status_code, words_of(content))


def _path(*parts: str) -> str:
    return "/api/v2/" + "/".join(quote(part, safe="") for part in parts)


def _of(dag_id: str, run_id: str, task_id: str) -> tuple[str, ...]:
    return ("dags", dag_id, "dagRuns", run_id, "taskInstances", task_id)
