"""A job's metrics: what its runner has counted, in the format of the API."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beam_jobs.outcomes import METRICS_NAMESPACE
from localcloud.dataflow.registry import JobFolder
from localcloud.files import write_json
from localcloud.rest import rfc3339

# The runner sums its metrics over all steps, so there is only one step to report.
_STEP = "Imagen"
# The messages in progress now. Unlike counters, this must not be added up over processes.
_UNDER_WAY = "under_way"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


def carry_over(folder: JobFolder) -> None:
    """Save the metrics of a process that has ended, before the next one starts from zero."""
    ended = _read(folder.metrics)
    if ended:
        write_json(folder.earlier_metrics, _sum(_read(folder.earlier_metrics), ended))
    folder.metrics.unlink(missing_ok=True)


def totals(folder: JobFolder) -> dict[str, Any]:
    """Return the job's metrics over all its processes, by name.

    Counters are numbers; distributions are objects with count, sum, min and max.
    """
    return _sum(_read(folder.earlier_metrics), _read(folder.metrics))


def job_metrics(folder: JobFolder) -> dict[str, Any]:
    """Return the API's JobMetrics. Blocks briefly."""
    counted_at = _counted_at(folder)
    updates = [
        _update(name, value, counted_at, tentative=tentative)
        for name, value in totals(folder).items()
        for tentative in (False, True)
    ]
    updates += _service_metrics(folder)
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


def _service_metrics(folder: JobFolder) -> Iterator[dict[str, Any]]:
    """Yield the service's own metrics of a worker: the process's memory and CPU, on Linux."""
    try:
        pid = int(folder.pid.read_text())
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError, IndexError):
        return
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
    now = rfc3339(time.time())
    for name, value in (
        ("CurrentMemoryUsage", pages * _PAGE_BYTES),
        ("TotalCpuTime", round(cpu_s, 2)),
        ("CurrentWorkers", 1),
    ):
        yield {
            "name": {"origin": "dataflow/v1b3", "name": name, "context": {}},
            "scalar": value,
            "updateTime": now,
        }


def _counted_at(folder: JobFolder) -> float:
    for path in (folder.metrics, folder.earlier_metrics):
        try:
            return path.stat().st_mtime
        except FileNotFoundError:
            continue
    return time.time()


def _read(path: Path) -> dict[str, Any]:
    try:
        counted: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return counted


def _sum(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    total = {name: n for name, n in earlier.items() if name != _UNDER_WAY}
    for name, value in later.items():
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
