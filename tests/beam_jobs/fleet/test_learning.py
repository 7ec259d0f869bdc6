"""What a quota allows is learned from what all workers report."""

import dataclasses
import math

import pytest

from beam_jobs.fleet.learning import (
    BACK_OFF_FACTOR,
    FIRST_STEP,
    FIRST_STEP_AFTER_ALONE,
    LOWEST_FACTOR,
    MIN_CALLS_PER_S,
    Learned,
    learn,
)
from beam_jobs.fleet.report import Usage

KNOWN = Learned(20.0, 5, accepted=20.0, lowered=False)


def reports(workers=8, *, version=5, seconds=4.0, started=10, refused=0, wants=math.inf):
    """Return the reports of workers that all say the same."""
    return [Usage(wants, version, seconds, started, refused)] * workers


def test_nothing_is_known_before_a_call_is_refused():
    assert learn(None, reports(version=0)) is None


def test_the_first_refusals_show_what_all_together_are_allowed():
    known = learn(None, reports(version=0, started=15, refused=5))
    assert known.per_second == pytest.approx(8 * 10 / 4)


def test_what_was_found_alone_is_raised_by_larger_steps():
    known = learn(None, reports(version=0, started=15, refused=5))
    raised = learn(known, reports(version=1))
    assert raised.per_second == pytest.approx(known.per_second * (1 + FIRST_STEP_AFTER_ALONE))


def test_accepted_calls_raise_the_rate_by_a_small_step():
    known = learn(KNOWN, reports())
    assert known.version == 6
    assert 1 < known.per_second / 20 < 1 + 2 * FIRST_STEP


def test_steps_grow_once_the_quota_must_be_larger():
    known, rates = KNOWN, [KNOWN.per_second]
    while rates[-1] < 60 and len(rates) < 30:
        known = learn(known, reports(version=known.version, started=20))
        rates.append(known.per_second)
    assert len(rates) < 18


def test_refused_calls_lower_the_rate_below_what_was_accepted():
    known = learn(KNOWN, reports(refused=1))
    assert known.per_second == pytest.approx(BACK_OFF_FACTOR * 0.9 * 20)
    assert known.lowered


def test_one_step_leads_back_to_what_may_have_been_accepted_too():
    known = learn(KNOWN, reports(refused=1))
    # 8 of 80 were refused; with one standard deviation less, 5.3 would have been.
    assert known.accepted == pytest.approx(20 * (1 - 5.3 / 80), abs=0.01)
    raised = learn(known, reports(version=known.version))
    assert raised.per_second == known.accepted


def test_one_report_never_lowers_the_rate_to_almost_nothing():
    assert learn(KNOWN, reports(refused=10)).per_second == LOWEST_FACTOR * 20
    lowest = dataclasses.replace(KNOWN, per_second=MIN_CALLS_PER_S)
    assert learn(lowest, reports(refused=10)).per_second == MIN_CALLS_PER_S


def test_one_worker_that_is_heard_first_does_not_speak_for_all():
    """It has reported at once, because half of its few calls were refused."""
    others = reports(7, version=4)
    known = learn(KNOWN, [Usage(math.inf, 5, 1.0, 6, 3), *others])
    assert known.per_second > 0.8 * 20


def test_what_was_refused_under_another_rate_says_nothing_about_this_one():
    assert learn(KNOWN, reports(version=4, refused=10)) == KNOWN


def test_a_rate_that_nobody_waits_for_is_not_raised():
    assert learn(KNOWN, reports(wants=3.0)) == KNOWN


def test_the_rate_is_not_raised_on_the_word_of_a_few():
    assert learn(KNOWN, [*reports(3), *reports(5, version=4)]) == KNOWN
    assert learn(KNOWN, reports(seconds=1.0)) == KNOWN


def test_a_single_refused_call_can_be_chance():
    assert learn(KNOWN, [*reports(7), *reports(1, refused=1)]) == KNOWN


def test_refusals_right_below_the_quota_are_there_at_any_rate():
    """As in a pool that all customers share."""
    lowered = dataclasses.replace(KNOWN, lowered=True)
    known = learn(lowered, reports(started=40, refused=2))
    assert known.noise == pytest.approx(0.025)
    again = learn(known, reports(version=known.version, started=40, refused=1))
    assert again.per_second > known.per_second


def test_what_others_have_found_alone_at_the_same_time_comes_on_top():
    new = Usage(math.inf, 0, 4.0, 8, 0)
    early = dataclasses.replace(KNOWN, version=1)
    reported = [*reports(version=1), new]
    assert learn(early, reported, [new]).per_second == 22
    assert learn(early, reported).version == 2, "and only once"
    assert learn(early, reported).per_second < 21


def test_a_worker_that_is_alone_says_what_it_has_learned():
    assert learn(None, reports(1, version=0)) is None
    alone = learn(None, reports(1, version=0, started=40, refused=4))
    assert (alone.per_second, alone.version) == (9.0, 1)
    assert learn(KNOWN, reports(1, started=40)).per_second == 10
    assert learn(KNOWN, reports(1, started=40, wants=11.0)).per_second == 20


def test_workers_that_were_idle_for_a_moment_drive_no_rate_up():
    back = Usage(math.inf, 0, 2.0, 10, 5)
    assert learn(KNOWN, [*reports(7), back], [back]).per_second < 20 * (1 + 2 * FIRST_STEP)
