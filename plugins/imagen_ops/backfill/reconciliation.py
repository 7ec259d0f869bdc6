"""Whether a backfill's report adds up, and the record of its run. Pure."""

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from beam_jobs.outcomes import REPORT_SCHEMA, Reason
from imagen_ops.backfill.approval import Decision
from imagen_ops.backfill.plan import Plan
from imagen_ops.backfill.plan_text import quantity
from imagen_ops.backfill.run import BackfillRun
from imagen_ops.prefetch.account import account_of
from imagen_ops.prefetch.share import BATCH_SHARE, NOTHING, BatchShare
from imagen_ops.prefetch.state import Prefetch

RECORD_SCHEMA = "imagen.backfill/1"
# Keeps every record within the size that `imagen_ops.records.history` accepts, however many files
# are bad.
_SHOWN = 10
_COUNTS = ("prompts", "predictions", "reused", "failures", "images", "model_calls")
_CENT = 0.01
_TOKENS = ("input", "text", "image")


@dataclasses.dataclass(frozen=True)
class ActualCost:
    """What a job cost, as far as its model's answers told it.

    Attributes:
        usd: in US dollars; None: unknown.
        unpriced_calls: model calls that may have cost something beyond that; None: unknown.
        tokens: by kind; empty if unknown.
    """

    usd: float | None = None
    unpriced_calls: int | None = None
    tokens: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields of a run's record."""
        return {
            "cost_usd": self.usd,
            "unpriced_calls": self.unpriced_calls,
            "tokens": dict(self.tokens),
        }


@dataclasses.dataclass(frozen=True)
class Reconciliation:
    """What became of a backfill's prompts.

    Attributes:
        counts: the report's counts by name; empty without a readable report.
        failures_by_reason: the report's failures by reason code.
        unaccounted: why prompts are unaccounted for; any such reason fails the run.
        over_budget: by how much the job is over the run's budget, which fails the run too; or None.
        cost: what the job cost.
        noted: what somebody should know but does not fail the run.
    """

    counts: Mapping[str, int]
    failures_by_reason: Mapping[str, int]
    unaccounted: tuple[str, ...]
    noted: tuple[str, ...]
    over_budget: str | None = None
    cost: ActualCost = ActualCost()

    @classmethod
    def without_job(cls) -> "Reconciliation":
        """Return the reconciliation of a run that launched no job."""
        return cls(
            counts={},
            failures_by_reason={},
            unaccounted=(),
            noted=(),
            cost=ActualCost(usd=0.0, unpriced_calls=0),
        )

    def __str__(self) -> str:
        """What became of the prompts, in a sentence."""
        predictions, failures = self.counts["predictions"], self.counts["failures"]
        reused = f" ({self.counts['reused']:,} reused at no cost)" if self.counts["reused"] else ""
        by_reason = ", ".join(f"{n:,} {reason}" for reason, n in self.failures_by_reason.items())
        cost = (
            "at a cost that is not known"
            if self.cost.usd is None
            else (f"for {'at least ' if self.cost.unpriced_calls else ''}{self.cost.usd:,.2f} USD")
        )
        return (
            f"all prompts are accounted for: {quantity(self.counts['prompts'], 'prompt')} = "
            f"{quantity(predictions, 'prediction')}{reused} + {quantity(failures, 'failure')}"
            + (f" ({by_reason})" if by_reason else "")
            + f"; {quantity(self.counts['images'], 'image')} generated {cost}"
        )

    @property
    def adds_up(self) -> bool:
        """Whether every prompt ended as a prediction or a failure."""
        return not self.unaccounted


