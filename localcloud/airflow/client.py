"""A typed client for Airflow's REST API, for what people do in the UI.

The client neither imports `airflow` nor reads its database, so it works on Composer too.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from localcloud.airflow.responses import (
    AirflowApiError,
    AirflowError,
    Dag,
    ImportFailure,
    RunState,
    TaskInstance,
    error_detail,
    log_line,
)

__all__ = ["AirflowApiError", "AirflowClient", "AirflowError", "Dag", "RunState", "TaskInstance"]

_TIMEOUT_S = 30.0
_POLL_S = 0.5
# Enough for a stack trace and the lines that led to it.
_LAST_LINES = 25


class AirflowClient:
    """A client with the login of one user. Every method may raise `AirflowApiError`.

    Args:
        url: the API server's URL, without a path.
        user: a user name of the SimpleAuthManager.
        password: the user's password.
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
        """Return the health of the components as the API server sees it; needs no login."""
        answer: dict[str, Any] = self._call("GET", "/api/v2/monitor/health", login=False)
        return answer

    def warm_up(self) -> None:
        """Make the server build the API that tasks use, which takes seconds the first time."""
        self._call("GET", "/execution/health", login=False)

    def dags(self) -> list[Dag]:
        """Return the parsed DAGs."""
        return [Dag.from_api(item) for item in self._pages("/api/v2/dags", "dags")]

    def import_errors(self) -> list[ImportFailure]:
        """Return the DAG files that cannot be imported."""
        return [
            ImportFailure.from_api(item)
            for item in self._pages("/api/v2/importErrors", "import_errors")
        ]

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        """Pause or unpause a DAG. Neither schedule nor trigger starts tasks of a paused DAG."""
        self._call("PATCH", _path("dags", dag_id), json={"is_paused": paused})

    def trigger(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        logical_date: str | None = None,
    ) -> str:
        """Start a run with values for the DAG's params, and return the run's id.

        Raises:
            AirflowApiError: the DAG does not exist (404), a value is invalid (400 or 422), the user
                lacks the permission (403), or a run with that id exists (409).
        """
        body: dict[str, Any] = {"conf": dict(conf or {}), "logical_date": logical_date}
        if run_id is not None:
            body["dag_run_id"] = run_id
        answer = self._call("POST", _path("dags", dag_id, "dagRuns"), json=body)
        return str(answer["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> RunState:
        """Return the state of a run."""
        return RunState(self._call("GET", _path("dags", dag_id, "dagRuns", run_id))["state"])

    def run_ids(self, dag_id: str) -> list[str]:
        """Return the ids of a DAG's runs."""
        path = _path("dags", dag_id, "dagRuns")
        return [str(item["dag_run_id"]) for item in self._pages(path, "dag_runs")]

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return the task instances of a run, one for each index of a mapped task."""
        path = _path("dags", dag_id, "dagRuns", run_id, "taskInstances")
        return [TaskInstance.from_api(item) for item in self._pages(path, "task_instances")]

    def wait_for_run(self, dag_id: str, run_id: str, *, within_s: float) -> None:
        """Wait until a run has succeeded.

        Raises:
            AirflowError: the run failed, or did not end within `within_s` seconds. The message
                names the tasks' states and carries the last log lines of those that failed.
        """
        deadline = time.monotonic() + within_s
        while not (state := self.run_state(dag_id, run_id)).ended:
            if time.monotonic() > deadline:
                raise AirflowError(
                    f"run {run_id} of {dag_id} is {state} after {within_s:.0f} s\n"
                    + self._describe(dag_id, run_id)
                )
            time.sleep(_POLL_S)
        if state is RunState.FAILED:
            raise AirflowError(f"run {run_id} of {dag_id} failed\n{self._describe(dag_id, run_id)}")

    def task_log(self, dag_id: str, run_id: str, task: TaskInstance) -> list[str]:
        """Return the log of a task's last try, one string for each entry."""
        answer = self._call(
            "GET",
            _path(*_task_path(dag_id, run_id, task.task_id), "logs", str(max(task.try_number, 1))),
            params={"full_content": True, "map_index": task.map_index},
            headers={"Accept": "application/json"},
        )
        return [log_line(entry) for entry in answer["content"]]

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", *, index: int = -1
    ) -> Any:
        """Return an XCom value of a task.

        Args:
            dag_id: the DAG.
            run_id: the run.
            task_id: the task.
            key: the XCom's key; by default the task's return value.
            index: the index of a mapped task; -1 for a task that is not mapped.

        Raises:
            AirflowApiError: 404; there is no such value.
        """
        path = _path(*_task_path(dag_id, run_id, task_id), "xcomEntries", key)
        return self._call("GET", path, params={"map_index": index, "deserialize": True})["value"]

    def task_state(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Return what a task keeps in its state store, which its tries share."""
        path = _path(*_task_path(dag_id, run_id, task_id), "state-store")
        return {item["key"]: item["value"] for item in self._pages(path, "task_state_store")}

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, key: str, value: Any) -> None:
        """Change one value in a task's state store."""
        path = _path(*_task_path(dag_id, run_id, task_id), "state-store", key)
        self._call("PUT", path, json={"value": value})

    def question(self, dag_id: str, run_id: str, task_id: str) -> Mapping[str, Any]:
        """Return what a task asks people, and what they have answered.

        Raises:
            AirflowApiError: 404; it has not asked.
        """
        answer: Mapping[str, Any] = self._call("GET", _question_path(dag_id, run_id, task_id))
        return answer

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str, **fields: float) -> None:
        """Answer what a task asks, with an option and with fields: all that it has, or none."""
        body = {"chosen_options": [option], "params_input": fields}
        self._call("PATCH", _question_path(dag_id, run_id, task_id), json=body)

    def extra_links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
        """Return the extra links of a task, by name."""
        answer = self._call("GET", _path(*_task_path(dag_id, run_id, task_id), "links"))
        return dict(answer["extra_links"])

    def clear(
        self, dag_id: str, run_id: str, task_ids: Sequence[str], *, downstream: bool = False
    ) -> None:
        """Clear tasks of a run so that they run again, with `downstream` also those after them."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": list(task_ids),
            "only_failed": False,
            "include_downstream": downstream,
        }
        self._call("POST", _path("dags", dag_id, "clearTaskInstances"), json=body)

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Set a task's state: `success`, `failed` or `skipped`; a running one is stopped."""
        path = _path(*_task_path(dag_id, run_id, task_id))
        self._call("PATCH", path, json={"new_state": state})

    def mark_run(self, dag_id: str, run_id: str, state: str) -> None:
        """Set a run's state: `success` or `failed`; its running tasks are stopped."""
        self._call("PATCH", _path("dags", dag_id, "dagRuns", run_id), json={"state": state})

    def slots_taken(self, pool: str = "default_pool") -> int:
        """Return how many slots of a pool are used by running and queued tasks."""
        answer = self._call("GET", _path("pools", pool))
        return int(answer["running_slots"]) + int(answer["queued_slots"])

    def asset_events(self, dag_id: str, run_id: str) -> list[Mapping[str, Any]]:
        """Return the `extra` of each asset event that a run has emitted."""
        path = "/api/v2/assets/events"
        params = {"source_dag_id": dag_id, "source_run_id": run_id}
        return [item["extra"] for item in self._call("GET", path, params=params)["asset_events"]]

    def variable(self, key: str) -> str | None:
        """Return the value of an Airflow Variable, or None if it does not exist."""
        try:
            answer = self._call("GET", _path("variables", key))
        except AirflowApiError as error:
            if error.status == 404:
                return None
            raise
        return None if answer["value"] is None else str(answer["value"])

    def set_variable(self, key: str, value: str) -> None:
        """Set an Airflow Variable; create it if it does not exist."""
        body = {"key": key, "value": value}
        try:
            self._call("PATCH", _path("variables", key), json=body)
        except AirflowApiError as error:
            if error.status != 404:
                raise
            self._call("POST", _path("variables"), json=body)

    def _describe(self, dag_id: str, run_id: str) -> str:
        tasks = self.task_instances(dag_id, run_id)
        lines = [", ".join(f"{task.name}: {task.state or 'not started'}" for task in tasks)]
        for task in tasks:
            if task.state in ("failed", "up_for_retry"):
                log = "\n".join(self.task_log(dag_id, run_id, task)).splitlines()
                first = next((line for line in log if line.startswith("ERROR ")), None)
                if first:
                    lines.append(f"first error of {task.name}: {first.removeprefix('ERROR ')}")
                lines.append(f"last log lines of {task.name}, try {task.try_number}:")
                lines += [f"  {line}" for line in log[-_LAST_LINES:]]
        return "\n".join(lines)

    def _pages(self, path: str, key: str) -> list[Mapping[str, Any]]:
        items: list[Mapping[str, Any]] = []
        while True:
            answer = self._call("GET", path, params={"limit": 100, "offset": len(items)})
            items += answer[key]
            if not answer[key] or len(items) >= answer["total_entries"]:
                return items

    def _call(self, method: str, path: str, *, login: bool = True, **options: Any) -> Any:
        headers = dict(options.pop("headers", {}))
        for attempt in (1, 2):
            if login:
                headers["Authorization"] = f"Bearer {self._token or self._new_token()}"
            answer = self._send(method, path, headers=headers, **options)
            # Tokens expire after a day.
            if answer.status_code != 401 or not login or attempt == 2:
                break
            self._token = None
        return _content(answer, f"{method} {path}")

    def _new_token(self) -> str:
        answer = self._send("POST", "/auth/token", json=self._login)
        self._token = str(_content(answer, "POST /auth/token")["access_token"])
        return self._token

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise AirflowError(
                f"{method} {path}: no answer from {self._http.base_url} ({reason}); "
                "is Airflow running?"
            ) from error


def _content(answer: httpx.Response, request: str) -> Any:
    try:
        content = answer.json() if answer.content else None
    except ValueError:
        content = answer.text
    if answer.is_success:
        return content
    raise AirflowApiError(request, answer.status_code, error_detail(content))


def _path(*parts: str) -> str:
    return "/api/v2/" + "/".join(quote(part, safe="") for part in parts)


def _question_path(dag_id: str, run_id: str, task_id: str) -> str:
    # The index of a task that is not mapped.
    return _path(*_task_path(dag_id, run_id, task_id), "-1", "hitlDetails")


def _task_path(dag_id: str, run_id: str, task_id: str) -> tuple[str, ...]:
    return ("dags", dag_id, "dagRuns", run_id, "taskInstances", task_id)
