"""A plan in words: for the log, and for whoever asked for more than the budget allows."""

from imagen_ops.backfill.plan import Plan


def over_budget(plan: Plan, max_images: int | None, max_cost_usd: float | None) -> str | None:
    """Say by how much a plan is over its budget and where to raise it; None: it is within.

    None for a limit is no limit. Images of models without a known price count as images only.
    """
    over = []
    estimated = "" if plan.made.exact else "an estimated "
    if max_images is not None and plan.images_to_pay > max_images:
        over.append(
            f"{estimated}{plan.images_to_pay:,} images to pay are "
            f"{plan.images_to_pay - max_images:,} more than the {max_images:,} allowed; raise "
            "max_images in the form, or IMAGEN_BACKFILL_MAX_IMAGES for all backfills"
        )
    if max_cost_usd is not None and plan.cost_usd > max_cost_usd:
        over.append(
            f"{estimated}{plan.cost_usd:,.2f} USD (prices of {plan.prices_as_of}, "
            f"{plan.request_tier}) are {plan.cost_usd - max_cost_usd:,.2f} more than the "
            f"{max_cost_usd:,.2f} allowed; raise max_cost_usd in the form, or "
            "IMAGEN_BACKFILL_MAX_COST_USD for all backfills"
        )
    if not over:
        return None
    return f"over budget: {'. And '.join(over)}. Nothing was launched, nothing is paid"


def summary(plan: Plan) -> str:
    """Return the plan in a few lines."""
    lines = [f"{plan.glob}: {_of(plan.files, 'file')}, {plan.bytes:,} bytes"]
    if plan.nothing_to_do:
        lines.append("nothing to do: there are no prompts")
    else:
        duplicates = plan.prompts - plan.distinct
        lines.append(
            f"{_of(plan.prompts, 'prompt')}"
            + (f", {duplicates:,} of them given before" if duplicates else "")
            + (f"; {_of(plan.invalid, 'row')} that are none" if plan.invalid else "")
        )
        lines += [_made(plan), *_costs(plan)]
    lines += _shown("bad row", plan.invalid, plan.first_invalid)
    lines += _shown("problem", plan.problems, plan.first_problems)
    return "\n".join(lines)


def _made(plan: Plan) -> str:
    made = plan.made
    how = "" if made.exact else f", estimated from {made.looked_up:,} that were looked up"
    return (
        f"{_of(plan.images, 'image')} wanted, {made.images:,} already made (of "
        f"{_of(made.prompts, 'prompt')}{how}), {plan.images_to_pay:,} to pay"
    )


def _costs(plan: Plan) -> list[str]:
    lines = [
        f"  {model.model}: {_of(model.to_pay, 'image')}, "
        + ("no known price" if model.usd is None else f"{model.usd:,.2f} USD")
        for model in plan.models
        if model.to_pay
    ]
    at_least = "at least " if plan.unpriced or plan.above_1k else ""
    lines.append(
        f"estimated cost: {at_least}{plan.cost_usd:,.2f} USD, {plan.request_tier}, prices of "
        f"{plan.prices_as_of}"
    )
    if plan.above_1k:
        lines.append(f"  {_of(plan.above_1k, 'image')} of 2K or 4K cost more than these 1K prices")
    return lines


def _shown(what: str, count: int, first: tuple[str, ...]) -> list[str]:
    lines = [f"{what}: {line}" for line in first]
    if count > len(first):
        lines.append(f"and {_of(count - len(first), f'more {what}')}")
    return lines


def _of(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
