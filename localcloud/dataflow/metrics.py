"""A job's metrics: what its runner has counted, in the format of the API."""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from beam_jobs.outcomes import METRICS_NAMESPACE
from localcloud.dataflow.registry import JobFolder, ProcessFiles
from localcloud.files import write_json
from localcloud.rest import rfc3339

# The runner sums its metrics over all steps, so there is only one step to report.
_STEP = "Imagen"
# The messages in progress now. Those of processes that have ended are none.
_UNDER_WAY = "under_way"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


def carry_over(folder: JobFolder, ended: ProcessFiles) -> None:
    """Save the metrics of a process that has ended, before the next one starts from zero."""
    counted = _read(ended.metrics)
    if counted:
        earlier = _without_under_way(_read(folder.earlier_metrics))
        write_json(folder.earlier_metrics, _sum(earlier, _without_under_way(counted)))
    ended.metrics.unlink(missing_ok=True)


def totals(folder: JobFolder) -> dict[str, Any]:
    """Return the job's metrics over all its processes, by name.

    Counters are numbers; distributions are objects with count, sum, min and max.
    """
    total = _without_under_way(_read(folder.earlier_metrics))
    for process in folder.processes():
        total = _sum(total, _read(process.metrics))
    return total


def job_metrics(folder: JobFolder, *, deals_bundles: bool = False) -> dict[str, Any]:
    """Return the API's JobMetrics. Blocks briefly.

    Args:
        folder: the job's folder.
        deals_bundles: whether its first process is no worker: on Dataflow, that is the service.
    """
    counted_at = _counted_at(folder)
    updates = [
        _update(name, value, counted_at, tentative=tentative)
        for name, value in totals(folder).items()
        for tentative in (False, True)
    ]
    updates += _service_metrics(folder.processes()[1 if deals_bundles else 0 :])
    return {"metrics": updates, "metricTime": rfc3339(time.time())} if updates else {}


def _update(name: str, value: Any, at: float, *, tentative: bool) -> dict[str, Any]:
    context = {"namespace": METRICS_NAMESPACE, "step": _STEP}
    if tentative:
        context["tentative"] = "true"
    update: dict[str, Any] = {
        "name": {"origin": "user", "name": name, "context": context},
        "updateTime": rfc3339(at),
    }
    if isinstance(value, dict):
        mean = value["sum"] / value["count"] if value["count"] else 0
        update["distribution"] = {**value, "mean": mean}
    else:
        update["scalar"] = value
    return update


def _service_metrics(workers: Sequence[ProcessFiles]) -> Iterator[dict[str, Any]]:
    """Yield the service's own metrics: the workers, and their memory and CPU, on Linux."""
    pages, ticks, alive = 0, 0, 0
    for process in workers:
        try:
            pid = int(process.pid.read_text())
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError, IndexError):
            continue
        ticks += int(fields[11]) + int(fields[12])
        alive += 1
    if not alive:
        return
    now = rfc3339(time.time())
    for name, value in (
        ("CurrentMemoryUsage", pages * _PAGE_BYTES),
        ("TotalCpuTime", round(ticks / _TICKS, 2)),
        ("CurrentWorkers", alive),
    ):
        yield {
            "name": {"origin": "dataflow/v1b3", "name": name, "context": {}},
            "scalar": value,
            "updateTime": now,
        }


def _counted_at(folder: JobFolder) -> float:
    found = []
    for path in (folder.earlier_metrics, *(each.metrics for each in folder.processes())):
        with contextlib.suppress(FileNotFoundError):
            found.append(path.stat().st_mtime)
    return max(found, default=time.time())


def _read(path: Path) -> dict[str, Any]:
    try:
        counted: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return counted


def _without_under_way(counted: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in counted.items() if name != _UNDER_WAY}


def _sum(some: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    total = dict(some)
    for name, value in others.items():
        before = total.get(name)
        if before is None:
            total[name] = value
        elif isinstance(value, dict):
            total[name] = {
                "count": before["count"] + value["count"],
                "sum": before["sum"] + value["sum"],
                "min": min(before["min"], value["min"]),
                "max": max(before["max"], value["max"]),
            }
        else:
            total[name] = before + value
    return total
