"""The rows of the catalog of models: what each says, and the check that it says it well."""

import datetime
import json
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

# Models, locations and endpoints become part of the URL that a job calls with its own credentials.
MODEL_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}"
LOCATION_PATTERN = r"[a-z][a-z0-9-]*"
LOCATIONS_PATTERN = rf"{LOCATION_PATTERN}(?: *, *{LOCATION_PATTERN})*"


class CatalogError(ValueError):
    """A row of the catalog is malformed. Says which file, row and field."""


class Family(StrEnum):
    """An API of Vertex AI that returns images."""

    GEMINI = "generateContent"  # one image per call
    PREDICT = "predict"  # the API of Imagen and of open models on an endpoint


class Tier(StrEnum):
    """How a call is served and billed."""

    STANDARD = "standard"
    FLEX = "flex"  # half the price; a call may wait for half an hour
    PRIORITY = "priority"  # faster under load, and dearer


# What bills and receipts name as the tier of images that batch inference made. No call can ask for
# it, so it is none of `Tier`.
BATCH_TIER = "batch"


_Url = Annotated[str, Field(pattern=r"^https://\S+$")]
_Text = Annotated[str, Field(min_length=1)]
_Size = Annotated[str, Field(pattern=r"^(512|[1-9]K)$")]
_Ratio = Annotated[str, Field(pattern=r"^[1-9][0-9]?:[1-9][0-9]?$")]


class Ending(BaseModel):
    """When a model ends on one platform, by one source.

    Attributes:
        platform: `vertex`, or `developer` for the Gemini Developer API.
        on: the day.
        meaning: `announced`, or `not_before` where only that is promised.
        source: where it is said.
        looked_up: the day of looking.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: Literal["vertex", "developer"]
    on: datetime.date
    meaning: Literal["announced", "not_before"]
    source: _Url
    looked_up: datetime.date


class TokenPrices(BaseModel):
    """Prices in USD per million tokens, in the standard tier.

    Attributes:
        input: of text and pictures in the prompt.
        text_output: of text and thoughts in the answer.
        image_output: of pictures in the answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Annotated[float, Field(gt=0)]
    text_output: Annotated[float, Field(gt=0)]
    image_output: Annotated[float, Field(gt=0)]


