"""What a run's record says of its batch jobs. Pure."""

from typing import Any

from imagen_ops.prefetch.share import share_of
from imagen_ops.prefetch.state import Part, Prefetch

# Keeps a record small, however many parts a run has.
_SHOWN_PARTS = 10
_SHOWN_PROBLEMS = 10


def account_of(state: Prefetch | None) -> dict[str, Any] | None:
    """Return what became of a run's prefetch, as JSON; None if the run has none.

    Args:
        state: what the run's tasks know of it.
    """
    if state is None:
        return None
    report, share = state.imported, share_of(state)
    return {
        "decision": state.decision,
        "parts": len(state.parts),
        "first_parts": [_account_of_part(part) for part in state.parts[:_SHOWN_PARTS]],
        "ordered": sum(part.rows for part in state.parts if part.job),
        "left_out": dict(state.left_out),
        "images": share.images,
        "cost_usd": round(share.usd, 6),
        "rows": None if report is None else dict(report.rows),
        "records": None if report is None else report.records,
        "unpriced_rows": None if report is None else report.unpriced_rows,
        "import_job": state.import_job,
        "output_kept": state.output_kept,
        "problems": problems_of(state)[:_SHOWN_PROBLEMS],
    }


def problems_of(state: Prefetch) -> list[str]:
    """Return why not everything that was ordered was made and stored, in words."""
    first = () if state.imported is None else state.imported.first_problems
    return [*(part.problem for part in state.parts if part.problem), *state.problems, *first]


def _account_of_part(part: Part) -> dict[str, Any]:
    return {
        "part": part.number,
        "job": part.job,
        "state": part.state and part.state.value,
        "model": part.model,
        "rows": part.rows,
        "successful": part.counts and part.counts.successful,
        "failed": part.counts and part.counts.failed,
        "problem": part.problem,
    }
