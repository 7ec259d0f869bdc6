"""Which share of a quota is in force for a worker."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from beam_jobs.fleet.learning import Learned
from beam_jobs.fleet.member import COUNT_ALONE_S, IDLE_AFTER_S, IN_FORCE_AFTER_S, Member
from beam_jobs.fleet.sharing import Level
from beam_jobs.fleet.split import Quota

AT = datetime(2026, 11, 1, tzinfo=UTC)
LATER = AT + timedelta(seconds=1)


def quota(most, version=1, spare=0.5, workers=3):
    return Quota(20.0, Level(most, spare), Learned(20.0, version), workers)


def heard(first_share=None):
    """Return a member that has told that it wants all it can get."""
    member = Member(first_share)
    member.started(0.0)
    member.waits(0.0)
    member.told(member.usage(0.0), AT)
    return member


def test_until_something_is_known_it_has_an_even_part():
    assert Member(5.0).share(0.0) == 5.0
    assert Member().share(0.0) is None


def test_a_lower_share_holds_at_once_and_a_higher_one_when_all_have_read_it():
    member = heard()
    member.read(quota(8.0), AT, 10.0, now=0.0)
    assert member.share(0.0) == 8.5
    member.read(quota(4.0), AT, 0.0, now=1.0)
    assert member.share(1.0) == 4.5
    member.read(quota(9.0), AT, 1.0, now=2.0)
    assert member.share(2.0 + IN_FORCE_AFTER_S - 1.1) == 4.5
    assert member.share(2.0 + IN_FORCE_AFTER_S - 0.9) == 9.5


def test_a_higher_share_comes_into_force_though_newer_ones_are_read_meanwhile():
    member = heard()
    member.read(quota(4.0), AT, 10.0, now=0.0)
    for second in range(1, 20):
        member.read(quota(9.0), AT, 0.0, now=float(second))
    assert member.share(19.0) == 9.5


def test_the_last_share_holds_for_as_long_as_nothing_else_is_read():
    member = heard(first_share=1.0)
    member.read(quota(8.0), AT, 10.0, now=0.0)
    assert member.share(100_000.0) == 8.5


def test_who_was_not_heard_yet_has_a_newcomers_share():
    member = heard()
    member.read(quota(8.0), AT - timedelta(seconds=1), 10.0, now=0.0)
    assert member.share(0.0) == 0.5


def test_a_share_follows_from_what_had_been_told_when_it_was_decided():
    member = Member()
    member.started(0.0)
    member.told(member.usage(1.0), AT)  # it wants about one call a second
    member.waits(1.0)
    member.told(member.usage(2.0), LATER)  # and now all it can get
    member.read(quota(8.0), AT, 10.0, now=2.0)
    assert member.share(2.0) < 2
    member.read(quota(8.0), LATER, 10.0, now=3.0)
    assert member.share(3.0) == 8.5


def test_the_only_worker_learns_alone():
    member = heard()
    member.read(quota(8.0, workers=1), AT, 10.0, now=0.0)
    assert (member.share(0.0), member.total) == (None, 20.0)


def test_calls_are_counted_under_the_version_that_they_started_under():
    member = heard()
    member.read(quota(8.0, version=3), AT, 10.0, now=0.0)
    assert member.share(0.0)
    for at in (1.0, 2.0, 3.0):
        member.started(at)
    member.refused_at(2.0)
    usage = member.usage(4.0)
    assert (usage.version, usage.seconds, usage.started, usage.refused) == (3, 4.0, 3, 1)
    member.read(quota(7.0, version=4), AT, 0.0, now=5.0)
    assert member.share(5.0)
    member.refused_at(3.0)
    usage = member.usage(6.0)
    assert (usage.version, usage.started, usage.refused) == (4, 0, 0)


def test_who_learns_alone_counts_only_the_last_seconds():
    member = Member()
    for second in range(20):
        member.started(float(second))
    assert member.usage(20.0).started <= COUNT_ALONE_S + 1


@pytest.mark.parametrize("waits", [True, False])
def test_a_worker_wants_all_if_calls_waited_and_else_a_little_more_than_it_does(waits):
    member = Member(10.0)
    for number in range(8):
        member.started(number / 2)
    if waits:
        member.waits(3.9)
    assert member.usage(4.0).wants == (math.inf if waits else 2.5)
    assert member.usage(8.0).wants == 0.0


def test_a_worker_is_busy_for_some_seconds_after_its_last_call():
    member = Member()
    assert not member.is_busy(0.0)
    member.started(0.0)
    assert member.is_busy(IDLE_AFTER_S - 0.1)
    assert not member.is_busy(IDLE_AFTER_S)
    member.waits(10.0)
    assert member.is_busy(11.0)


def test_a_worker_that_was_idle_starts_with_what_it_had():
    learned, of_a_job = heard(), heard(first_share=1.0)
    for member in (learned, of_a_job):
        member.read(quota(8.0), AT, 10.0, now=0.0)
        member.leave(1.0)
    assert (learned.share(10.0), learned.total) == (None, 8.5)
    assert of_a_job.share(10.0) == 1.0, "an even part"
    learned.read(quota(8.0), LATER, 10.0, now=20.0)
    assert learned.share(20.0) == 0.5, "and has not been heard"


def test_a_quota_that_is_not_shared_any_more_is_forgotten():
    member = heard()
    member.read(quota(8.0), AT, 10.0, now=0.0)
    member.forget()
    assert (member.share(0.0), member.version) == (None, 0)
