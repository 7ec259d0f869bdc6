"""When the next call may start, alone and beside others."""

from datetime import UTC, datetime

import pytest

from beam_jobs.engine.quota import MIN_CALLS_PER_S
from beam_jobs.engine.shared_quota import JITTER, SharedQuota
from beam_jobs.fleet.learning import Learned
from beam_jobs.fleet.member import Member
from beam_jobs.fleet.sharing import Level
from beam_jobs.fleet.split import Quota

AT = datetime(2026, 11, 1, tzinfo=UTC)


def quota(most, workers=4):
    return Quota(20.0, Level(most, 0.0), Learned(20.0, 1), workers)


def heard():
    member = Member()
    member.waits(0.0)
    member.told(member.usage(0.0), AT)
    return member


def starts(shared, begin, seconds):
    """Return when calls start that come as soon as they may."""
    now, times = begin, []
    while (now := now + shared.wait_s(now)) < begin + seconds:
        shared.started(now)
        times.append(now)
    return times


def test_a_share_is_kept():
    member = heard()
    shared = SharedQuota(member)
    member.read(quota(5.0), AT, 10.0, 0.0)
    assert len(starts(shared, 0.0, 100.0)) == pytest.approx(500, rel=0.02)


def test_workers_that_get_their_shares_at_once_start_calls_at_different_times():
    firsts = []
    for _ in range(200):
        member = heard()
        shared = SharedQuota(member)
        shared.started(-100.0)  # alone, until now
        member.read(quota(0.1), AT, 10.0, 0.0)
        firsts.append(starts(shared, 0.0, 30.0)[0])
    assert min(firsts) < 1
    assert max(firsts) > 9
    assert sum(firsts) / 200 == pytest.approx(5, abs=1)


def test_a_job_with_one_worker_starts_at_once_and_keeps_its_rate():
    shared = SharedQuota(Member(2.0), catch_up_s=1.0, others=False)
    assert starts(shared, 0.0, 3.0) == pytest.approx([0, 0, 0.5, 1, 1.5, 2, 2.5], abs=1e-6)
    assert 0 < JITTER < 1


def test_the_first_call_of_a_worker_with_a_small_part_of_a_rate_starts_at_once():
    shared = SharedQuota(Member(0.01), catch_up_s=1.0)
    assert shared.wait_s(0.0) == 0
    shared.started(0.0)
    assert shared.wait_s(0.0) == pytest.approx(100, rel=JITTER)


def test_a_share_may_be_smaller_than_the_least_that_one_worker_tries_alone():
    member = heard()
    shared = SharedQuota(member)
    member.read(quota(MIN_CALLS_PER_S / 100), AT, 10.0, 0.0)
    assert shared.per_second(0.0) == MIN_CALLS_PER_S / 100


def test_refusals_lower_the_rate_alone_and_are_for_all_to_judge_beside_others():
    member = heard()
    shared = SharedQuota(member)
    assert shared.per_second(0.0) is None
    for number in range(60):
        shared.started(number / 100)
    shared.refused(0.5, 0.6)
    assert shared.per_second(0.6) is not None
    member.read(quota(5.0), AT, 10.0, 1.0)
    for number in range(20):
        shared.started(1 + number / 10)
        shared.refused(1 + number / 10, 1.05 + number / 10)
    assert shared.per_second(3.0) == 5.0
    assert member.usage(3.0).refused == 20


def test_the_last_worker_goes_on_with_what_all_had():
    member = heard()
    shared = SharedQuota(member)
    member.read(quota(5.0), AT, 10.0, 0.0)
    assert shared.per_second(0.0) == 5.0
    member.read(quota(5.0, workers=1), AT, 10.0, 10.0)
    assert shared.per_second(10.0) == pytest.approx(20.0)
