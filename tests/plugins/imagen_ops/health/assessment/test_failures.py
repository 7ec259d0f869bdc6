"""Which prompts count, and whether too many of them have failed."""

import pytest

from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.failures import window
from imagen_ops.health.assessment.signals import Counts, Period
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Status
from tests.plugins.imagen_ops.health.assessment.samples import LIMITS, NOW, ago, with_

HEALTHY, DEGRADED, DOWN = Status.HEALTHY, Status.DEGRADED, Status.DOWN


def checks(*counts: tuple[int, int]) -> list[Status]:
    """Return the verdicts of health checks in a row, with their prompts and failures."""
    verdicts: list[Status] = []
    periods: tuple[Period, ...] = ()
    for prompts, failures in counts:
        current = Counts(prompts, failures)
        verdicts.append(assess(with_(counts=current, earlier=periods), LIMITS).status)
        periods = window((*periods, Period(NOW, current)), NOW, LIMITS)
        aged = [Period(ago(300 + 300 * place), each.counts) for place, each in enumerate(periods)]
        periods = tuple(aged)
    return verdicts


@pytest.mark.parametrize(
    ("counts", "statuses"),
    [
        ([(43, 43), (0, 0), (0, 0)], [DOWN] * 3),
        ([(43, 43), (0, 0), (1, 1), (0, 0)], [DOWN] * 4),
        ([(43, 43), (5, 0), (14, 0), (1, 0)], [DOWN, DEGRADED, DEGRADED, HEALTHY]),
        ([(43, 43), (20, 0), (0, 0)], [DOWN, HEALTHY, HEALTHY]),
        ([(43, 43), (150, 3)], [DOWN, HEALTHY]),
        ([(9, 8), (0, 0)], [DEGRADED, DEGRADED]),
        ([(1, 1)] * 21, [HEALTHY] * 2 + [DEGRADED] * 17 + [DOWN] * 2),
        ([(1, 0)] * 30, [HEALTHY] * 30),
        ([(19, 19), (19, 19), (19, 19)], [DEGRADED, DOWN, DOWN]),
        ([(100, 50), (0, 0), (40, 0)], [DEGRADED, DEGRADED, HEALTHY]),
        ([(100, 0), (3, 3)], [HEALTHY, HEALTHY]),
        ([(30, 0), (10, 10)], [HEALTHY, DEGRADED]),
    ],
    ids=str,
)
def test_a_verdict_holds_until_prompts_succeed_again(
    counts: list[tuple[int, int]], statuses: list[Status]
) -> None:
    assert checks(*counts) == statuses


def test_the_window_is_bounded_and_keeps_nothing_that_no_longer_counts() -> None:
    periods: tuple[Period, ...] = ()
    for number in range(500):
        periods = window((*periods, Period(ago(-number), Counts(1, 0))), ago(-number), LIMITS)
    assert len(periods) == Thresholds.failure_min_prompts
    assert periods[0].at == ago(-499), "the newest"


def test_periods_without_prompts_and_impossible_ones_do_not_count() -> None:
    useless = [Counts(0, 0), Counts(-1, 0), Counts(5, -5)]
    assert window([Period(NOW, counts) for counts in useless], NOW, LIMITS) == ()


def test_reasons_of_all_periods_are_added_up_and_the_text_says_that_it_waits_for_prompts() -> None:
    earlier = (Period(ago(600), Counts(20, 20, {"MODEL_ERROR": 19, "BLOCKED": 1})),)
    now = Counts(1, 1, {"MODEL_ERROR": 1})
    text = assess(with_(counts=now, earlier=earlier), LIMITS).headline
    assert text.startswith(
        "DOWN: 21 of the last 21 prompts failed (100%, the limit is 95%): MODEL_ERROR 20, BLOCKED 1"
    )
    assert "ago" not in text
    quiet = assess(with_(counts=Counts(0, 0), earlier=earlier), LIMITS).headline
    assert "ended up to 10 min ago: this holds until newer prompts succeed." in quiet


def test_a_budget_that_is_used_up_hides_no_failure_and_is_none() -> None:
    used_up = Counts(1000, 990, {"OVER_BUDGET": 990})
    verdict = assess(with_(counts=used_up), LIMITS)
    assert (verdict.status, verdict.reasons[0].code) == (HEALTHY, "BUDGET_USED_UP")
    broken = Counts(1043, 1033, {"OVER_BUDGET": 1000, "MODEL_ERROR": 33})
    verdict = assess(with_(counts=broken), LIMITS)
    assert verdict.status is DEGRADED
    assert "33 of the last 43 prompts failed" in verdict.headline
    earlier = (Period(ago(600), Counts(43, 43)),)
    assert assess(with_(counts=used_up, earlier=earlier), LIMITS).status is DEGRADED


def test_without_an_answer_about_the_counts_the_earlier_ones_hold() -> None:
    earlier = (Period(ago(600), Counts(20, 20)),)
    assert assess(with_(counts=None, earlier=earlier), LIMITS).status is DOWN
