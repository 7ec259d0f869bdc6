"""Airflow's REST API, as far as checks need it.

On Composer, the web server takes Google's credentials:
https://cloud.google.com/composer/docs/composer-3/access-airflow-api. Another Airflow takes a token
of its own, which `AIRFLOW_TOKEN` holds.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import requests

_TIMEOUT_S = 60.0
_POLL_S = 2.0
_ENDED = ("success", "failed")


class AirflowError(Exception):
    """What Airflow refused, or didn't do in time."""


class AirflowApi:
    """The API of one Airflow.

    Args:
        url: of the API server.
        session: sends requests, with credentials of Google's.
        token: of Airflow's own, in place of these; empty for none.
        stranger: sends requests without credentials.
    """

    def __init__(
        self,
        url: str,
        session: requests.Session,
        *,
        token: str = "",
        stranger: Callable[[], requests.Session] = requests.Session,
    ) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session() if token else session
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        self._stranger = stranger

    def get(self, path: str, **params: Any) -> Any:
        """Return what is at a path of the API, decoded."""
        return self._call("GET", f"/api/v2/{path}", params=params)

    def trigger(self, dag_id: str, form: Mapping[str, Any]) -> str:
        """Start a run of a DAG, and return its id."""
        body = {"conf": dict(form), "logical_date": None}
        return str(self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.get(f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")["state"])

    def wait(self, dag_id: str, run_id: str, *, until: float) -> str:
        """Wait until a run has ended, and return its state.

        Args:
            dag_id: the DAG.
            run_id: the run.
            until: when to give up, in seconds of `time.monotonic`.

        Raises:
            AirflowError: it has not ended by then. It goes on.
        """
        while (state := self.state(dag_id, run_id)) not in _ENDED:
            if time.monotonic() > until:
                tasks = self.tasks(dag_id, run_id)
                raise AirflowError(
                    f"run {run_id} of {dag_id} is still {state}: "
                    + ", ".join(f"{name} {what}" for name, what in tasks.items() if what)
                )
            time.sleep(_POLL_S)
        return state

    def tasks(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the states of a run's tasks, by id."""
        path = f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        found = self.get(path, limit=100)["task_instances"]
        return {str(task["task_id"]): task["state"] for task in found}

    def failed(self, dag_id: str, run_id: str) -> str:
        """Say which tasks of a run failed."""
        tasks = self.tasks(dag_id, run_id)
        names = [name for name, state in tasks.items() if state in ("failed", "upstream_failed")]
        return f"run {run_id} of {dag_id} failed in {names[0] if names else 'no task'}"

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task returned."""
        run = quote(run_id, safe="")
        path = f"dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.get(path, deserialize=True)["value"]

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer what a task asks people."""
        run = quote(run_id, safe="")
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/-1/hitlDetails"
        self._call("PATCH", path, json={"chosen_options": [option], "params_input": {}})

    def visit(self, path: str, *, logged_in: bool) -> requests.Response:
        """Return the answer at an address of the API server, whatever it is; follow no redirect."""
        session = self._session if logged_in else self._stranger()
        return session.get(f"{self._url}{path}", timeout=_TIMEOUT_S, allow_redirects=False)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        response = self._session.request(
            method, f"{self._url}{path}", timeout=_TIMEOUT_S, allow_redirects=False, **options
        )
        if response.status_code >= 300:
            said = " ".join(response.text.split())[:200]
            raise AirflowError(f"{method} {path}: HTTP {response.status_code}: {said}")
        return response.json() if response.content else None
