"""What an answer of a model states of its cost: tokens, tier, and the model that answered."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from beam_jobs.catalog import BATCH_TIER, CATALOG, CatalogModel, Tier

# https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse
# #TrafficType. What provisioned throughput costs, no answer tells.
_TIERS = {
    "ON_DEMAND": Tier.STANDARD,
    "ON_DEMAND_FLEX": Tier.FLEX,
    "ON_DEMAND_PRIORITY": Tier.PRIORITY,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Bill:
    """What one call cost.

    Attributes:
        usd: in US dollars; None if that is unknown. 0 for a call that is not charged.
        input_tokens: of the prompt.
        text_tokens: of words and thoughts in the answer.
        image_tokens: of pictures in the answer.
        model_version: the model that answered, as the answer names it; empty if it does not.
        tier: the tier that answered, as the answer names it, or `BATCH_TIER`; None if it does not.
    """

    usd: float | None = 0.0
    input_tokens: int = 0
    text_tokens: int = 0
    image_tokens: int = 0
    model_version: str = ""
    tier: str | None = None


FREE = Bill()
UNKNOWN = Bill(usd=None)


def bill_of(answer: Mapping[str, Any], model: str, *, batch: bool = False) -> Bill:
    """Return what a `:generateContent` answer states of its cost. Never raises.

    Args:
        answer: the answer, decoded.
        model: the model that was asked, whose prices count if the answer names no model.
        batch: whether batch inference made it, which has one price, whatever traffic it counts as.
    """
    version = str(answer.get("modelVersion") or "")
    try:
        usage = answer["usageMetadata"]
        input_tokens = int(usage.get("promptTokenCount") or 0)
        candidates = int(usage.get("candidatesTokenCount") or 0)
        details = usage.get("candidatesTokensDetails") or []
        image_tokens = sum(
            int(part.get("tokenCount") or 0) for part in details if part["modality"] == "IMAGE"
        )
        thoughts = int(usage.get("thoughtsTokenCount") or 0)
        traffic = usage.get("trafficType")
    except (KeyError, TypeError, ValueError, AttributeError):
        return dataclasses.replace(UNKNOWN, model_version=version)
    text_tokens = max(0, candidates - image_tokens) + thoughts
    row = row_of(version or model)
    tier = BATCH_TIER if batch else _TIERS.get(str(traffic or "ON_DEMAND"))
    # Without details nothing says which of the tokens are dear ones.
    split = bool(details) or not candidates
    return Bill(
        usd=_usd(row, tier, input_tokens, text_tokens, image_tokens) if row and split else None,
        input_tokens=input_tokens,
        text_tokens=text_tokens,
        image_tokens=image_tokens,
        model_version=version,
        tier=tier if batch or traffic else None,
    )


def row_of(model_version: str) -> CatalogModel | None:
    """Return the catalog's row for a model as an answer names it, such as `MODEL-001`."""
    if row := CATALOG.get(model_version):
        return row
    names = (name for name in CATALOG if is_version_of(model_version, name))
    return CATALOG.get(max(names, key=len, default=""))


def is_version_of(model_version: str, model: str) -> bool:
    """Return whether an answer's `modelVersion` is a version of `model`, such as `MODEL-001`.

    Batch inference adds an alias, as in `MODEL-001@default`:
    https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-from-cloud-storage.
    """
    model_version = model_version.removesuffix("@default")
    if not model_version.startswith(model):
        return False
    end = model_version[len(model) :]
    return not end or (end[0] in "-@" and end[1:].isdigit())


def _usd(row: CatalogModel, tier: str | None, input_: int, text: int, image: int) -> float | None:
    ratio = row.ratio(tier) if tier else None
    if ratio is None:
        return None
    prices = row.usd_per_million_tokens
    return (
        (input_ * prices.input + text * prices.text_output + image * prices.image_output)
        * ratio
        / 1e6
    )
