"""What calls cost: the tokens that an answer states, and a ledger of what the service would charge.

Prices and tokens are the catalog's. The ledger keeps whole tokens by model, kind and tier, and
multiplies at the end, so that it does not round as a client does that adds up calls.
"""

import dataclasses
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Literal

from beam_jobs.catalog import CATALOG, CatalogModel, Tier

# Tokens of the words of an answer that has no picture.
_WORDS_TOKENS = 12
# Of a picture that a request names, as Google states them for Gemini 3:
# https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding
_PICTURE_TOKENS = 1_120
# What a job of batch inference is billed as, instead of a tier.
BATCH: Final = "batch"
Served = Tier | Literal["batch"]
_TRAFFIC: Mapping[Served, str] = {
    # Rows of batch jobs say no more than that: an example is at
    # https://docs.litellm.ai/docs/providers/vertex_batch.
    BATCH: "ON_DEMAND",
    Tier.STANDARD: "ON_DEMAND",
    Tier.FLEX: "ON_DEMAND_FLEX",
    Tier.PRIORITY: "ON_DEMAND_PRIORITY",
}


@dataclasses.dataclass(frozen=True)
class Usage:
    """The tokens of one call.

    Attributes:
        model: the model that answers.
        tier: the tier that answers, or `BATCH`.
        input: of the prompt.
        text: of words in the answer.
        thoughts: of thinking.
        image: of pictures in the answer.
    """

    model: str
    tier: Served
    input: int
    text: int = 0
    thoughts: int = 0
    image: int = 0

    def metadata(self) -> dict[str, Any]:
        """Return the answer's `usageMetadata`."""
        details = [{"modality": "IMAGE", "tokenCount": self.image}] if self.image else []
        if self.text:
            details.append({"modality": "TEXT", "tokenCount": self.text})
        metadata: dict[str, Any] = {
            "promptTokenCount": self.input,
            "candidatesTokenCount": self.text + self.image,
            "totalTokenCount": self.input + self.text + self.image + self.thoughts,
            "trafficType": _TRAFFIC[self.tier],
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self.input}],
            "candidatesTokensDetails": details,
        }
        # Vertex AI leaves out what is zero.
        if self.thoughts:
            metadata["thoughtsTokenCount"] = self.thoughts
        return {name: value for name, value in metadata.items() if value not in (0, [])}


class Ledger:
    """What has been billed since the start."""

    def __init__(self) -> None:
        self._tokens: Counter[tuple[str, Served, str]] = Counter()

    def add(self, usage: Usage) -> None:
        """Bill one call."""
        for kind in ("input", "text", "thoughts", "image"):
            self._tokens[usage.model, usage.tier, kind] += getattr(usage, kind)

    def usd(self, only: Served | None = None) -> float:
        """Return what has been billed so far, in USD; of one tier or of `BATCH` alone if given."""
        return (
            sum(
                count * _usd_per_million(CATALOG[model], kind) * _ratio(CATALOG[model], tier)
                for (model, tier, kind), count in self._tokens.items()
                if only in (None, tier)
            )
            / 1e6
        )


def words_in(value: Any) -> int:
    """Return roughly how many tokens the texts of a request have: a word counts as one."""
    if isinstance(value, dict):
        return sum(
            _PICTURE_TOKENS if key == "fileData" else words_in(item)
            for key, item in value.items()
            if key != "inlineData"
        )
    if isinstance(value, list):
        return sum(map(words_in, value))
    return max(1, len(value.split())) if isinstance(value, str) else 0


def usage_of(
    model: str, tier: Served, *, request: dict[str, Any], images: int, size: str, level: str | None
) -> Usage:
    """Return the tokens of an answer.

    Args:
        model: the model that answers.
        tier: the tier that answers, or `BATCH`.
        request: the request's body.
        images: how many final pictures the answer has; 0 for a refusal or for words alone.
        size: of the pictures.
        level: the thinking level; None for a model that has none.
    """
    prompt = [request.get("contents"), request.get("systemInstruction")]
    return Usage(
        model=model,
        tier=tier,
        input=sum(map(words_in, prompt)),
        text=0 if images else _WORDS_TOKENS,
        thoughts=_thoughts(CATALOG[model], level, str(prompt)),
        image=images * CATALOG[model].image_tokens[size],
    )


def _thoughts(row: CatalogModel, level: str | None, prompt: str) -> int:
    """Return thinking tokens: from half to one and a half of the catalog's, as the prompt says.

    Google states no numbers. What is known is that they differ from prompt to prompt.
    """
    share = 0.5 + zlib.crc32(prompt.encode("utf-8", "replace")) % 1001 / 1000
    return round(row.thinking_tokens.get(level or "", 0) * share)


def _usd_per_million(row: CatalogModel, kind: str) -> float:
    prices = row.usd_per_million_tokens
    return {
        "input": prices.input,
        "text": prices.text_output,
        "thoughts": prices.text_output,
        "image": prices.image_output,
    }[kind]


def _ratio(row: CatalogModel, tier: Served) -> float:
    if tier == BATCH:
        return row.batch.price if row.batch else 1.0
    # Where no source states the price of a tier, the ledger bills it as the standard one.
    return row.tiers.get(tier) or 1.0
