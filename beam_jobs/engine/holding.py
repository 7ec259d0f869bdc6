"""What a process has of a budget under one name, until its log is closed."""

import uuid

from beam_jobs.engine.ledger import Share
from beam_jobs.engine.spending_log import SpendingLog, SpendingLogs


class Holding:
    """One name in a ledger, and what is leased and spent under it.

    Args:
        logs: where the process notes what it spends.
        max_retry_s: how many seconds a failing request is retried.

    Attributes:
        worker: the name.
        leased: changed only when a write of the ledger is confirmed; lowered before one is sent.
        spent: what was paid for, or is about to be.
        noted: its share as it is written in the ledger; None while that is not known.
        log: says what is spent.
    """

    def __init__(self, logs: SpendingLogs, max_retry_s: float) -> None:
        self.worker = uuid.uuid4().hex
        self.leased = 0
        self.spent = 0
        self.noted: Share | None = Share(0, 0)
        self.log = SpendingLog(logs, self.worker, lambda: self.spent, max_retry_s)

    @property
    def available(self) -> int:
        """What may still be spent."""
        return self.leased - self.spent
