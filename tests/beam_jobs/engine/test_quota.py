"""The rate that is learned from refusals, against a simulated service with a quota."""

import heapq
import random
from collections.abc import Callable

import pytest

from beam_jobs.engine.quota import LOWEST_FACTOR, MIN_CALLS_PER_S, PAUSE_INTERVALS, LearnedQuota

# Seconds: a refusal is quick, an image takes longer.
REFUSAL_S = 0.03
LATENCY_S = 0.5


class Service:
    """A simulated service that gets calls at the learned rate and refuses those over its quota.

    Args:
        quota: returns the quota in calls per second at a time in seconds.
        window: maximum concurrent calls.
        latency_s: typical seconds for an accepted call.
        refusal_s: typical seconds for a refused call.
        noise: share of the other calls that is refused as well.
    """

    def __init__(
        self,
        quota: Callable[[float], float],
        *,
        window: int = 64,
        latency_s: float = LATENCY_S,
        refusal_s: float = REFUSAL_S,
        noise: float = 0.0,
    ) -> None:
        self.learned = LearnedQuota()
        self._quota = quota
        self._window = window
        self._latency_s = latency_s
        self._refusal_s = refusal_s
        self._noise = noise
        self._chance = random.Random(1)
        self._tokens, self._filled_at = quota(0.0), 0.0
        self.accepted: list[float] = []
        self.refused: list[float] = []

    def run(self, seconds: float) -> "Service":
        now, in_flight = 0.0, 0
        # (when, number, start of a refused call or None)
        ends: list[tuple[float, int, float | None]] = []
        while now < seconds:
            wait = self.learned.wait_s(now)
            if in_flight < self._window and wait <= 0:
                self.learned.started(now)
                in_flight += 1
                refused = not self._has_room(now)
                (self.refused if refused else self.accepted).append(now)
                typical = self._refusal_s if refused else self._latency_s
                took = typical * self._chance.uniform(0.8, 1.2)
                end = (now + took, len(self.accepted) + len(self.refused), now if refused else None)
                heapq.heappush(ends, end)
                continue
            may_start = now + wait if in_flight < self._window else float("inf")
            if not ends or may_start < ends[0][0]:
                now = may_start
                continue
            now, _, started_at = heapq.heappop(ends)
            in_flight -= 1
            if started_at is not None:
                self.learned.refused(started_at, now)
        return self

    def _has_room(self, now: float) -> bool:
        per_s = self._quota(now)
        # Counts like the local stand-in for Vertex AI: one second's worth of calls may arrive at
        # once.
        filled = self._tokens + (now - self._filled_at) * per_s
        self._tokens, self._filled_at = min(max(1.0, per_s), filled), now
        if self._tokens < 1 or self._chance.random() < self._noise:
            return False
        self._tokens -= 1
        return True

    def rate(self, begin: float, end: float) -> float:
        return sum(begin <= at < end for at in self.accepted) / (end - begin)

    def share_refused(self, begin: float, end: float) -> float:
        no = sum(begin <= at < end for at in self.refused)
        return no / max(1, no + sum(begin <= at < end for at in self.accepted))


def test_calls_are_not_limited_before_the_first_refusal():
    learned = LearnedQuota()
    assert learned.per_second(0.0) is None
    for number in range(1000):
        assert learned.wait_s(number / 1e6) == 0.0
        learned.started(number / 1e6)
    assert learned.per_second(60.0) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("per_s", "most_refused"),
    [(2.0, 0.06), (10.0, 0.04), (20.0, 0.02), (100.0, 0.02), (400.0, 0.02)],
)
def test_an_unknown_quota_is_used_and_hardly_exceeded(per_s, most_refused):
    service = Service(lambda _: per_s, window=256).run(160)
    assert service.rate(40, 160) / per_s == pytest.approx(1.0, abs=0.03)
    assert service.share_refused(40, 160) <= most_refused


