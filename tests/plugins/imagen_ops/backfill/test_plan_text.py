import dataclasses
import json

import pytest

from imagen_ops.backfill.plan import AlreadyMade, ModelCost, Plan
from imagen_ops.backfill.plan_text import over_budget, summary

PLAN = Plan(
    glob="gs://b/prompts/*",
    request_tier="standard",
    files=3,
    bytes=12_345,
    first_files=(),
    prompts=1200,
    distinct=1100,
    invalid=2,
    first_invalid=("gs://b/prompts/a.txt:1: no",),
    problems=1,
    first_problems=("gs://b/prompts/b.txt: is empty",),
    made=AlreadyMade(prompts=100, images=100, looked_up=1100, exact=True),
    models=(ModelCost("gemini-3-pro-image", images=1100, to_pay=1000, above_1k=0, usd=134.0),),
    prices_as_of="2026-11",
)
ESTIMATE = dataclasses.replace(PLAN, made=AlreadyMade(100, 100, looked_up=50, exact=False))


def test_within_its_budget_a_plan_is_let_through() -> None:
    assert over_budget(PLAN, 1000, 134.0) is None
    assert over_budget(PLAN, None, None) is None


def test_too_many_images_are_told_with_by_how_much_and_where_to_raise_it() -> None:
    assert over_budget(PLAN, 999, 134.0) == (
        "over budget: 1,000 images to pay are 1 more than the 999 allowed; raise max_images in "
        "the form, or IMAGEN_BACKFILL_MAX_IMAGES for all backfills. Nothing was launched, "
        "nothing is paid"
    )


def test_too_much_money_is_told_with_by_how_much_and_where_to_raise_it() -> None:
    assert over_budget(PLAN, 1000, 100.0) == (
        "over budget: 134.00 USD (prices of 2026-11, standard) are 34.00 more than the 100.00 "
        "allowed; raise max_cost_usd in the form, or IMAGEN_BACKFILL_MAX_COST_USD for all "
        "backfills. Nothing was launched, nothing is paid"
    )


def test_both_are_told_at_once_and_an_estimate_is_said_to_be_one() -> None:
    told = over_budget(ESTIMATE, 10, 1.0)
    assert told is not None
    assert "an estimated 1,000 images" in told
    assert "an estimated 134.00 USD" in told


@pytest.mark.parametrize("name", ["max_images", "max_cost_usd"])
def test_the_settings_that_a_message_names_exist(name: str) -> None:
    from imagen_ops.settings import Settings

    assert f"backfill_{name}" in Settings.model_fields


def test_a_summary_says_what_would_be_done_and_what_is_wrong() -> None:
    assert summary(PLAN).splitlines() == [
        "gs://b/prompts/*: 3 files, 12,345 bytes",
        "1,200 prompts, 100 of them given before; 2 rows that are none",
        "1,100 images wanted, 100 already made (of 100 prompts), 1,000 to pay",
        "  gemini-3-pro-image: 1,000 images, 134.00 USD",
        "estimated cost: 134.00 USD, standard, prices of 2026-11",
        "bad row: gs://b/prompts/a.txt:1: no",
        "and 1 more bad row",
        "problem: gs://b/prompts/b.txt: is empty",
    ]


def test_a_summary_says_what_is_not_known() -> None:
    unknown = ModelCost("my-flux", images=4, to_pay=4, above_1k=2, usd=None)
    told = summary(dataclasses.replace(ESTIMATE, models=(*PLAN.models, unknown)))
    assert "estimated from 50 that were looked up" in told
    assert "my-flux: 4 images, no known price" in told
    assert "at least 134.00 USD" in told
    assert "2 images of 2K or 4K cost more" in told


def test_a_plan_survives_json() -> None:
    sent = PLAN.to_json()
    assert json.loads(json.dumps(sent)) == sent
    assert Plan.from_json(sent) == PLAN
    assert (sent["images_to_pay"], sent["cost_usd"]) == (1000, 134.0)


def test_what_is_no_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a backfill's plan, got \\['glob'\\]: 'request"):
        Plan.from_json({"glob": "gs://b/*"})