class Batch(BaseModel):
    """How batch inference serves a model: a job over a file of requests, hours later.

    Attributes:
        price: relative to the standard tier, of every kind of token.
        locations: where jobs with the model can be created.
        sizes: of images. Whatever else the model makes, a job does not.
        sources: where all of this is said.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    price: Annotated[float, Field(gt=0)]
    locations: Annotated[
        tuple[Annotated[str, Field(pattern=f"^{LOCATION_PATTERN}$")], ...], Field(min_length=1)
    ]
    sizes: Annotated[tuple[_Size, ...], Field(min_length=1)]
    sources: Annotated[tuple[_Url, ...], Field(min_length=1)]


class CatalogModel(BaseModel):
    """A row of the catalog.

    Attributes:
        name: the model's id.
        protocol: the API that it has.
        image_tokens: output tokens of one image, by size. Its sizes are those that the model makes.
        aspect_ratios: those that the model makes.
        max_references: how many reference images a prompt may have.
        thinking_levels: those that can be asked for, from the least; none if it cannot be chosen.
        default_thinking_level: which of them counts if none is asked for.
        thinking_tokens: output tokens to allow for the thinking before one image, by level.
        thinking_tokens_basis: whether these were measured, or are assumed because no source states
            them.
        tiers: the tiers that serve it, each with its price relative to the standard tier; None
            where no source says it.
        batch: how batch inference serves it; None if it does not.
        locations: where Google is known to serve it. Others are not refused: only a call tells.
        usd_per_million_tokens: prices in the standard tier.
        since: when it became generally available; None where no source says it.
        deprecated: since when Google advises against it.
        ends: what is known of its end, by platform.
        successor: the model to use instead.
        sources: where all of this is said.
        looked_up: the day of looking.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=f"^{MODEL_PATTERN}$")]
    protocol: Family
    image_tokens: Annotated[dict[_Size, Annotated[int, Field(gt=0)]], Field(min_length=1)]
    aspect_ratios: tuple[_Ratio, ...]
    max_references: Annotated[int, Field(ge=0)]
    thinking_levels: tuple[_Text, ...]
    default_thinking_level: _Text | None
    thinking_tokens: dict[_Text, Annotated[int, Field(ge=0)]]
    thinking_tokens_basis: Literal["assumed", "measured"]
    tiers: Annotated[
        dict[Tier, Annotated[float, Field(gt=0)] | None],
        Field(min_length=1),
    ]
    batch: Batch | None
    locations: tuple[Annotated[str, Field(pattern=f"^{LOCATION_PATTERN}$")], ...]
    usd_per_million_tokens: TokenPrices
    since: datetime.date | None
    deprecated: datetime.date | None
    ends: tuple[Ending, ...]
    successor: _Text | None
    sources: tuple[_Url, ...]
    looked_up: datetime.date

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("aspect_ratios", "locations", "sources"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected at least one")
        if self.tiers.get(Tier.STANDARD) != 1:
            raise ValueError("tiers: expected standard with 1, which the prices are for")
        if self.batch and not set(self.batch.sizes) <= set(self.image_tokens):
            raise ValueError(f"batch.sizes: expected some of {', '.join(self.image_tokens)}")
        if self.default_thinking_level not in (self.thinking_levels or (None,)):
            raise ValueError(
                f"default_thinking_level: expected one of {', '.join(self.thinking_levels) or None}"
            )
        if set(self.thinking_tokens) != set(self.thinking_levels):
            raise ValueError(
                "thinking_tokens: expected one number for each of thinking_levels: "
                f"{', '.join(self.thinking_levels) or None}"
            )
        return self

    @property
    def default_size(self) -> str:
        """The size of an image whose prompt names none."""
        return "1K"

    def ratio(self, tier: str) -> float | None:
        """Return the price in a tier relative to standard; None if that tier or price is unknown.

        Args:
            tier: of the call, or `BATCH_TIER`.
        """
        if tier == BATCH_TIER:
            return self.batch.price if self.batch else None
        return self.tiers.get(Tier(tier))

    def usd_per_image(self, size: str | None, tier: str = Tier.STANDARD) -> float | None:
        """Return what the tokens of one image cost in USD; None where the price is unknown.

        The prompt's own tokens and those of thoughts are not in it: only an answer tells them.

        Args:
            size: the size that the prompt asks for; None for the default.
            tier: the tier of the call, or `BATCH_TIER`.
        """
        ratio = self.ratio(tier)
        tokens = self.image_tokens.get(size or self.default_size)
        if ratio is None or tokens is None:
            return None
        return tokens * self.usd_per_million_tokens.image_output * ratio / 1e6

    def usd_per_call(
        self,
        size: str | None,
        tier: str = Tier.STANDARD,
        *,
        input_tokens: int,
        thinking_level: str | None,
    ) -> float | None:
        """Return what a call for one image is likely to cost in USD; None if no price is known.

        Args:
            size: the size that the prompt asks for; None for the default.
            tier: the tier of the call, or `BATCH_TIER`.
            input_tokens: of the prompt.
            thinking_level: the level that the prompt asks for; None for the default.
        """
        image = self.usd_per_image(size, tier)
        if image is None:
            return None
        thoughts = self.thinking_tokens.get(thinking_level or self.default_thinking_level or "", 0)
        prices = self.usd_per_million_tokens
        text = input_tokens * prices.input + thoughts * prices.text_output
        return image + text * (self.ratio(tier) or 1.0) / 1e6

    def end_on(self, platform: str = "vertex") -> Ending | None:
        """Return the earliest known end on a platform; None if none is known."""
        ends = [end for end in self.ends if end.platform == platform]
        return min(ends, key=lambda end: end.on) if ends else None

    def ending(self, today: datetime.date, *, within_days: int) -> str | None:
        """Return that the model ends on Vertex AI, or has ended, and what to use instead.

        Args:
            today: the day to count from.
            within_days: how many days ahead to look.

        Returns:
            What to follow the model's name; None if it does not end so soon, as far as is known.
        """
        end = self.end_on("vertex")
        if end is None or (end.on - today).days > within_days:
            return None
        days = (end.on - today).days
        when = f"in {days} days" if days > 0 else f"{-days} days ago" if days else "today"
        may = "may end" if end.meaning == "not_before" else "ends" if days > 0 else "ended"
        instead = f"; use {self.successor}" if self.successor else ""
        return f"{may} on Vertex AI on {end.on}, {when}{instead} ({end.source})"


class _Catalog(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    default_model: _Text
    models: tuple[CatalogModel, ...]


def parse_catalog(text: str, file: str) -> tuple[str, Mapping[str, CatalogModel]]:
    """Return the default model and the models by name.

    Args:
        text: the catalog as JSON.
        file: its name, for error messages.

    Raises:
        CatalogError: the text is not a catalog; says in which row and field.
    """
    try:
        content = json.loads(text)
        catalog = TypeAdapter(_Catalog).validate_python(content)
    except ValidationError as error:
        problems = (_described(problem, content) for problem in error.errors())
        raise CatalogError("\n".join(f"{file}: {problem}" for problem in problems)) from None
    except ValueError as error:
        raise CatalogError(f"{file}: expected JSON: {error}") from None
    models = {model.name: model for model in catalog.models}
    if len(models) < len(catalog.models):
        raise CatalogError(f"{file}: two rows have the same name")
    for name in [catalog.default_model, *(model.successor for model in catalog.models)]:
        if name is not None and name not in models:
            raise CatalogError(f"{file}: {name!r} is named as default_model or successor, no row")
    return catalog.default_model, MappingProxyType(models)


def _described(problem: Any, content: Any) -> str:
    """Return one line about a problem that pydantic reports: row, field, what is wrong."""
    place = list(problem["loc"])
    row = ""
    if place[:1] == ["models"] and len(place) > 1:
        index = place[1]
        try:
            row = f"row {index + 1} ({content['models'][index]['name']}), "
        except (KeyError, TypeError):
            row = f"row {index + 1}, "
        place = place[2:]
    field = ".".join(str(part) for part in place) or "the row"
    given = ascii(problem["input"])[:80] if problem["type"] != "missing" else "nothing"
    return f"{row}{field}: {problem['msg'].removeprefix('Value error, ')}, got {given}"
