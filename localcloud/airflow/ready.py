"""When an Airflow is ready: it answers, its components' hearts beat, its DAG files are parsed."""

import datetime
import time
from collections.abc import Callable, Collection
from pathlib import Path

from localcloud.airflow.answers import AirflowError
from localcloud.airflow.client import AirflowClient
from localcloud.airflow.home import Started

_POLL_S = 0.2
_LAST_LINES = 20
# Those whose hearts the API server hears, by its names for them.
_BEATING = {"scheduler": "scheduler", "dag_processor": "dag-processor"}


def wait_until_ready(
    client: AirflowClient,
    started: Started,
    *,
    ended: Callable[[], Collection[str]],
    log: Callable[[str], Path],
    expected: frozenset[str] | None,
    within_s: float,
) -> None:
    """Wait until everything works.

    Args:
        client: a user who may see DAGs and import errors.
        started: what is waited for; what was parsed before it, or heard of a component before
            that one was started, does not count.
        ended: names the components that have ended.
        log: says where a component's output is.
        expected: ids of DAGs; default: any of each file that looks like a DAG's.
        within_s: seconds.

    Raises:
        AirflowError: it will not be ready, or not in time; the message says what is missing.
    """
    deadline = time.monotonic() + within_s
    while missing := _missing(client, started, expected):
        if gone := ended():
            raise AirflowError("\n".join(_epitaph(name, log(name)) for name in sorted(gone)))
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
        for name, component in _BEATING.items()
        if not _beats(health.get(name) or {}, name, started.since(component))
    ]
    if silent:
        return f"no heartbeat of {', '.join(silent)}"
    for failure in client.import_errors():
        if _epoch(failure.seen_at) >= started.at:
            raise AirflowError(f"{failure.file} cannot be imported:\n{failure.stack_trace.strip()}")
    parsed = [dag for dag in client.dags() if _epoch(dag.parsed_at) >= started.at]
    if expected is not None:
        unknown = expected - {dag.dag_id for dag in parsed}
        return f"not parsed: {', '.join(sorted(unknown))}" if unknown else ""
    folder = Path(started.environment["AIRFLOW__CORE__DAGS_FOLDER"])
    unparsed = dag_files(folder) - {dag.file for dag in parsed}
    return f"no DAG from: {', '.join(sorted(unparsed))}" if unparsed else ""


def dag_files(folder: Path) -> set[str]:
    """Return the files, relative to the folder, that Airflow takes for DAG files by their words."""
    found = set()
    for path in folder.rglob("*.py"):
        content = path.read_bytes().lower()
        if b"dag" in content and b"airflow" in content:
            found.add(str(path.relative_to(folder)))
    return found


def _beats(health: dict[str, str | None], name: str, since: float) -> bool:
    heard = _epoch(health.get(f"latest_{name}_heartbeat") or "")
    return health.get("status") == "healthy" and heard >= since


def _epoch(time_of: str) -> float:
    return datetime.datetime.fromisoformat(time_of).timestamp() if time_of else 0.0


def _epitaph(name: str, log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    return "\n".join([f"{name} has ended; the end of {log}:", *(f"  {line}" for line in lines)])
