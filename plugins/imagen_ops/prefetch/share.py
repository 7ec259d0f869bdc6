"""What the batch jobs of a run take of its budget. Pure.

It is written into the same ledgers in which the run's Dataflow jobs count what they pay, so that
both together keep the budget.
"""

import dataclasses

from imagen_ops.prefetch.state import Part, Prefetch

# In a ledger, each worker process has a share under a name of its own, which is hexadecimal.
BATCH_SHARE = "batch"


@dataclasses.dataclass(frozen=True)
class BatchShare:
    """What batch jobs have taken, or may still take.

    Attributes:
        images: how many images.
        micro_usd: how much money, in millionths of a US dollar.
    """

    images: int = 0
    micro_usd: int = 0

    @property
    def usd(self) -> float:
        """The money in US dollars."""
        return self.micro_usd / 1e6

    def __add__(self, other: "BatchShare") -> "BatchShare":
        return BatchShare(self.images + other.images, self.micro_usd + other.micro_usd)


NOTHING = BatchShare()


def share_of(state: Prefetch) -> BatchShare:
    """Return what the batch jobs of a run have taken of its budget, as far as is known.

    What is not known counts as taken: a job that may go on takes all that it can.
    """
    open_rows = sum((_open(part) for part in state.parts), NOTHING)
    report = state.imported
    if report is None:
        return open_rows + sum((_made(part) for part in state.parts), NOTHING)
    if report.cost_usd is None:
        usd = sum((_made(part) for part in state.parts), NOTHING).micro_usd
    else:
        usd = round(report.cost_usd * 1e6)
    return open_rows + BatchShare(report.images, usd)


def _open(part: Part) -> BatchShare:
    """Return what a part may still take."""
    if part.asked_at is None or (part.ended and not part.may_go_on):
        return NOTHING
    ended = part.counts.successful + part.counts.failed if part.counts else 0
    return _likely(part, max(0, part.rows - ended))


def _made(part: Part) -> BatchShare:
    """Return what a part has taken, by what the service says."""
    if part.counts is None:
        # The service tells it of every job that has begun, but is not bound to.
        known = not part.job or not part.ended or part.may_go_on
        return NOTHING if known else _likely(part, part.rows)
    return _likely(part, part.counts.successful)


def _likely(part: Part, rows: int) -> BatchShare:
    rows = min(rows, part.rows)
    return BatchShare(rows, part.likely_micro_usd * rows // part.rows if part.rows else 0)
