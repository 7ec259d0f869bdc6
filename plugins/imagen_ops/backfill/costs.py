"""From prompts counted by kind to what is made already and what the others cost."""

import dataclasses
from collections.abc import Iterable

from imagen_ops.backfill.plan import AlreadyMade, ModelCost
from imagen_ops.backfill.prompt_files import PriceGroup

# Vertex AI's flex tier: half the price, for Gemini models only.
FLEX_SHARE = 0.5


@dataclasses.dataclass(slots=True)
class GroupCount:
    """Prompts of one kind: distinct ones, those looked up, and of these those that are made."""

    distinct: int = 0
    looked_up: int = 0
    made: int = 0


def already_made(counts: dict[PriceGroup, GroupCount]) -> AlreadyMade:
    """Return how many are made, scaled up where not all were looked up."""
    looked_up = sum(count.looked_up for count in counts.values())
    made = _made(counts)
    return AlreadyMade(
        prompts=sum(made.values()),
        images=sum(prompts * kind.images for kind, prompts in made.items()),
        looked_up=looked_up,
        exact=looked_up == sum(count.distinct for count in counts.values()),
    )


def costs(counts: dict[PriceGroup, GroupCount], *, request_tier: str) -> Iterable[ModelCost]:
    """Yield what each model costs, by name."""
    from beam_jobs.catalog import PRICE_PER_1K_IMAGE_USD, Family, family_of

    made = _made(counts)
    for model in sorted({kind.model for kind in counts}):
        kinds = {kind: count for kind, count in counts.items() if kind.model == model}
        to_pay = {
            kind: (count.distinct - made[kind]) * kind.images for kind, count in kinds.items()
        }
        price = PRICE_PER_1K_IMAGE_USD.get(model)
        if price is not None and request_tier == "flex" and family_of(model) is Family.GEMINI:
            price *= FLEX_SHARE
        images = sum(to_pay.values())
        yield ModelCost(
            model=model,
            images=sum(count.distinct * kind.images for kind, count in kinds.items()),
            to_pay=images,
            above_1k=sum(number for kind, number in to_pay.items() if kind.above_1k),
            usd=None if price is None else round(images * price, 4),
        )


def _made(counts: dict[PriceGroup, GroupCount]) -> dict[PriceGroup, int]:
    """Return how many of each kind are made; a kind that was not looked at is as the rest."""
    looked_up = sum(count.looked_up for count in counts.values())
    share = sum(count.made for count in counts.values()) / max(1, looked_up)
    return {
        kind: round(count.distinct * (count.made / count.looked_up if count.looked_up else share))
        for kind, count in counts.items()
    }
