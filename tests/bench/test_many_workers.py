"""Many workers that learn a quota together use it, and ask storage for little."""

import pytest

from bench.many_workers import simulated


@pytest.mark.slow
def test_forty_workers_use_a_quota_that_none_of_them_knew():
    figures = simulated(40, per_second=20.0, seconds=100.0)
    assert figures.used >= 0.9
    assert figures.refused <= 0.07
    assert figures.settled_s is not None
    assert figures.after_loss >= 0.85
    assert figures.requests_per_s["report"] <= 40 / 1.25
    # One of them lists all reports, as often as it reads.
    assert figures.requests_per_s["list"] <= 1.0


def test_the_same_options_give_the_same_figures():
    assert simulated(3, 5.0, 40.0) == simulated(3, 5.0, 40.0)
