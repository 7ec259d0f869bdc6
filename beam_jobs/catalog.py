"""The known models: their prices, their API, and the options that each API offers.

Pure data. Prompts are checked against it before anything is paid. The prices are only for
estimates, and `PRICES_AS_OF` states their date.
"""

import dataclasses
from enum import StrEnum

# From the Vertex AI release notes and pricing page, as of 2026-11. Since 2026-06-30, every Imagen
# model answers 404; these models are their successors.
DEFAULT_MODEL = "gemini-3.1-flash-image"
PRICES_AS_OF = "2026-11"
USD_PER_IMAGE_AT_1K = {
    "gemini-2.5-flash-image": 0.039,
    "gemini-3.1-flash-image": 0.0672,
    "gemini-3.1-flash-lite-image": 0.0336,
    "gemini-3-pro-image": 0.134,
    "gemini-nano-banana-2.1": 0.0336,
}
# The flex tier costs half, for Gemini models only:
# https://cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo
FLEX_PRICE_RATIO = 0.5
KNOWN_MODELS = tuple(sorted(USD_PER_IMAGE_AT_1K))

# Models, locations and endpoints become part of the URL that a job calls with its own credentials.
MODEL_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}"
LOCATION_PATTERN = r"[a-z][a-z0-9-]*"
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


class Family(StrEnum):
    """An API of Vertex AI that returns images."""

    GEMINI = "gemini"  # :generateContent, one image per call
    PREDICT = "predict"  # :predict, the API of Imagen and of open models on an endpoint


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """The options that an API offers. A prompt that asks for others is invalid.

    Args:
        aspect_ratios: such as `16:9`.
        image_sizes: such as `2K`.
        negative_prompt: whether a prompt may have one.
    """

    aspect_ratios: frozenset[str]
    image_sizes: frozenset[str]
    negative_prompt: bool


# From google-genai's `ImageConfig` and the Imagen API reference.
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


# All that a prompt can ask for, of any model.
IMAGE_SIZES = tuple(sorted(set().union(*(each.image_sizes for each in CAPABILITIES.values()))))
# How many images a prompt can ask for: what one :predict call returns at most.
MAX_IMAGES = 4


def family_of(model: str) -> Family:
    """Return the API of `model`, which its name tells."""
    return Family.GEMINI if model.startswith("gemini-") else Family.PREDICT


def needs_endpoint(model: str) -> bool:
    """Return whether a model is served by an endpoint of your own rather than by Google."""
    return family_of(model) is Family.PREDICT and not model.startswith("imagen-")
