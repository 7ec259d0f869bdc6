"""Dataflow's jobs, as far as checks look at them."""

from typing import Any

from beam_jobs.outcomes import METRICS_NAMESPACE
from verification.visit import Visit

ACTIVE = frozenset({"QUEUED", "PENDING", "RUNNING", "DRAINING", "CANCELLING"})


def _path(visit: Visit) -> str:
    where = visit.deployment
    return f"/v1b3/projects/{where.project}/locations/{where.region}/jobs"


def state_of(job: dict[str, Any]) -> str:
    """Return a job's state, such as `RUNNING`."""
    return str(job.get("currentState", "")).removeprefix("JOB_STATE_")


def listed(visit: Visit, name: str) -> list[dict[str, Any]]:
    """Return the active jobs of a name that a listing shows."""
    answer = visit.access.call(
        "dataflow", "GET", _path(visit), params={"filter": "ACTIVE", "name": name}
    )
    return [job for job in answer.get("jobs", []) if job["name"] == name]


def get(visit: Visit, job_id: str) -> dict[str, Any]:
    """Return all that Dataflow says of a job."""
    return visit.access.call(
        "dataflow", "GET", f"{_path(visit)}/{job_id}", params={"view": "JOB_VIEW_ALL"}
    )


def counters(visit: Visit, job_id: str) -> dict[str, int]:
    """Return the job's own counters, by name."""
    answer = visit.access.call("dataflow", "GET", f"{_path(visit)}/{job_id}/metrics")
    found: dict[str, int] = {}
    for metric in answer.get("metrics", []):
        context = metric["name"].get("context", {})
        if context.get("namespace") == METRICS_NAMESPACE and "tentative" not in context:
            name = metric["name"]["name"]
            found[name] = found.get(name, 0) + int(float(metric.get("scalar") or 0))
    return found


def cancel(visit: Visit, job_id: str) -> None:
    """Cancel a job, unless it has ended."""
    if state_of(get(visit, job_id)) in ACTIVE - {"CANCELLING"}:
        body = {"requestedState": "JOB_STATE_CANCELLED"}
        visit.access.call("dataflow", "PUT", f"{_path(visit)}/{job_id}", json=body)
