"""What a prompt is likely to cost."""

import pytest

from beam_jobs.catalog import Tier
from beam_jobs.prompts.likely_cost import likely_micro_usd, text_tokens

NEW = "gemini-nano-banana-2.1"


@pytest.mark.parametrize(
    ("fields", "tier", "images", "usd"),
    [
        # 1,120 tokens of the picture, and 350 of thinking at the default level, medium.
        ({}, Tier.STANDARD, 1, (1120 * 30 + 350 * 7.5) / 1e6),
        ({}, Tier.STANDARD, 4, 4 * (1120 * 30 + 350 * 7.5) / 1e6),
        ({}, Tier.FLEX, 1, (1120 * 30 + 350 * 7.5) / 2e6),
        ({"image_size": "4K"}, Tier.STANDARD, 1, (3780 * 30 + 350 * 7.5) / 1e6),
        ({"thinking_level": "high"}, Tier.STANDARD, 1, (1120 * 30 + 1200 * 7.5) / 1e6),
    ],
)
def test_size_tier_thinking_and_number_decide_the_cost(prompt_of, fields, tier, images, usd):
    prompt = prompt_of("a fox in the snow", model=NEW, **fields)
    likely = likely_micro_usd(prompt, tier, images=images)
    assert likely == pytest.approx(usd * 1e6, rel=1e-3)


def test_a_long_text_counts_with_its_system_instruction(prompt_of):
    short, long = prompt_of("a fox", model=NEW), prompt_of("a fox " * 1000, model=NEW)
    styled = prompt_of("a fox", model=NEW, system_instruction="Watercolours. " * 100)
    assert (text_tokens(short), text_tokens(long)) == (2, 1500)
    assert text_tokens(styled) == pytest.approx(350, abs=3)
    more = likely_micro_usd(long, Tier.STANDARD, images=1) or 0
    less = likely_micro_usd(short, Tier.STANDARD, images=1) or 0
    assert more - less == pytest.approx(1498 * 1.5, abs=1)


def test_an_unknown_price_is_unknown(prompt_of):
    assert (
        likely_micro_usd(prompt_of("a fox", model="gemini-4-image"), Tier.STANDARD, images=1)
        is None
    )
