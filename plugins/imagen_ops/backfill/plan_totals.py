"""From distinct prompts by price group to what is already stored and what the rest costs."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from imagen_ops.backfill.file_count import PriceGroup
from imagen_ops.backfill.plan import AlreadyStored, ModelCost


@dataclasses.dataclass(slots=True)
class GroupCount:
    """Prompts of one price group.

    Attributes:
        distinct: all of them, each counted once.
        looked_up: how many of the distinct ones were looked up in Cloud Storage.
        stored: how many of those looked up have their images stored.
    """

    distinct: int = 0
    looked_up: int = 0
    stored: int = 0


def already_stored(counts: dict[PriceGroup, GroupCount]) -> AlreadyStored:
    """Return how many prompts and images are stored, extrapolated if not all were looked up."""
    looked_up = sum(count.looked_up for count in counts.values())
    stored = _stored_by_group(counts)
    return AlreadyStored(
        distinct=sum(stored.values()),
        images=sum(prompts * group.images for group, prompts in stored.items()),
        looked_up=looked_up,
        exact=looked_up == sum(count.distinct for count in counts.values()),
    )


def model_costs(counts: dict[PriceGroup, GroupCount], *, request_tier: str) -> Iterable[ModelCost]:
    """Yield what each model costs, sorted by name; `request_tier` is "standard" or "flex"."""
    stored = _stored_by_group(counts)
    for model in sorted({group.model for group in counts}):
        groups = {group: count for group, count in counts.items() if group.model == model}
        to_pay = {
            group: (count.distinct - stored[group]) * group.images
            for group, count in groups.items()
        }
        prices = {
            group: _usd_per_image(group, request_tier) for group, number in to_pay.items() if number
        }
        known = [price * to_pay[group] for group, price in prices.items() if price is not None]
        yield ModelCost(
            model=model,
            images=sum(count.distinct * group.images for group, count in groups.items()),
            to_pay=sum(to_pay.values()),
            # One group without a price leaves the model without one.
            usd=round(sum(known), 4) if len(known) == len(prices) else None,
            **_by_batch(to_pay, prices),
        )


def _by_batch(
    to_pay: Mapping[PriceGroup, int], prices: Mapping[PriceGroup, float | None]
) -> dict[str, Any]:
    """Return what of one model's images batch inference can make, for a `ModelCost`."""
    from beam_jobs.catalog import BATCH_TIER

    images, usd, saved = 0, 0.0, 0.0
    for group, number in to_pay.items():
        price = _usd_per_image(group, BATCH_TIER) if group.batchable and number else None
        if price is not None:
            images += number
            usd += price * number
            saved += ((prices[group] or price) - price) * number
    return {
        "batch_images": images,
        "batch_usd": round(usd, 4),
        "batch_saves_usd": round(saved, 4),
    }


def _usd_per_image(group: PriceGroup, tier: str) -> float | None:
    """Return what one image is likely to cost in a tier or by batch; None if no price is known."""
    from beam_jobs.catalog import CATALOG

    row = CATALOG.get(group.model)
    if row is None:
        return None
    return row.usd_per_call(
        group.size,
        tier,
        input_tokens=group.text_tokens,
        thinking_level=group.thinking_level,
    )


def _stored_by_group(counts: dict[PriceGroup, GroupCount]) -> dict[PriceGroup, int]:
    """Return how many prompts of each group are stored.

    A group of which no prompt was looked up is taken to have the average share.
    """
    looked_up = sum(count.looked_up for count in counts.values())
    average = sum(count.stored for count in counts.values()) / max(1, looked_up)
    return {
        group: round(
            count.distinct * (count.stored / count.looked_up if count.looked_up else average)
        )
        for group, count in counts.items()
    }