def test_a_quota_that_is_halved_and_restored_is_followed_within_ten_seconds():
    service = Service(lambda now: 10.0 if 60 <= now < 120 else 20.0).run(180)
    assert service.rate(66, 70) == pytest.approx(10.0, rel=0.1)
    assert service.rate(70, 120) == pytest.approx(10.0, rel=0.03)
    assert service.rate(130, 180) == pytest.approx(20.0, rel=0.05)
    assert service.share_refused(60, 120) < 0.08


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.02])
def test_refusals_at_any_rate_hardly_slow_down_calls(noise):
    service = Service(lambda _: 10_000.0, noise=noise).run(120)
    free = 64 / LATENCY_S
    assert service.rate(20, 120) >= 0.95 * free


@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_a_quota_is_followed_among_refusals_at_any_rate(noise):
    service = Service(lambda now: 10.0 if 60 <= now < 120 else 20.0, noise=noise).run(200)
    assert service.rate(30, 60) >= 0.75 * 20
    assert service.rate(75, 120) == pytest.approx(10.0, rel=0.1)
    assert service.rate(140, 200) >= 0.75 * 20
    assert service.share_refused(140, 200) < 0.04 + 2 * noise


def test_a_slow_model_meets_its_quota_too():
    service = Service(lambda _: 2.0, latency_s=15.0).run(500)
    assert service.rate(200, 500) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(("per_s", "refusal_s"), [(20.0, 2.5), (100.0, 2.5), (100.0, 1.0)])
def test_late_refusals_count_as_well(per_s, refusal_s):
    service = Service(lambda _: per_s, window=256, refusal_s=refusal_s).run(240)
    assert service.rate(60, 240) >= 0.8 * per_s
    assert service.share_refused(60, 240) <= 0.3


def test_after_a_quiet_hour_a_refusal_in_a_burst_ignores_that_hour():
    learned = LearnedQuota()
    for number in range(60):
        learned.started(60.0 * number)
    for number in range(16):
        learned.started(4000 + number / 1000)
    learned.refused(4000, 4000.05)
    assert learned.per_second(4000.05) > 10


def test_calls_that_were_in_flight_cut_the_rate_once():
    learned = LearnedQuota()
    for number in range(60):
        learned.started(number / 30)
    learned.refused(1.9, 2.0)
    rate = learned.per_second(2.0)
    for number in range(30):
        learned.refused(1.5 + number / 100, 2.0)
    assert learned.per_second(2.0) == rate
    learned.started(2.1)
    learned.refused(2.1, 2.2)
    assert learned.per_second(2.2) < rate


def test_one_refusal_never_cuts_more_than_half_and_none_stops_it():
    learned = LearnedQuota()
    now, before = 0.0, None
    for _ in range(200):
        learned.started(now)
        learned.refused(now, now + 0.01)
        now += 0.02
        rate = learned.per_second(now)
        if before is not None:
            assert rate >= before * LOWEST_FACTOR * 0.99
        before = rate
    assert before >= MIN_CALLS_PER_S
    assert learned.wait_s(now) <= (1 + PAUSE_INTERVALS) / MIN_CALLS_PER_S


def test_without_refusals_the_rate_comes_back_and_grows():
    learned = LearnedQuota()
    for number in range(100):
        learned.started(number / 20)
    learned.refused(4.95, 5.0)
    cut = learned.per_second(5.0)
    assert cut < 20
    rates = [learned.per_second(5.0 + seconds) for seconds in range(20)]
    assert rates == sorted(rates)
    assert rates[3] >= 0.97 * 20
    assert rates[9] >= 1.9 * 20


def test_starts_are_spaced_and_delayed_starts_catch_up_in_part():
    learned = LearnedQuota()
    for number in range(100):
        learned.started(number / 100)
    learned.refused(0.995, 1.0)
    learned.started(1.0)
    rate = learned.per_second(1.0)
    assert learned.wait_s(1.0) == pytest.approx(1 / rate, rel=0.05)
    # Starts that are 2 s late do not all happen at once.
    at_once = 0
    while learned.wait_s(3.0) <= 0:
        learned.started(3.0)
        at_once += 1
    assert 1 <= at_once <= 0.1 * learned.per_second(3.0) + 2
