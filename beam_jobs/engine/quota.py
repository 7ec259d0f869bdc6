"""What rate of calls the service's quota allows, learned from the calls that it refuses.

Nobody says how large a shared quota is, and it changes. What is let through can be counted, though:
after a refusal calls go on a little below that rate, come back to it, stay around it for some
seconds, and then probe faster and faster until calls are refused again, as CUBIC (RFC 9438) does
with TCP's window. Near the quota that costs two or three refused calls in some seven seconds.
Probing that has gone on for longer than a quota that is the same would let it has found a larger
one, and hurries. Where a few calls are refused at any rate, as by a pool that all customers share,
that is no reason to ask for less.

Knows nothing of event loops: whoever asks brings the time, seconds of a monotonic clock.
"""

from collections import deque

# After a refusal: this share of what was let through.
BACK_OFF = 0.93
# And the next call waits for so many more intervals between calls: the service has nothing left
# at that moment.
PAUSE_INTERVALS = 0.5
# A refusal says that it is less, not that it is next to nothing.
MAX_CUT = 0.5
# Of the cubic, per second³: with it the old rate is reached again after 2.7 s.
GROWTH = 0.0035
# And from so many seconds of probing on the growth itself grows, by so much of it a second. By
# simulation as in tests/beam_jobs/engine/test_quota.py: of a steady 20 calls/s 1.6 % are refused,
# and one that is halved and restored is settled upon in 3 s and in 8 s.
ACCELERATE_AFTER_S = 2.8
ACCELERATION = 20.0
# Of the calls that are looked back on, this share of those beyond the first so many may be refused
# without it meaning anything: slower calls are too few to tell. Without that a service that refuses
# 2 % at any rate is asked for 25 calls/s where it would take 128.
NOISE = 0.04
NOISE_BEYOND = 60
# Below so many calls a second all of that takes longer, by as much: a probe of a slow rate needs
# calls to be told by. Five times longer at most: a service that refused all has to be found well.
FULL_SPEED_PER_S = 10.0
MIN_SPEED = 0.2
# A refused call costs nothing; one in five seconds finds out when there is quota again.
MIN_PER_S = 0.2
# What is let through is counted over two seconds, or as many calls as tell something.
LOOK_BACK_S = 2.0
LOOK_BACK_CALLS = 40
MAX_CALLS = 256
# After a pause of more than this many intervals between calls at the known rate, what was
# before it says nothing about what the service allows now.
IDLE_INTERVALS = 3
# A burst is no rate: a few calls at once are taken for what they would be in this time.
MIN_SPAN_S = 0.25
# How far starts may be behind their times, by other work of the process, and catch up.
CATCH_UP_S = 0.1


class LearnedQuota:
    """The rate at which calls may start: no bound before the first refusal."""

    def __init__(self) -> None:
        self._cut_at: float | None = None
        # The rate before the cut, and when, in the cubic's time, it is reached again.
        self._origin = 0.0
        self._plateau = 0.0
        self._due = float("-inf")
        self._starts: deque[float] = deque()
        # When each refused call was started, and when its refusal came. That may be long after;
        # it is held against the calls that were started meanwhile.
        self._refusals: deque[tuple[float, float]] = deque()

    def per_second(self, now: float) -> float | None:
        """Return the rate at this moment, or None while none is known."""
        if self._cut_at is None:
            return None
        speed = min(1.0, max(MIN_SPEED, self._origin / FULL_SPEED_PER_S))
        probing = (now - self._cut_at) * speed - self._plateau
        growth = GROWTH * probing**3 * (1 + ACCELERATION * max(0.0, probing - ACCELERATE_AFTER_S))
        return max(MIN_PER_S, self._origin * (1 + growth))

    def wait_s(self, now: float) -> float:
        """Return how long the next call has to wait, as far as is known now."""
        rate = self.per_second(now)
        return 0.0 if rate is None else max(0.0, self._due + 1 / rate - now)

    def started(self, now: float) -> None:
        """A call has started."""
        rate = self.per_second(now)
        due = now if rate is None else max(self._due + 1 / rate, now - CATCH_UP_S)
        self._due = min(due, now)
        idle_s = LOOK_BACK_S if rate is None else max(LOOK_BACK_S, IDLE_INTERVALS / rate)
        if self._starts and now - self._starts[-1] > idle_s:
            self._starts.clear()
            self._refusals.clear()
        self._starts.append(now)
        self._forget(now)

    def refused(self, started_at: float, now: float) -> None:
        """A call that started at `started_at` was refused for quota."""
        self._refusals.append((started_at, now))
        self._forget(now)
        # What was on its way when the rate was last cut says nothing about the new one.
        if self._cut_at is not None and started_at <= self._cut_at:
            return
        if self._cut_at is not None and self._is_noise(self._cut_at):
            return
        span = max(now - self._starts[0] if self._starts else 0.0, MIN_SPAN_S)
        tried = len(self._starts) / span
        let_through = max(0, len(self._starts) - len(self._refusals)) / span
        known = self.per_second(now)
        before = tried if known is None else min(known, tried)
        rate = max(MIN_PER_S, MAX_CUT * before, BACK_OFF * min(before, let_through))
        self._origin = max(rate, let_through if known is None else before)
        self._plateau = ((1 - rate / self._origin) / GROWTH) ** (1 / 3)
        self._cut_at = now
        self._due = now + PAUSE_INTERVALS / rate

    def _is_noise(self, cut_at: float) -> bool:
        refused = sum(started_at > cut_at for started_at, _ in self._refusals)
        return refused <= NOISE * (len(self._starts) - NOISE_BEYOND)

    def _forget(self, now: float) -> None:
        starts, refusals = self._starts, self._refusals
        while len(starts) > LOOK_BACK_CALLS and (
            starts[0] < now - LOOK_BACK_S or len(starts) > MAX_CALLS
        ):
            starts.popleft()
        while refusals and (not starts or refusals[0][1] < starts[0]):
            refusals.popleft()
