"""Waits until Airflow is ready: it answers, its components send heartbeats, its DAGs are parsed."""

import datetime
import time
from collections.abc import Callable, Collection
from pathlib import Path

from localcloud.airflow.client import AirflowClient
from localcloud.airflow.home import Started
from localcloud.airflow.responses import AirflowError

_POLL_S = 0.2
_LAST_LINES = 20
# The components whose heartbeats the API server reports, by its names for them.
_HEARTBEATS = {
    "scheduler": "scheduler",
    "dag_processor": "dag-processor",
    "triggerer": "triggerer",
}


def wait_until_ready(
    client: AirflowClient,
    started: Started,
    *,
    stopped: Callable[[], Collection[str]],
    log: Callable[[str], Path],
    expected: frozenset[str] | None,
    within_s: float,
) -> None:
    """Wait until Airflow is ready.

    Args:
        client: a user who may see DAGs and import errors.
        started: the start to wait for. A DAG that was parsed, or a heartbeat that was sent,
            before it does not count.
        stopped: returns the names of components that have stopped.
        log: returns the path of a component's log.
        expected: ids of DAGs that must be parsed; by default, at least one from each file that
            looks like a DAG file.
        within_s: how long to wait, in seconds.

    Raises:
        AirflowError: a component stopped, a DAG file cannot be imported, or Airflow was not ready
            in time. The message says what is missing.
    """
    deadline = time.monotonic() + within_s
    while missing := _missing(client, started, expected):
        if names := stopped():
            raise AirflowError("\n".join(_stop_report(name, log(name)) for name in sorted(names)))
        if time.monotonic() > deadline:
            raise AirflowError(
                f"Airflow is not ready after {within_s:.0f} s: {missing}; logs: {log('*')}"
            )
        time.sleep(_POLL_S)


def _missing(client: AirflowClient, started: Started, expected: frozenset[str] | None) -> str:
    try:
        health = client.health()
        client.warm_up()
    except AirflowError:
        return "the API server does not answer"
    silent = [
        component
        for name, component in _HEARTBEATS.items()
        if component in started.components
        and not _has_heartbeat(health.get(name) or {}, name, started.since(component))
    ]
    if silent:
        return f"no heartbeat from {', '.join(silent)}"
    for failure in client.import_errors():
        if _epoch(failure.seen_at) >= started.at:
            raise AirflowError(f"{failure.file} cannot be imported:\n{failure.stack_trace.strip()}")
    parsed = [dag for dag in client.dags() if _epoch(dag.parsed_at) >= started.at]
    if expected is not None:
        unparsed_ids = expected - {dag.dag_id for dag in parsed}
        return f"not parsed yet: {', '.join(sorted(unparsed_ids))}" if unparsed_ids else ""
    folder = Path(started.environment["AIRFLOW__CORE__DAGS_FOLDER"])
    unparsed = dag_files(folder) - {dag.file for dag in parsed}
    return f"no DAG yet from: {', '.join(sorted(unparsed))}" if unparsed else ""


def dag_files(folder: Path) -> set[str]:
    """Return the files that Airflow treats as DAG files, relative to `folder`.

    Like Airflow, this looks for the words "dag" and "airflow" in the file.
    """
    files = set()
    for path in folder.rglob("*.py"):
        content = path.read_bytes().lower()
        if b"dag" in content and b"airflow" in content:
            files.add(str(path.relative_to(folder)))
    return files


def _has_heartbeat(health: dict[str, str | None], name: str, since: float) -> bool:
    last = _epoch(health.get(f"latest_{name}_heartbeat") or "")
    return health.get("status") == "healthy" and last >= since


def _epoch(iso_time: str) -> float:
    return datetime.datetime.fromisoformat(iso_time).timestamp() if iso_time else 0.0


def _stop_report(name: str, log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    return "\n".join(
        [f"{name} has stopped; last lines of {log}:", *(f"  {line}" for line in lines)]
    )
