"""One worker's share of one quota: which is in force, and what it does with it. Pure.

A lower share holds as soon as it is read, a higher one only when everybody has read of it. So all
shares together never exceed the quota, though nobody waits for anybody. What a worker has read last
holds until it reads something newer.

All times are seconds of the caller's monotonic clock, but for those of reports, which are
storage's.
"""

import dataclasses
import math
from collections import deque
from datetime import datetime

from beam_jobs.fleet.report import Usage
from beam_jobs.fleet.split import Quota

# A worker reads so often how the quotas are split. Who splits them does so as often.
READ_EVERY_S = 2.0
# A higher share holds when it is so old. Everybody has read it by then: reads are up to a tenth
# later, and storage tells ages in whole seconds, which can be off by one.
IN_FORCE_AFTER_S = READ_EVERY_S * 1.1 + 1.3
# A worker that has started nothing for so long, and in which nothing waits, is not busy. It leaves
# its share to others.
IDLE_AFTER_S = 6.0
# A worker that is not limited may start this much more than it does.
HEADROOM = 1.25
# What a worker does that learns alone is counted for so long.
COUNT_ALONE_S = 4.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Read:
    in_force_at: float
    share: float  # infinity: it learns alone
    version: int


class Member:
    """A worker's share of one quota.

    Args:
        first_share: calls per second until anything is known; None: no limit.
    """

    def __init__(self, first_share: float | None = None) -> None:
        self._first_share = math.inf if first_share is None else first_share
        self._reads: deque[_Read] = deque()
        self._total: float | None = None
        # What it has told that it wants, and when by storage's clock.
        self._told: deque[tuple[datetime, float]] = deque(maxlen=8)
        self._version = 0
        self._counting_since: float | None = None
        self._started = self._refused = 0
        self._rated_since: float | None = None
        self._rated_starts = 0
        self._waited = False
        self._used_at = float("-inf")

    @property
    def version(self) -> int:
        """The version of the quota that calls are counted under; 0 while none is known."""
        return self._version

    @property
    def total(self) -> float | None:
        """What is known of the quota, in calls per second, for whoever goes on alone."""
        return self._total

    @property
    def refused(self) -> int:
        """How many calls were refused since the counting began."""
        return self._refused

    def is_busy(self, now: float) -> bool:
        """Return whether calls have started, or waited, within the last seconds."""
        return now - self._used_at < IDLE_AFTER_S

    def read(self, quota: Quota, heard_until: datetime, age_s: float, now: float) -> None:
        """Note how the quota is split.

        Args:
            quota: as it was read.
            heard_until: what was written until then, by storage's clock, is in it.
            age_s: how many seconds ago that was decided.
            now: the time.
        """
        wants = next((told for at, told in reversed(self._told) if at <= heard_until), None)
        share = quota.share(wants)
        in_force_at = now + max(0.0, IN_FORCE_AFTER_S - age_s)
        self._total = quota.per_second
        self._reads.append(_Read(in_force_at, math.inf if share is None else share, quota.version))

    def share(self, now: float) -> float | None:
        """Return how many calls may start per second; None: no limit is known."""
        while len(self._reads) > 1 and self._reads[1].in_force_at <= now:
            self._reads.popleft()
        if not self._reads:
            return _or_none(self._first_share)
        # The lowest of what holds and of what is to hold; of equal ones, the newest.
        lowest = min(reversed(self._reads), key=lambda read: read.share)
        if lowest.version != self._version:
            self._version = lowest.version
            self._count_anew(now)
        if self._reads[0].in_force_at > now:
            return _or_none(min(self._first_share, lowest.share))
        return _or_none(lowest.share)

    def waits(self, now: float) -> None:
        """Note that a call waits for this quota."""
        self._waited, self._used_at = True, now

    def started(self, now: float) -> None:
        """Note that a call started."""
        if self._counting_since is None or (
            self.share(now) is None and self.counted_s(now) > COUNT_ALONE_S
        ):
            self._count_anew(now)
        self._rated_since = now if self._rated_since is None else self._rated_since
        self._used_at = now
        self._started += 1
        self._rated_starts += 1

    def refused_at(self, started_at: float) -> None:
        """Note that a call which had started then was refused with 429."""
        if self._counting_since is not None and started_at >= self._counting_since:
            self._refused = min(self._refused + 1, self._started)

    def counted_s(self, now: float) -> float:
        """Return for how long calls have been counted."""
        return 0.0 if self._counting_since is None else now - self._counting_since

    def usage(self, now: float) -> Usage:
        """Return what to report, and begin to count anew what the worker wants."""
        since = now if self._rated_since is None else self._rated_since
        rate = self._rated_starts / max(1.0, now - since)
        wants = math.inf if self._waited else HEADROOM * rate
        self._rated_since, self._rated_starts, self._waited = now, 0, False
        return Usage(wants, self._version, self.counted_s(now), self._started, self._refused)

    def told(self, usage: Usage, at: datetime) -> None:
        """Note that the report was written, at that time by storage's clock."""
        self._told.append((at, usage.wants))

    def leave(self, now: float) -> None:
        """Note that this worker is not busy, so that others get its share.

        When it is busy again, it starts with an even part of a rate that is set, or with as much of
        a learned quota as it had.
        """
        self._total = self.share(now) or self._total
        self._told.clear()
        self.forget()

    def forget(self) -> None:
        """Forget what was read, because this quota is not shared any more."""
        if self._reads:
            self._reads.clear()
            self._version = 0
            self._counting_since = None
            self._started = self._refused = 0

    def _count_anew(self, now: float) -> None:
        self._counting_since = now
        self._started = self._refused = 0


def _or_none(share: float) -> float | None:
    return None if math.isinf(share) else share
