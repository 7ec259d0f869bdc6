"""What the prompts of a plan cost, by model and request tier."""

import pytest

from imagen_ops.backfill.plan_text import summary
from tests.conftest import Lane
from tests.plugins.imagen_ops.backfill.conftest import Planned


def test_duplicates_are_paid_for_once(lane: Lane, planned: Planned) -> None:
    lane.put("prompts/a.txt", b"a fox\n" * 3)
    lane.put("prompts/b.jsonl", b'{"prompt": "a fox", "id": "another"}\n')
    result = planned()
    assert (result.prompts, result.distinct) == (4, 1)
    assert (result.images, result.images_to_pay) == (1, 1)


def test_each_model_has_its_price_and_flex_halves_it(lane: Lane, planned: Planned) -> None:
    lane.put(
        "prompts/a.jsonl",
        b'{"prompt": "a fox", "images": 2}\n'
        b'{"prompt": "a fox", "model": "gemini-3-pro-image", "image_size": "4K"}\n',
    )
    standard, flex = planned(), planned(request_tier="flex")
    assert [(cost.model, cost.to_pay, cost.usd) for cost in standard.models] == [
        ("gemini-3-pro-image", 1, 0.24),
        # Each with 60 tokens of thinking, the allowance for the default level.
        ("gemini-3.1-flash-image", 2, pytest.approx(0.1344 + 2 * 60 * 3 / 1e6, abs=1e-4)),
    ]
    assert flex.cost_usd == pytest.approx(standard.cost_usd / 2, abs=1e-4)
    assert (standard.prices_as_of, flex.request_tier) == ("2026-11-28", "flex")


def test_a_plan_says_what_batch_inference_could_make_and_what_that_saves(
    lane: Lane, planned: Planned
) -> None:
    lane.put(
        "prompts/a.jsonl",
        b'{"prompt": "a fox", "images": 2}\n'
        b'{"prompt": "a fox", "images": 2, "id": "another"}\n'
        b'{"prompt": "a fox", "image_size": "2K"}\n'
        b'{"prompt": "a fox", "model": "gemini-3-pro-image"}\n',
    )
    plan = planned()
    pro, flash = plan.models
    assert (pro.batch_images, flash.batch_images, plan.images_to_pay) == (1, 2, 4)
    assert pro.usd is not None
    assert pro.batch_usd == pytest.approx(pro.usd / 2, abs=1e-4)
    assert flash.batch_usd == pytest.approx(0.0672 + 60 * 3 / 1e6, abs=1e-4)
    assert plan.batch_saves_usd == pytest.approx(plan.batch_usd, abs=1e-3)
    assert "2 images by batch inference" not in summary(plan)
    assert "with a prefetch: 3 images by batch inference for 0.13 USD, 1 image online" in summary(
        plan
    )
    # Flex costs as little, and takes as long as it must.
    flex = planned(request_tier="flex")
    assert (flex.batch_images, flex.batch_saves_usd) == (3, 0.0)
    # Whoever names a place wants the prompts there.
    assert planned(model_location="eu").batch_images == 0
    assert "prefetch" not in summary(planned(model_location="eu"))
    assert planned(changed=True).batch_images == 0, "only the job knows what its functions change"


def test_long_texts_and_high_levels_of_thinking_cost_more(lane: Lane, planned: Planned) -> None:
    lane.put("prompts/short.txt", b"a fox\n")
    lane.put("prompts/long.txt", b"a fox " * 1000 + b"\n")
    lane.put("prompts/deep.jsonl", b'{"prompt": "a fox", "thinking_level": "high"}\n')
    short, long, deep = (
        planned(f"prompts/{name}").cost_usd for name in ("short.txt", "long.txt", "deep.jsonl")
    )
    assert long - short == pytest.approx(1500 * 0.5 / 1e6, rel=0.4)
    assert deep - short == pytest.approx(1140 * 3 / 1e6, abs=1e-4)


@pytest.mark.parametrize("tier", ["standard", "flex"])
def test_a_model_without_a_known_price_is_named_and_not_free(
    lane: Lane, planned: Planned, tier: str
) -> None:
    lane.put("prompts/a.txt", b"a fox\n")
    result = planned(model="my-flux", request_tier=tier)
    assert result.unpriced == ("my-flux",)
    assert [cost.usd for cost in result.models] == [None]
    assert result.cost_usd == 0