def reconcile(
    report: Any,
    plan: Plan,
    max_images: int,
    max_cost_usd: float | None = None,
    *,
    ledger: Any = None,
    batch: BatchShare = NOTHING,
) -> Reconciliation:
    """Check that a job's report adds up, and compare it with the plan.

    Args:
        report: the report as parsed JSON, or None if there is none.
        plan: what was planned. Files may have changed since: that is noted, but is no error.
        max_images: the run's budget.
        max_cost_usd: the run's budget of money; None: it has none.
        ledger: the ledger of that budget as parsed JSON, or None if there is none.
        batch: what the run's batch jobs have taken of the budget.
    """
    notes = list(plan.first_problems[:_SHOWN])
    if plan.problems > len(notes):
        more = quantity(plan.problems - len(notes), "more problem")
        notes.append(f"and {more}: see the log of `plan`")
    if report is None:
        missing = "the job is DONE but left no report: read the job's log, then clear `launch`"
        return _without_counts(missing, notes)
    try:
        counts, failures_by_reason = _parsed(report)
        cost = _cost(report)
    except ValueError as error:
        return _without_counts(f"the report is not a valid {REPORT_SCHEMA}: {error}", notes)
    unaccounted = []
    outcomes = counts["predictions"] + counts["failures"]
    if counts["prompts"] != outcomes:
        unaccounted.append(
            f"the job read {counts['prompts']:,} prompts but reports {outcomes:,} outcomes "
            f"({counts['predictions']:,} predictions, {counts['failures']:,} failures)"
        )
    planned, read = plan.prompts + plan.invalid, _rows(report, counts["prompts"])
    if read != planned:
        notes.append(
            f"{planned:,} rows were planned but {read:,} were read: since the plan, files have "
            "changed or could not be read"
        )
    if read != counts["prompts"]:
        notes.append(
            f"{quantity(read, 'row')} became {quantity(counts['prompts'], 'prompt')}, by the job's "
            "preprocess function"
        )
    if beyond := failures_by_reason.get(Reason.OVER_BUDGET.value, 0):
        money = f" or {max_cost_usd:,.2f} USD" if max_cost_usd is not None else ""
        notes.append(
            f"{quantity(beyond, 'prompt')} cost nothing, because the run's budget of "
            f"{quantity(max_images, 'image')}{money} was used up, with all its tries"
        )
    paid = paid_usd(ledger)
    if paid is not None and paid > (cost.usd or 0.0) + _CENT:
        # As far as its worker processes came to write it down.
        notes.append(
            f"all tries of the run together have paid at least {paid:,.2f} USD, by the ledger of "
            "max_cost_usd, batch jobs included; the cost beside has only what is stored of the "
            "earlier ones"
        )
    return Reconciliation(
        counts=counts,
        failures_by_reason=failures_by_reason,
        unaccounted=tuple(unaccounted),
        noted=tuple(notes),
        over_budget=_over_budget(counts["images"], batch.images, max_images),
        cost=cost,
    )


