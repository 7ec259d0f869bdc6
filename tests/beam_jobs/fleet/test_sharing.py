"""A rate is shared by who can use it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.fleet.sharing import RESERVE, share

RATES = st.floats(0.01, 1e6)
WANTS = st.lists(st.one_of(st.just(math.inf), st.floats(0, 1e6)), max_size=50)


@given(RATES, WANTS)
def test_all_shares_and_a_newcomers_are_the_rate_and_no_more(total, wants):
    level = share(total, wants)
    together = sum(level.share(each) for each in wants) + level.share(None)
    assert together <= total * (1 + 1e-9)
    if wants and max(wants) == math.inf:
        assert together == pytest.approx(total)


@given(RATES, WANTS)
def test_nobody_gets_less_than_it_wants_while_another_gets_more(total, wants):
    level = share(total, wants)
    for each in wants:
        if level.share(each) < each - 1e-9:
            assert all(level.share(other) <= level.share(each) + 1e-9 for other in wants)


def test_the_only_busy_worker_gets_almost_all():
    assert share(20.0, [math.inf]).share(math.inf) >= 20 * (1 - RESERVE)


def test_what_a_slow_worker_leaves_goes_to_the_others():
    level = share(20.0, [1.0, math.inf, math.inf])
    assert level.share(1.0) == pytest.approx(1.05, abs=0.01)
    assert level.share(math.inf) == pytest.approx(9.45, abs=0.01)


def test_a_newcomer_starts_with_a_little_and_with_what_nobody_wants():
    assert share(20.0, [math.inf] * 3).share(None) == pytest.approx(20 * RESERVE / 4)
    assert share(20.0, [1.0]).share(None) == pytest.approx(9.5)
    assert share(20.0, []).share(None) == pytest.approx(20.0)
