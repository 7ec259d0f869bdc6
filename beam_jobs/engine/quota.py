"""Learns the rate of calls that the service's quota allows from the calls that it refuses.

No API tells how large a shared quota is, and it changes. But the accepted calls can be counted. The
rate follows CUBIC (RFC 9438), as TCP's window does: after a refusal it drops a little below the
accepted rate, returns to it, stays near it for some seconds, and then rises faster and faster until
calls are refused again. Near the quota this costs two or three refused calls in about 7 s.

If the rate has risen for longer than an unchanged quota would allow, the quota must be larger, and
the rate rises faster still. A few refusals at any rate, as in a pool that all customers share, are
no reason to slow down.

Must not know about event loops: the caller passes the time, in seconds of a monotonic clock.
"""

from collections import deque

# After a refusal, the rate drops to this factor of the accepted rate.
BACK_OFF_FACTOR = 0.93
# After a refusal, the next call waits for this many extra intervals between calls, because the
# service has no quota left at that moment.
PAUSE_INTERVALS = 0.5
# One refusal drops the rate to this factor at the lowest: it means that the quota is smaller, not
# that it is almost nothing.
LOWEST_FACTOR = 0.5
# CUBIC's coefficient C, per second³. With this value, the old rate is reached again after 2.7 s.
CUBIC_COEFFICIENT = 0.0035
# After this many seconds above the old rate, the growth itself increases, by this factor per
# second. Simulated as in tests/beam_jobs/engine/test_quota.py: at a steady quota of 20 calls/s,
# 1.6% of the calls are refused. The rate settles 3 s after the quota is halved, and 8 s after it is
# restored.
ACCELERATE_AFTER_S = 2.8
ACCELERATION_PER_S = 20.0
# Refusals that do not slow down calls: up to this share of the recent calls beyond this number,
# since fewer calls are too few to judge by. Without this, a service that refuses 2% at any rate
# gets only 25 calls/s where it would accept 128.
NOISE_SHARE = 0.04
NOISE_MIN_CALLS = 60
# Below this rate, in calls per second, all of the above runs proportionally slower, because it
# takes longer to see enough calls. At most five times slower (factor 0.2), so that the rate
# recovers in time from a service that refused everything.
FULL_SPEED_CALLS_PER_S = 10.0
MIN_SPEED_FACTOR = 0.2
# The lowest rate: one call every 5 s. A refused call costs nothing, and one has to find out when
# there is quota again.
MIN_CALLS_PER_S = 0.2
# The recent calls: those of the last 2 s, but at least the last 40 and at most the last 256.
LOOK_BACK_S = 2.0
MIN_LOOK_BACK_CALLS = 40
MAX_LOOK_BACK_CALLS = 256
# After a pause of more than this many intervals between calls, and of more than `LOOK_BACK_S`,
# older calls say nothing about what the service allows now.
IDLE_INTERVALS = 3
# Recent calls count as spread over at least this many seconds, because a short burst is not a rate.
MIN_SPAN_S = 0.25
# If other work of the process delays starts, they may catch up with up to this many seconds.
MAX_CATCH_UP_S = 0.1


class LearnedQuota:
    """The rate at which calls may start; unlimited until the first refusal.

    All times are seconds of the caller's monotonic clock.
    """

    def __init__(self) -> None:
        self._cut_at: float | None = None
        # The rate before the last cut, and the seconds after the cut when it is reached again, at
        # full speed.
        self._rate_before_cut = 0.0
        self._recovery_s = 0.0
        # When the last call was due to start; the next one is due one interval later.
        self._last_due = float("-inf")
        self._starts: deque[float] = deque()
        # For each refused call, when it started and when its refusal arrived. The refusal may
        # arrive much later; it counts against the calls that started in the meantime.
        self._refusals: deque[tuple[float, float]] = deque()

    def per_second(self, now: float) -> float | None:
        """Return how many calls may start per second at `now`; None before the first refusal."""
        if self._cut_at is None:
            return None
        speed = min(1.0, max(MIN_SPEED_FACTOR, self._rate_before_cut / FULL_SPEED_CALLS_PER_S))
        probing_s = (now - self._cut_at) * speed - self._recovery_s
        growth = (
            CUBIC_COEFFICIENT
            * probing_s**3
            * (1 + ACCELERATION_PER_S * max(0.0, probing_s - ACCELERATE_AFTER_S))
        )
        return max(MIN_CALLS_PER_S, self._rate_before_cut * (1 + growth))

    def wait_s(self, now: float) -> float:
        """Return how many seconds the next call has to wait, as known at `now`."""
        rate = self.per_second(now)
        return 0.0 if rate is None else max(0.0, self._last_due + 1 / rate - now)

    def started(self, now: float) -> None:
        """Note that a call started at `now`."""
        rate = self.per_second(now)
        due = now if rate is None else max(self._last_due + 1 / rate, now - MAX_CATCH_UP_S)
        self._last_due = min(due, now)
        idle_s = LOOK_BACK_S if rate is None else max(LOOK_BACK_S, IDLE_INTERVALS / rate)
        if self._starts and now - self._starts[-1] > idle_s:
            self._starts.clear()
            self._refusals.clear()
        self._starts.append(now)
        self._forget(now)

    def refused(self, started_at: float, now: float) -> None:
        """Note that the call that started at `started_at` was refused for quota at `now`."""
        self._refusals.append((started_at, now))
        self._forget(now)
        # Calls that started before the last cut say nothing about the new rate.
        if self._cut_at is not None and started_at <= self._cut_at:
            return
        if self._cut_at is not None and self._is_noise(self._cut_at):
            return
        span_s = max(now - self._starts[0] if self._starts else 0.0, MIN_SPAN_S)
        attempted_rate = len(self._starts) / span_s
        accepted_rate = max(0, len(self._starts) - len(self._refusals)) / span_s
        current_rate = self.per_second(now)
        rate_before = attempted_rate if current_rate is None else min(current_rate, attempted_rate)
        rate = max(
            MIN_CALLS_PER_S,
            LOWEST_FACTOR * rate_before,
            BACK_OFF_FACTOR * min(rate_before, accepted_rate),
        )
        self._rate_before_cut = max(rate, accepted_rate if current_rate is None else rate_before)
        self._recovery_s = ((1 - rate / self._rate_before_cut) / CUBIC_COEFFICIENT) ** (1 / 3)
        self._cut_at = now
        self._last_due = now + PAUSE_INTERVALS / rate

    def resume(self, rate: float, now: float) -> None:
        """Go on at a rate, in calls per second, that is known to be accepted."""
        self._rate_before_cut = max(MIN_CALLS_PER_S, rate)
        self._recovery_s = 0.0
        self._cut_at = now
        self._last_due = now
        self._starts.clear()
        self._refusals.clear()

    def unused(self, seconds: float, now: float) -> None:
        """Forget the growth of the last `seconds`, in which no calls tested it."""
        if self._cut_at is not None:
            self._cut_at = min(now, self._cut_at + seconds)

    def _is_noise(self, cut_at: float) -> bool:
        refused = sum(started_at > cut_at for started_at, _ in self._refusals)
        return refused <= NOISE_SHARE * (len(self._starts) - NOISE_MIN_CALLS)

    def _forget(self, now: float) -> None:
        starts, refusals = self._starts, self._refusals
        while len(starts) > MIN_LOOK_BACK_CALLS and (
            starts[0] < now - LOOK_BACK_S or len(starts) > MAX_LOOK_BACK_CALLS
        ):
            starts.popleft()
        while refusals and (not starts or refusals[0][1] < starts[0]):
            refusals.popleft()
