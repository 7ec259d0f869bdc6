"""What the stream has done since the last health check, from the counters of one job or of two."""

import collections
import dataclasses
from collections.abc import Callable, Mapping

from imagen_ops.health.assessment.signals import Counts


@dataclasses.dataclass(frozen=True)
class Counted:
    """The counters of a job as they were last read. `job_id` is empty if none was."""

    job_id: str = ""
    totals: Mapping[str, int] = dataclasses.field(default_factory=dict)


def growth(
    counted: Counted, job_id: str, read: Callable[[str], Mapping[str, int] | None]
) -> tuple[Mapping[str, int] | None, Counted]:
    """Return how much each counter grew since `counted`, and what the next check goes on from.

    If there is another job now, what the earlier one did until its end counts too.

    Args:
        counted: what the last health check has read.
        job_id: the active job; empty if there is none.
        read: returns the counters of a job, or None if they cannot be read.
    """
    grown: collections.Counter[str] = collections.Counter()
    if counted.job_id and (totals := read(counted.job_id)) is not None:
        grown.update(_grown(counted.totals, totals))
        counted = Counted(counted.job_id, totals)
    elif counted.job_id == job_id:
        return None, counted
    if job_id and job_id != counted.job_id:
        totals = read(job_id)
        if totals is None:
            return grown, counted
        grown.update(totals)
        return grown, Counted(job_id, totals)
    return grown, counted


def _grown(earlier: Mapping[str, int], current: Mapping[str, int]) -> dict[str, int]:
    """Return what was counted in between. A counter that went backwards has restarted from 0."""
    return {
        name: value - earlier.get(name, 0) if value >= earlier.get(name, 0) else value
        for name, value in current.items()
    }


def counts_of(since: Mapping[str, int]) -> Counts:
    """Return how many prompts ended, given how much each counter grew."""
    failures = since.get("failures", 0)
    reasons = {
        name.removeprefix("failures_"): value
        for name, value in since.items()
        if name.startswith("failures_") and value
    }
    return Counts(since.get("predictions", 0) + failures, failures, reasons)
