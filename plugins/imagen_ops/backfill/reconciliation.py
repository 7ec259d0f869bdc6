"""Whether a backfill's report adds up, and the record that its run leaves. Pure."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from imagen_ops.backfill.plan import Plan
from imagen_ops.backfill.run import BackfillRun

REPORT_SCHEMA = "imagen.report/1"  # as beam_jobs/pipeline/report.py writes it
RECORD_SCHEMA = "imagen.backfill/1"
# A record holds no more than `imagen_ops.records.history` takes, whatever the night was like.
_SHOWN = 10
_COUNTS = ("prompts", "predictions", "reused", "failures", "images", "model_calls")


@dataclasses.dataclass(frozen=True)
class Reconciliation:
    """What became of a backfill's prompts.

    Attributes:
        counts: the report's, by name; empty without a report that can be read.
        failures_by_reason: the report's.
        unaccounted: what makes the run red: prompts of which nobody knows what became of them.
        noted: what somebody should know, and is nobody's loss.
    """

    counts: Mapping[str, int]
    failures_by_reason: Mapping[str, int]
    unaccounted: tuple[str, ...]
    noted: tuple[str, ...]

    @classmethod
    def of_nothing(cls) -> "Reconciliation":
        """Return the reconciliation of a run that launched no job."""
        return cls(counts={}, failures_by_reason={}, unaccounted=(), noted=())

    @property
    def adds_up(self) -> bool:
        """Whether every prompt ended as a prediction or a failure."""
        return not self.unaccounted


def reconcile(report: Any, plan: Plan) -> Reconciliation:
    """Hold a job's report against itself and against the plan.

    Args:
        report: the report as JSON, or None if there is none.
        plan: what was planned. Files may have changed since: that is noted, not a fault.
    """
    noted = list(plan.first_problems[:_SHOWN])
    if plan.problems > len(noted):
        noted.append(f"and {plan.problems - len(noted):,} more problems: see the log of `plan`")
    if report is None:
        missing = "the job is DONE and has left no report: look at its log, then clear `launch`"
        return Reconciliation({}, {}, (missing,), tuple(noted))
    try:
        if report["schema"] != REPORT_SCHEMA:
            raise ValueError(f"schema {report['schema']!r}")
        counts = {name: _count(report[name]) for name in _COUNTS}
        reasons = {str(name): _count(value) for name, value in report["failures_by_reason"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"the report is none of {REPORT_SCHEMA}: {error!r}"
        return Reconciliation({}, {}, (text,), tuple(noted))
    unaccounted = []
    ended = counts["predictions"] + counts["failures"]
    if counts["prompts"] != ended:
        unaccounted.append(
            f"{counts['prompts']:,} prompts came in and {ended:,} ended "
            f"({counts['predictions']:,} predictions, {counts['failures']:,} failures)"
        )
    planned = plan.prompts + plan.invalid
    if counts["prompts"] != planned:
        noted.append(
            f"{planned:,} rows were planned and {counts['prompts']:,} were read: files have "
            "changed, or could not be read, since"
        )
    return Reconciliation(counts, reasons, tuple(unaccounted), tuple(noted))


def backfill_record(
    run: BackfillRun,
    plan: Plan,
    *,
    at: datetime,
    state: str,
    job_id: str | None,
    reconciliation: Reconciliation,
) -> dict[str, Any]:
    """Return what is kept of a run: for pages and queries.

    Args:
        run: the DAG run.
        plan: its plan.
        at: now.
        state: `done`, `skipped`, or `unaccounted`.
        job_id: of its job, if there was one.
        reconciliation: what became of its prompts.
    """
    shown = {
        name: getattr(plan, name)[:_SHOWN]
        for name in ("first_files", "first_invalid", "first_problems")
    }
    return {
        "schema": RECORD_SCHEMA,
        "run_id": run.run_id,
        "at": at.isoformat(),
        "state": state,
        "day": run.day,
        "job_id": job_id,
        "plan": dataclasses.replace(plan, **shown).to_json(),
        "counts": dict(reconciliation.counts),
        "failures_by_reason": dict(reconciliation.failures_by_reason),
        "unaccounted": list(reconciliation.unaccounted),
        "noted": list(reconciliation.noted),
    }


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a count, got {value!r}")
    return value