def backfill_record(
    run: BackfillRun,
    plan: Plan,
    *,
    at: datetime,
    state: str,
    job_id: str | None,
    reconciliation: Reconciliation,
    prefetch: Prefetch | None = None,
    ledger: Any = None,
    approval: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the record of a run, for pages and queries.

    Args:
        run: the DAG run.
        plan: the run's plan.
        at: the record's time, with a time zone.
        state: `done`, `skipped`, `over_budget`, or `unaccounted`; before there is a job, one of
            `imagen_ops.backfill.approval.Decision`.
        job_id: the id of the run's job, if there was one.
        reconciliation: what became of the run's prompts.
        prefetch: what is known of the run's batch jobs; None: it has none.
        ledger: the ledger of the run's money as parsed JSON, or None if there is none.
        approval: how far the question whether the run may pay has got; None: as far as the run
            knows.
    """
    account = account_of(prefetch)
    if approval is None and run.approval is not None:
        approval = {"decision": Decision.APPROVED.value, **run.approval.to_json()}
    first = {
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
        "approval": None if approval is None else dict(approval),
        "plan": dataclasses.replace(plan, **first).to_json(),
        "counts": dict(reconciliation.counts),
        **reconciliation.cost.to_json(),
        "prefetch": account,
        "engines": account and _engines(account, reconciliation, ledger),
        "failures_by_reason": dict(reconciliation.failures_by_reason),
        "unaccounted": list(reconciliation.unaccounted),
        "noted": [
            *([reconciliation.over_budget] if reconciliation.over_budget else ()),
            *reconciliation.noted,
        ],
    }


def _over_budget(by_job: int, by_batch: int, max_images: int) -> str | None:
    images = by_job + by_batch
    if images <= max_images:
        return None
    who = f"the job and the batch jobs ({by_batch:,})" if by_batch else "the job"
    return (
        f"{who} paid for {quantity(images, 'image')}, {images - max_images:,} more than the "
        f"run's budget of {max_images:,}: read the job's log, and report it to the developers"
    )


def _engines(
    account: Mapping[str, Any], reconciliation: Reconciliation, ledger: Any
) -> dict[str, Any]:
    """Return what batch inference made and cost, and what the run's own job did."""
    return {
        "batch": {"images": account["images"], "cost_usd": account["cost_usd"]},
        "online": {
            "images": reconciliation.counts.get("images", 0),
            # As far as its worker processes came to write it down; None: nobody counts it.
            "cost_usd": paid_usd(ledger, without=BATCH_SHARE),
        },
    }


def _without_counts(reason: str, notes: list[str]) -> Reconciliation:
    return Reconciliation(
        counts={}, failures_by_reason={}, unaccounted=(reason,), noted=tuple(notes)
    )


def _parsed(report: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Return a report's counts, and its failures by reason.

    Raises:
        ValueError: it is not a report; says what was expected.
    """
    if not isinstance(report, dict):
        raise ValueError(f"expected a JSON object, got {type(report).__name__}")
    if report.get("schema") != REPORT_SCHEMA:
        raise ValueError(f"expected the schema {REPORT_SCHEMA}, got {report.get('schema')!r}")
    reasons = report.get("failures_by_reason")
    if not isinstance(reasons, dict):
        raise ValueError(
            f"failures_by_reason: expected an object of counts, got {type(reasons).__name__}"
        )
    return (
        {name: _count(name, report.get(name)) for name in _COUNTS},
        {str(reason): _count(str(reason), value) for reason, value in reasons.items()},
    )


def _rows(report: Mapping[str, Any], prompts: int) -> int:
    """Return how many rows were read, before a preprocess function has made prompts of them.

    A job of an older image does not say: it has no such function.
    """
    rows = report.get("rows", prompts)
    return rows if isinstance(rows, int) and not isinstance(rows, bool) else prompts


def _cost(report: Mapping[str, Any]) -> ActualCost:
    """Return what a report says of the cost. One by a job of an older image says nothing.

    Raises:
        ValueError: it says something else; says what was expected.
    """
    if "cost_usd" not in report:
        return ActualCost()
    usd, tokens = report["cost_usd"], report.get("tokens")
    number = isinstance(usd, int | float) and not isinstance(usd, bool) and 0 <= usd < math.inf
    if usd is not None and not number:
        raise ValueError(f"cost_usd: expected US dollars or null, got {usd!r}")
    if not isinstance(tokens, dict):
        raise ValueError(f"tokens: expected an object of counts, got {type(tokens).__name__}")
    return ActualCost(
        usd=usd,
        unpriced_calls=_count("unpriced_calls", report.get("unpriced_calls")),
        tokens={kind: _count(f"tokens.{kind}", tokens.get(kind, 0)) for kind in _TOKENS},
    )


def paid_usd(ledger: Any, *, without: str = "") -> float | None:
    """Return what a ledger of money says was paid; None if it is none.

    Args:
        ledger: as parsed JSON.
        without: the name of a share that doesn't count.
    """
    try:
        shares = ledger["shares"].items()
        return sum(int(share["spent"]) for name, share in shares if name != without) / 1e6
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name}: expected a count, got {value!r}")
    return value
