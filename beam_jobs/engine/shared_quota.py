"""When the next call may start: at this worker's share of a quota, else as it has learned alone."""

import random

from beam_jobs.engine.quota import LearnedQuota
from beam_jobs.fleet.member import Member

# If other work of the process delays starts, they may catch up with up to this many seconds.
MAX_CATCH_UP_S = 0.1
# The time between two starts varies by up to this share of it, so that the workers of a job, who
# all get their shares at the same moment, don't all start calls at the same moments.
JITTER = 0.1


class SharedQuota:
    """A quota that the workers of a job share. Times are seconds of the event loop's clock.

    Args:
        member: this worker's share.
        catch_up_s: the worth of so many seconds may start at once after a pause.
        others: whether other workers may have a share of it.
    """

    def __init__(
        self, member: Member, *, catch_up_s: float = MAX_CATCH_UP_S, others: bool = True
    ) -> None:
        self._member = member
        self._catch_up_s = catch_up_s
        self._alone = LearnedQuota()
        self._others = others
        # When the last call was due to start, and in how many intervals the next one is.
        self._last_due = float("-inf")
        self._intervals = 1.0
        # None until the first call, which starts at once.
        self._was_shared: bool | None = None

    def per_second(self, now: float) -> float | None:
        """Return how many calls may start per second at `now`; None while no quota is known."""
        share = self._share(now)
        return self._alone.per_second(now) if share is None else share

    def wait_s(self, now: float) -> float:
        """Return how many seconds the next call has to wait, as known at `now`."""
        share = self._share(now)
        if share is None:
            return self._alone.wait_s(now)
        return max(0.0, self._last_due + self._intervals / share - now) if share else float("inf")

    def waits(self, now: float) -> None:
        """Note that a call waits for this quota."""
        self._member.waits(now)

    def started(self, now: float) -> None:
        """Note that a call started at `now`."""
        share = self._share(now)
        self._member.started(now)
        if share is None:
            self._alone.started(now)
        due = self._last_due + self._intervals / share if share else now
        behind_s = max(0.0, self._catch_up_s - 1 / share) if share else 0.0
        self._last_due = min(now, max(due, now - behind_s))
        if self._others:
            self._intervals = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret

    def refused(self, started_at: float, now: float) -> None:
        """Note that the call that started at `started_at` was refused for quota at `now`."""
        self._member.refused_at(started_at)
        if self._share(now) is None:
            self._alone.refused(started_at, now)

    def unused(self, seconds: float, now: float) -> None:
        """Forget the growth of the last `seconds`, in which no calls tested it."""
        self._alone.unused(seconds, now)

    def _share(self, now: float) -> float | None:
        share = self._member.share(now)
        if share is None and self._was_shared and self._member.total:
            self._alone.resume(self._member.total, now)
        if share is not None and self._was_shared is False and self._others:
            self._last_due, self._intervals = now, random.random()  # noqa: S311 - no secret
        self._was_shared = share is not None
        return share
