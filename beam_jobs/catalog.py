"""The known models: what each offers, what it costs, and until when it is there.

The data is in `catalog.json`, a row per model, which `composer.tf` reads too. Prompts are checked
against their model's row before anything is paid. A model without a row is used unchecked, so that
tomorrow's model works today.
"""

import dataclasses
import functools
import re
from collections.abc import Iterable
from pathlib import Path

from beam_jobs.catalog_rows import (
    BATCH_TIER,
    LOCATION_PATTERN,
    LOCATIONS_PATTERN,
    MODEL_PATTERN,
    Batch,
    CatalogModel,
    Family,
    Tier,
    parse_catalog,
)

# Of the rows, what whoever uses the catalog needs too.
__all__ = [
    "BATCH_TIER",
    "LOCATIONS_PATTERN",
    "LOCATION_PATTERN",
    "MODEL_PATTERN",
    "Batch",
    "CatalogModel",
    "Family",
    "Tier",
]

# Days before a model's end, from which plans, health and `python -m beam_jobs models` say so.
WARN_DAYS = 90

_FILE = Path(__file__).with_name("catalog.json")

# The only location of the tiers besides standard:
# https://docs.cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo
# https://docs.cloud.google.com/vertex-ai/generative-ai/docs/priority-paygo
GLOBAL = "global"

# The longest that Google lets a call wait in flex, whose own default is 20 minutes:
# https://cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo
FLEX_CALL_TIMEOUT_S = 1800.0

# What one job of batch inference takes, as one file:
# https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/capabilities/batch-inference
BATCH_REQUESTS = 200_000
BATCH_FILE_BYTES = 10**9
_PARENT = rf"projects/[A-Za-z0-9][A-Za-z0-9.:_-]*/locations/{LOCATION_PATTERN}"
ENDPOINT_PATTERN = rf"{_PARENT}/endpoints/{MODEL_PATTERN}"
# What speaks :predict: a deployed endpoint, or a model of a publisher.
PREDICT_PATTERN = (
    rf"{_PARENT}/(endpoints/{MODEL_PATTERN}|publishers/{MODEL_PATTERN}/models/{MODEL_PATTERN})"
)

# The field of a :predict request that takes the prompt's text. Imagen's is `prompt`; most open
# models in Model Garden want `text`, and others the text itself instead of an object.
PROMPT_FIELD = "prompt"
NO_PROMPT_FIELD = "-"
PROMPT_FIELD_PATTERN = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}|-"


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a model makes, as far as a prompt is checked. None stands for unchecked.

    Attributes:
        aspect_ratios: such as `16:9`.
        image_sizes: such as `2K`.
        thinking_levels: such as `high`.
        negative_prompt: whether a prompt may have one.
        max_references: how many reference images a prompt may have.
    """

    aspect_ratios: tuple[str, ...] | None
    image_sizes: tuple[str, ...] | None
    thinking_levels: tuple[str, ...] | None
    negative_prompt: bool
    max_references: int | None


# The Imagen API reference. What a container on an endpoint makes of it is its own.
_PREDICT_OFFER = Offer(
    aspect_ratios=("1:1", "3:4", "4:3", "9:16", "16:9"),
    image_sizes=("1K", "2K"),
    thinking_levels=(),
    negative_prompt=True,
    max_references=0,
)
_UNCHECKED_GEMINI = Offer(
    aspect_ratios=None,
    image_sizes=None,
    thinking_levels=None,
    negative_prompt=False,
    max_references=None,
)


DEFAULT_MODEL, CATALOG = parse_catalog(_FILE.read_text("utf-8"), _FILE.name)
KNOWN_MODELS = tuple(sorted(CATALOG))


# All that a prompt can ask for, of any model.
IMAGE_SIZES = tuple(sorted({size for row in CATALOG.values() for size in row.image_tokens}))
# How many images a prompt can ask for: what one :predict call returns at most.
MAX_IMAGES = 4


def family_of(model: str) -> Family:
    """Return the API of `model`, which its row or its name tells."""
    if model in CATALOG:
        return CATALOG[model].protocol
    return Family.GEMINI if model.startswith("gemini-") else Family.PREDICT


@functools.lru_cache(maxsize=256)
def offer_of(model: str) -> Offer:
    """Return what `model` makes; for a Gemini model without a row, nothing is checked."""
    row = CATALOG.get(model)
    if row is None:
        return _UNCHECKED_GEMINI if family_of(model) is Family.GEMINI else _PREDICT_OFFER
    return Offer(
        aspect_ratios=row.aspect_ratios,
        image_sizes=tuple(row.image_tokens),
        thinking_levels=row.thinking_levels,
        negative_prompt=row.protocol is Family.PREDICT,
        max_references=row.max_references,
    )


def usd_per_image(model: str, size: str | None = None, tier: str = Tier.STANDARD) -> float | None:
    """Return what one image of `model` costs in USD; None where no price is known."""
    row = CATALOG.get(model)
    return row.usd_per_image(size, tier) if row else None


def unpriced(models: Iterable[str], tier: str = Tier.STANDARD) -> list[str]:
    """Return those of `models` that have no known price in a tier, sorted."""
    return sorted(name for name in models if usd_per_image(name, None, tier) is None)


def tier_problem(model: str, tier: str) -> str | None:
    """Return why a model is not served in a tier, on one line; None if it may be.

    A Gemini model without a row may have any tier: only a call tells.
    """
    if tier == Tier.STANDARD:
        return None
    if family_of(model) is Family.PREDICT:
        return f"{tier} is only for Gemini models, and the model is {model}; use standard"
    row = CATALOG.get(model)
    if row is None or tier in row.tiers:
        return None
    return f"{model} has no tier {tier}; use {' or '.join(row.tiers)}"


def locations_in(value: str | None) -> tuple[str, ...]:
    """Return the locations that a text lists, separated by commas."""
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


def location_problem(model: str, value: str | None, tier: str) -> str | None:
    """Return what is wrong with the locations to call a model at, on one line; None if nothing is.

    Args:
        model: the job's model.
        value: the locations, separated by commas; empty for the default.
        tier: the tier that is asked for.
    """
    names = locations_in(value)
    if (value and not re.fullmatch(LOCATIONS_PATTERN, value)) or len(set(names)) < len(names):
        return (
            "expected a location such as global or europe-west4, or several different ones such as "
            f"global,us,eu, got {value!r}"
        )
    if family_of(model) is Family.PREDICT:
        if len(names) > 1:
            return (
                f"{model} has the :predict API, which is called at one location only; name one "
                f"instead of {value}"
            )
    elif tier != Tier.STANDARD and names not in ((), (GLOBAL,)):
        return f"Google serves {tier} at global only, got {value}; leave it out, or use standard"
    return None


def prices_as_of() -> str:
    """Return the day up to which the prices were looked up, YYYY-MM-DD: the oldest of all rows."""
    return min(row.looked_up for row in CATALOG.values()).isoformat()


def needs_endpoint(model: str) -> bool:
    """Return whether a model is served by an endpoint of your own rather than by Google."""
    return family_of(model) is Family.PREDICT and not model.startswith("imagen-")
