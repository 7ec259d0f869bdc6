"""A plan in words: the summary in the log, and the refusal of a plan that is over its budget."""

from datetime import UTC, datetime

from beam_jobs.catalog import CATALOG, WARN_DAYS
from beam_jobs.prompts.limits import MAX_PROMPTS_OF_ONE
from imagen_ops.backfill.file_count import SHOWN_ROWS
from imagen_ops.backfill.plan import Plan

_KB, _MB, _GB = 1000, 1000**2, 1000**3


def over_budget(plan: Plan, max_images: int | None, max_cost_usd: float | None) -> str | None:
    """Return why a plan is refused: by how much it is over its budget, and where to raise it.

    Args:
        plan: what the backfill would do and cost.
        max_images: the maximum number of images to generate; None: no limit.
        max_cost_usd: the maximum estimated cost in USD; None: no limit. Images of models without a
            known price count towards `max_images` only.

    Returns:
        The refusal, or None if the plan is within its budget.
    """
    reasons = []
    estimated = "" if plan.already_stored.exact else "an estimated "
    if max_images is not None and plan.images_to_pay > max_images:
        reasons.append(
            f"{estimated}{quantity(plan.images_to_pay, 'image')} to generate, "
            f"{plan.images_to_pay - max_images:,} more than the maximum of {max_images:,}. Raise "
            "max_images in the form, or IMAGEN_BACKFILL_MAX_IMAGES for all backfills"
        )
    if max_cost_usd is not None and plan.cost_usd > max_cost_usd:
        reasons.append(
            f"{estimated}{plan.cost_usd:,.2f} USD ({_price_basis(plan)}), "
            f"{plan.cost_usd - max_cost_usd:,.2f} USD more than the maximum of "
            f"{max_cost_usd:,.2f} USD. Raise max_cost_usd in the form, or "
            "IMAGEN_BACKFILL_MAX_COST_USD for all backfills"
        )
    if not reasons:
        return None
    return f"over budget: {'. Also '.join(reasons)}. Nothing was launched, nothing was charged"


def within_budget(plan: Plan, max_images: int | None, max_cost_usd: float | None) -> str:
    """Return what a plan that is not refused would take of its budget; as for `over_budget`."""
    images = "" if max_images is None else f" of at most {max_images:,}"
    usd = "" if max_cost_usd is None else f" of at most {max_cost_usd:,.2f} USD"
    return (
        f"within the budget: {quantity(plan.images_to_pay, 'image')} to generate{images}, and "
        f"about {plan.cost_usd:,.2f} USD{usd}"
    )


def summary(plan: Plan) -> str:
    """Return the plan in a few lines, what it comes to first."""
    files = f"{plan.glob}: {quantity(plan.files, 'file')}, {_size(plan.bytes)}"
    if plan.nothing_to_do:
        lines = ["nothing to do: there are no prompts", files]
    else:
        at_least = "at least" if plan.unpriced else "about"
        lines = [
            f"{quantity(plan.images_to_pay, 'image')} to generate, for {at_least} "
            f"{plan.cost_usd:,.2f} USD",
            files,
        ]
        duplicates = plan.prompts - plan.distinct
        lines.append(
            quantity(plan.prompts, "prompt")
            + (f", including {quantity(duplicates, 'duplicate')}" if duplicates else "")
            + (f"; {quantity(plan.invalid, 'invalid row')}" if plan.invalid else "")
        )
        lines += [_image_line(plan), *_cost_lines(plan)]
    # The rest are files, which the problems name, unless there are too many rows to show.
    invalid = plan.invalid if len(plan.first_invalid) == SHOWN_ROWS else len(plan.first_invalid)
    lines += _first_lines("invalid row", invalid, plan.first_invalid)
    lines += _first_lines("problem", plan.problems, plan.first_problems)
    return "\n".join(lines)


def engine_line(plan: Plan) -> str:
    """Return what each engine would make and cost if batch inference made what it can."""
    online = plan.images_to_pay - plan.batch_images
    online_usd = plan.cost_usd - plan.batch_usd - plan.batch_saves_usd
    return (
        f"with a prefetch: {quantity(plan.batch_images, 'image')} by batch inference for "
        f"{plan.batch_usd:,.2f} USD, {quantity(online, 'image')} online for {online_usd:,.2f} USD; "
        f"that saves {plan.batch_saves_usd:,.2f} USD"
    )


def quantity(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural if need be: "1 file", "1,200 files"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _image_line(plan: Plan) -> str:
    stored = plan.already_stored
    if plan.preprocess:
        return (
            f"{quantity(plan.images, 'image')} requested as the rows are. {plan.preprocess} makes "
            f"up to {MAX_PROMPTS_OF_ONE} prompts of each, or none: what is already stored is not "
            "known, and the job can generate fewer or more, up to its budget"
        )
    basis = "" if stored.exact else f", estimated from a sample of {stored.looked_up:,}"
    return (
        f"{quantity(plan.images, 'image')} requested: {stored.images:,} already stored (from "
        f"{quantity(stored.distinct, 'prompt')}{basis}), {plan.images_to_pay:,} to generate"
    )


def _cost_lines(plan: Plan) -> list[str]:
    lines = [
        f"  {model.model}: {quantity(model.to_pay, 'image')}, "
        + ("no known price" if model.usd is None else f"{model.usd:,.2f} USD")
        for model in plan.models
        if model.to_pay
    ]
    at_least = "at least " if plan.unpriced else ""
    lines.append(f"estimated cost: {at_least}{plan.cost_usd:,.2f} USD ({_price_basis(plan)})")
    if plan.batch_images:
        lines.append(f"  {engine_line(plan)}")
    today = datetime.now(UTC).date()
    for model in plan.models:
        row = CATALOG.get(model.model)
        if row and (ending := row.ending(today, within_days=WARN_DAYS)):
            lines.append(f"  {row.name} {ending}")
    return lines


def _price_basis(plan: Plan) -> str:
    return f"{plan.request_tier} tier, prices of {plan.prices_as_of}, thinking as in the catalog"


def _first_lines(noun: str, count: int, first: tuple[str, ...]) -> list[str]:
    lines = [f"{noun}: {line}" for line in first]
    if count > len(first):
        lines.append(f"and {quantity(count - len(first), f'more {noun}')}")
    return lines


def _size(size: int) -> str:
    for unit, name in ((_GB, "GB"), (_MB, "MB"), (_KB, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return quantity(size, "byte")
