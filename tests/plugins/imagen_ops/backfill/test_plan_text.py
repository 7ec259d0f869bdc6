import dataclasses

import pytest

from imagen_ops.backfill.file_count import SHOWN_ROWS
from imagen_ops.backfill.plan import AlreadyStored, ModelCost
from imagen_ops.backfill.plan_text import over_budget, quantity, summary, within_budget
from tests.plugins.imagen_ops.backfill.test_plan import PLAN

ESTIMATE = dataclasses.replace(
    PLAN, already_stored=AlreadyStored(100, 100, looked_up=50, exact=False)
)


def test_within_its_budget_a_plan_is_let_through() -> None:
    assert over_budget(PLAN, 1000, 134.0) is None
    assert over_budget(PLAN, None, None) is None


def test_too_many_images_are_refused_with_the_excess_and_where_to_raise_the_maximum() -> None:
    assert over_budget(PLAN, 999, 134.0) == (
        "over budget: 1,000 images to generate, 1 more than the maximum of 999. Raise max_images "
        "in the form, or IMAGEN_BACKFILL_MAX_IMAGES for all backfills. Nothing was launched, "
        "nothing was charged"
    )


def test_too_high_a_cost_is_refused_with_the_excess_and_where_to_raise_the_maximum() -> None:
    assert over_budget(PLAN, 1000, 100.0) == (
        "over budget: 134.00 USD (standard tier, prices of 2026-11, thinking as in the catalog), "
        "34.00 USD more than the maximum of 100.00 USD. Raise max_cost_usd in the form, or "
        "IMAGEN_BACKFILL_MAX_COST_USD for all backfills. Nothing was launched, nothing was charged"
    )


def test_a_refusal_gives_both_reasons_and_marks_estimates() -> None:
    refusal = over_budget(ESTIMATE, 10, 1.0)
    assert refusal is not None
    assert "an estimated 1,000 images to generate" in refusal
    assert ". Also an estimated 134.00 USD" in refusal


@pytest.mark.parametrize("name", ["max_images", "max_cost_usd"])
def test_the_settings_that_a_message_names_exist(name: str) -> None:
    from imagen_ops.settings import Settings

    assert f"backfill_{name}" in Settings.model_fields


def test_a_summary_says_what_would_be_done_and_what_is_wrong() -> None:
    assert summary(PLAN).splitlines() == [
        "1,000 images to generate, for about 134.00 USD",
        "gs://b/prompts/*: 3 files, 12.3 kB",
        "1,200 prompts, including 100 duplicates; 2 invalid rows",
        "1,100 images requested: 100 already stored (from 100 prompts), 1,000 to generate",
        "  gemini-3-pro-image: 1,000 images, 134.00 USD",
        "estimated cost: 134.00 USD (standard tier, prices of 2026-11, thinking as in the catalog)",
        "invalid row: gs://b/prompts/a.txt:1: no",
        "problem: gs://b/prompts/b.txt: is empty",
    ]


def test_a_summary_says_how_many_invalid_rows_it_does_not_show() -> None:
    shown = tuple(f"gs://b/prompts/a.txt:{line}: no" for line in range(SHOWN_ROWS))
    plan = dataclasses.replace(PLAN, invalid=SHOWN_ROWS + 3, first_invalid=shown)
    assert "and 3 more invalid rows" in summary(plan).splitlines()


def test_a_summary_says_what_is_estimated_or_unknown() -> None:
    unknown = ModelCost("my-flux", images=4, to_pay=4, usd=None)
    text = summary(dataclasses.replace(ESTIMATE, models=(*PLAN.models, unknown)))
    assert "100 already stored (from 100 prompts, estimated from a sample of 50)" in text
    assert "my-flux: 4 images, no known price" in text
    assert "at least 134.00 USD" in text


def test_a_summary_does_not_promise_what_a_preprocess_function_decides() -> None:
    lines = summary(dataclasses.replace(ESTIMATE, preprocess="custom.example:prepare")).splitlines()
    assert (
        "1,100 images requested as the rows are. custom.example:prepare makes up to 16 prompts of "
        "each, or none: what is already stored is not known, and the job can generate fewer or "
        "more, up to its budget"
    ) in lines
    assert not any("already stored (" in line for line in lines)


def test_what_is_within_the_budget_says_how_much_of_it() -> None:
    assert within_budget(PLAN, 10_000, None) == (
        "within the budget: 1,000 images to generate of at most 10,000, and about 134.00 USD"
    )
    assert within_budget(PLAN, None, 500).endswith("about 134.00 USD of at most 500.00 USD")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1200, "1,200 files")]
)
def test_a_noun_is_in_the_plural_unless_there_is_one(count: int, text: str) -> None:
    assert quantity(count, "file") == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 byte"), (999, "999 bytes"), (1_200_000, "1.2 MB"), (2_345_000_000_000, "2,345.0 GB")],
)
def test_sizes_are_shown_in_units_that_people_use(size: int, text: str) -> None:
    line = summary(dataclasses.replace(PLAN, bytes=size)).splitlines()[1]
    assert line == f"gs://b/prompts/*: 3 files, {text}"
