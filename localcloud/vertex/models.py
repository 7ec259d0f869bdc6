"""Which models the stand-in for Vertex AI has, and what it refuses of a request for a picture.

The models and what they make are the catalog's rows.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from beam_jobs.catalog import CATALOG, GLOBAL, Tier
from localcloud.vertex.behaviour import Settings, names_in
from localcloud.vertex.calls import ApiError

# https://cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo
# https://docs.cloud.google.com/vertex-ai/generative-ai/docs/priority-paygo
_TIER_HEADER = "X-Vertex-AI-LLM-Shared-Request-Type"


@dataclasses.dataclass(frozen=True)
class PictureOptions:
    """What a `:generateContent` request asks of a picture.

    Attributes:
        aspect_ratio: such as `16:9`.
        size: such as `2K`.
        thinking_level: in lower case; None for a model that has no levels.
        seed: None for a new picture each time.
    """

    aspect_ratio: str
    size: str
    thinking_level: str | None
    seed: int | None


def answering_model(name: str, settings: Settings) -> str:
    """Return the model that answers for `name`: itself, or the successor of a retired one.

    Raises:
        ApiError: 404, there is no such model (any more); 403, the project may not use it.
    """
    retired = name in names_in(settings.retired_models)
    if retired and settings.successors_answer and CATALOG[name].successor:
        return str(CATALOG[name].successor)
    if retired or name not in CATALOG:
        raise ApiError(
            404,
            f"Publisher Model `{name}` was not found or your project does not have access to it. "
            "Please ensure you are using a valid model version.",
        )
    if name in names_in(settings.forbidden_models):
        raise ApiError(
            403,
            "Permission 'aiplatform.endpoints.predict' denied on resource (or it may not exist).",
        )
    return name


def tier_of(request: web.Request, model: str) -> Tier:
    """Return the tier that a request asks for.

    Raises:
        ApiError: 400; there is no such tier, or the model does not have it at this location.
    """
    asked = request.headers.get(_TIER_HEADER, Tier.STANDARD)
    location = location_of(request)
    if asked not in CATALOG[model].tiers or (asked != Tier.STANDARD and location != GLOBAL):
        raise ApiError(400, f"Request type {asked} is not supported for {model} in {location}.")
    return Tier(asked)


def location_of(request: web.Request) -> str:
    """Return where a request goes."""
    # Without a location, as google-genai sends `global`.
    return request.match_info.get("location", GLOBAL)


def picture_options(body: Mapping[str, Any], model: str) -> PictureOptions:
    """Return what a request asks for.

    Raises:
        ApiError: 400; the model does not make it.
    """
    row = CATALOG[model]
    try:
        config = body.get("generationConfig") or {}
        image = config.get("imageConfig") or {}
        ratio = image.get("aspectRatio") or "1:1"
        size = image.get("imageSize") or row.default_size
        asked_level = (config.get("thinkingConfig") or {}).get("thinkingLevel")
    except AttributeError:
        raise ApiError(400, "generationConfig: expected an object.") from None
    _check("image_config.aspect_ratio", ratio, row.aspect_ratios)
    _check("image_config.image_size", size, tuple(row.image_tokens))
    level = row.default_thinking_level
    if asked_level is not None:
        level = str(asked_level).lower()
        _check("thinking_config.thinking_level", level, row.thinking_levels)
    return PictureOptions(ratio, size, level, config.get("seed"))


def _check(field: str, value: str, offered: tuple[str, ...]) -> None:
    if value not in offered:
        raise ApiError(400, f"Request contains an invalid argument: {field} {value!r}.")
