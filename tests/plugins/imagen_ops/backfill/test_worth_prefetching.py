"""Whether batch inference is worth it for a plan."""

import dataclasses

import pytest

from imagen_ops.backfill.plan import ModelCost, Plan
from imagen_ops.backfill.worth_prefetching import should_prefetch
from tests.plugins.imagen_ops.backfill.test_plan import PLAN


def saving(usd: float, images: int = 900) -> Plan:
    model = ModelCost(
        *("gemini-3-pro-image", 1100, 1000, 134.0),
        batch_images=images,
        batch_usd=usd,
        batch_saves_usd=usd,
    )
    return dataclasses.replace(PLAN, models=(model,))


@pytest.mark.parametrize(
    ("plan", "hours", "expected", "why"),
    [
        (saving(60.3), 12, True, "prefetch: it saves 60.30 USD with 900 images"),
        (saving(5.0), 2, True, "prefetch: it saves 5.00 USD"),
        (saving(4.99), 12, False, "worth it from 5.00 USD on (IMAGEN_PREFETCH_MIN_SAVING_USD)"),
        (saving(60.3), 1.5, False, "its jobs would have 1.5 h, and need at least 2 h"),
        (saving(0.0, images=0), 12, False, "can make none of the images"),
        (PLAN, 12, False, "can make none of the images"),
    ],
)
def test_a_prefetch_is_worth_it_from_a_saving_on_and_with_time_left(
    plan: Plan, hours: float, expected: bool, why: str
) -> None:
    decided, sentence = should_prefetch(plan, deadline_hours=hours, min_saving_usd=5.0)
    assert decided is expected
    assert why in sentence


def test_with_a_minimum_of_0_even_a_batch_that_saves_nothing_is_ordered() -> None:
    """Such as to use other capacity than the stream's."""
    assert should_prefetch(saving(0.0), deadline_hours=12, min_saving_usd=0.0)[0]
