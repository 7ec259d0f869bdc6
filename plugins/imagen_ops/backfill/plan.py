"""What a backfill would do and cost: the plan that tasks pass on and records keep."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file as it was listed and counted.

    Attributes:
        path: gs://BUCKET/NAME.
        bytes: its size as stored, so compressed for a `.gz`.
        generation: the version that was read.
        updated: when that version was written, in ISO 8601.
        rows: prompts and invalid rows.
    """

    path: str
    bytes: int
    generation: int
    updated: str | None
    rows: int


@dataclasses.dataclass(frozen=True, slots=True)
class AlreadyStored:
    """What a plan does not generate again, because its images are already stored.

    Attributes:
        distinct: distinct prompts whose images are stored.
        images: how many images that is.
        looked_up: how many distinct prompts were looked up.
        exact: whether that was all of them. If not, `distinct` and `images` are estimates. Digests
            decide which prompts are looked up, so those are a random sample.
    """

    distinct: int
    images: int
    looked_up: int
    exact: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ModelCost:
    """What one model's images cost.

    Attributes:
        model: the model's id.
        images: images requested, whether already stored or not.
        to_pay: images to generate, and so to pay for.
        usd: the estimated cost in USD of the images to generate; None: no known price.
        batch_images: how many of the images to generate batch inference can make.
        batch_usd: what these would cost in USD by batch inference.
        batch_saves_usd: how much less that is than the same images cost online.
    """

    model: str
    images: int
    to_pay: int
    usd: float | None
    batch_images: int = 0
    batch_usd: float = 0.0
    batch_saves_usd: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a backfill would do and cost.

    Attributes:
        glob: the prompt files, gs://BUCKET/PATTERN.
        request_tier: "standard", or "flex" for half the price.
        files: how many files the glob matches.
        bytes: their size in all, as stored.
        first_files: the first of these files.
        prompts: rows that are valid prompts.
        distinct: the prompts without duplicates.
        invalid: rows that are not valid prompts, and one for each file that cannot be read, or not
            to its end.
        first_invalid: the first of these rows, as "path:line: what is wrong"; without files.
        problems: files with a problem as a whole, and references that are not there. None of them
            stops the others.
        first_problems: the first of these, as "path: what is wrong".
        already_stored: what is already stored.
        models: what each model costs.
        prices_as_of: the month of the prices, YYYY-MM.
        preprocess: the custom function that changes the prompts before the job makes them; empty:
            there is none. What it makes of them is not known to the plan.
        fingerprint: of the files as they were listed; see `imagen_ops.backfill.listing`.
    """

    glob: str
    request_tier: str
    files: int
    bytes: int
    first_files: tuple[PlannedFile, ...]
    prompts: int
    distinct: int
    invalid: int
    first_invalid: tuple[str, ...]
    problems: int
    first_problems: tuple[str, ...]
    already_stored: AlreadyStored
    models: tuple[ModelCost, ...]
    prices_as_of: str
    fingerprint: str = ""
    preprocess: str = ""

    @property
    def images(self) -> int:
        """Images requested by all distinct prompts, whether already stored or not."""
        return sum(model.images for model in self.models)

    @property
    def images_to_pay(self) -> int:
        """Images to generate, and so to pay for."""
        return sum(model.to_pay for model in self.models)

    @property
    def cost_usd(self) -> float:
        """The estimated cost in USD, without models that have no known price."""
        return sum(model.usd or 0.0 for model in self.models)

    @property
    def batch_images(self) -> int:
        """Images to generate that batch inference can make."""
        return sum(model.batch_images for model in self.models)

    @property
    def batch_usd(self) -> float:
        """What these would cost in USD by batch inference."""
        return sum(model.batch_usd for model in self.models)

    @property
    def batch_saves_usd(self) -> float:
        """How much less that is, in USD, than the same images cost online."""
        return sum(model.batch_saves_usd for model in self.models)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Models with images to generate that have no known price."""
        return tuple(model.model for model in self.models if model.usd is None and model.to_pay)

    @property
    def nothing_to_do(self) -> bool:
        """Whether there is no row at all: nothing to generate, publish or refuse.

        Prompts whose images are all stored still are work: their predictions are published. Files
        that cannot be read are none, such as the placeholder of a folder: the plan names them.
        """
        return self.prompts == 0 and not self.first_invalid

    def to_json(self) -> dict[str, Any]:
        """Return the plan for XCom and records: its fields, and for readers its totals."""
        totals = (
            *("images", "images_to_pay", "cost_usd", "unpriced", "nothing_to_do"),
            *("batch_images", "batch_usd", "batch_saves_usd"),
        )
        content = {**dataclasses.asdict(self), **{name: getattr(self, name) for name in totals}}
        return {name: _with_lists(value) for name, value in content.items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the plan that `to_json` turned into `content`.

        Raises:
            ValueError: a part of it is missing.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        try:
            values = {name: content[name] for name in names if name != "preprocess"}
            # A plan by an older version has none.
            values["preprocess"] = content.get("preprocess", "")
            values["first_files"] = tuple(PlannedFile(**file) for file in values["first_files"])
            values["models"] = tuple(ModelCost(**model) for model in values["models"])
            values["already_stored"] = AlreadyStored(**values["already_stored"])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"expected a backfill's plan, got the fields {sorted(content)}: "
                f"{type(error).__name__}: {error}"
            ) from None
        for name in ("first_invalid", "first_problems"):
            values[name] = tuple(values[name])
        return cls(**values)


def _with_lists(value: Any) -> Any:
    """Return `value` with lists instead of tuples, as JSON gives it back."""
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, list | tuple) else value
