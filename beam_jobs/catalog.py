"""Which models there are, which protocol each speaks, and what each can be asked for.

Pure data: prompts are checked against it before anything is paid. Prices are in no code path
that spends; they are for estimates and carry their date.
"""

import dataclasses
from enum import StrEnum

# Vertex AI release notes and pricing page, as of 2026-11. Every Imagen model answers 404 since
# 2026-06-30; these are their successors.
DEFAULT_MODEL = "gemini-3.1-flash-image"
PRICES_AS_OF = "2026-11"
PRICE_PER_1K_IMAGE_USD = {
    "gemini-2.5-flash-image": 0.039,
    "gemini-3.1-flash-image": 0.0672,
    "gemini-3.1-flash-lite-image": 0.0336,
    "gemini-3-pro-image": 0.134,
    "gemini-nano-banana-2.1": 0.0336,
}
KNOWN_MODELS = tuple(sorted(PRICE_PER_1K_IMAGE_USD))


class Family(StrEnum):
    """A protocol of Vertex AI that answers with images."""

    GEMINI = "gemini"  # :generateContent, one image a call
    PREDICT = "predict"  # :predict, as Imagen and open models on an endpoint speak it


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a family can be asked for; asking for more is an invalid prompt, not a silent drop."""

    aspect_ratios: frozenset[str]
    image_sizes: frozenset[str]
    negative_prompt: bool


# google-genai's `ImageConfig` and the Imagen API reference list these values.
CAPABILITIES = {
    Family.GEMINI: Capabilities(
        aspect_ratios=frozenset(
            {"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"}
        ),
        image_sizes=frozenset({"1K", "2K", "4K"}),
        negative_prompt=False,
    ),
    Family.PREDICT: Capabilities(
        aspect_ratios=frozenset({"1:1", "3:4", "4:3", "9:16", "16:9"}),
        image_sizes=frozenset({"1K", "2K"}),
        negative_prompt=True,
    ),
}


def family_of(model: str) -> Family:
    """Return the protocol that `model` speaks, which its name tells."""
    return Family.GEMINI if model.startswith("gemini-") else Family.PREDICT
