"""What a backfill would do and cost: the plan, as tasks hand it on and records keep it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file as it was listed and counted. `bytes` as stored, `rows` prompts and bad rows."""

    path: str
    bytes: int
    generation: int
    updated: str | None
    rows: int


@dataclasses.dataclass(frozen=True, slots=True)
class AlreadyMade:
    """Prompts, each counted once, whose images are stored already, and how many images that is.

    `exact`, or else an estimate from the `looked_up` prompts; which those are is decided by their
    digests, so they are a random sample.
    """

    prompts: int
    images: int
    looked_up: int
    exact: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ModelCost:
    """Of one model: images wanted and to pay, and what those cost in USD; None: no known price.

    `above_1k` of the images to pay are larger than the 1K that the price is for, and cost more.
    """

    model: str
    images: int
    to_pay: int
    above_1k: int
    usd: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A backfill's plan.

    `files` and `bytes` count everything that the glob names; `problems` says what is wrong with
    files as a whole, which stops none of the others. `prompts` are rows that are prompts, of
    which `distinct` are to be made. `first_files`, `first_invalid` and `first_problems` show the
    first ones of `files`, `invalid` and `problems`. `fingerprint` is that of the files as they were
    listed, see `imagen_ops.backfill.listing`.
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
    made: AlreadyMade
    models: tuple[ModelCost, ...]
    prices_as_of: str
    fingerprint: str = ""

    @property
    def images(self) -> int:
        """Images wanted: those of every distinct prompt, made or not."""
        return sum(model.images for model in self.models)

    @property
    def images_to_pay(self) -> int:
        """Images that are not made yet."""
        return sum(model.to_pay for model in self.models)

    @property
    def cost_usd(self) -> float:
        """What the images to pay cost; those of models without a known price are left out."""
        return sum(model.usd or 0.0 for model in self.models)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Models with images to pay that have no known price."""
        return tuple(model.model for model in self.models if model.usd is None and model.to_pay)

    @property
    def above_1k(self) -> int:
        """Images to pay that are larger than those that the prices are for."""
        return sum(model.above_1k for model in self.models)

    @property
    def nothing_to_do(self) -> bool:
        """Whether there is no row: nothing to make, to publish or to refuse.

        Prompts whose images are all made are something to do: their predictions are published.
        """
        return self.prompts + self.invalid == 0

    def to_json(self) -> dict[str, Any]:
        """Return the plan for XCom and records: what it holds, and for readers its sums."""
        sums = ("images", "images_to_pay", "cost_usd", "unpriced", "above_1k", "nothing_to_do")
        whole = {**dataclasses.asdict(self), **{name: getattr(self, name) for name in sums}}
        return {name: _listed(value) for name, value in whole.items()}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Take back what `to_json` gave.

        Raises:
            ValueError: a part of it is missing.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        try:
            taken = {name: given[name] for name in names}
            taken["first_files"] = tuple(PlannedFile(**file) for file in taken["first_files"])
            taken["models"] = tuple(ModelCost(**model) for model in taken["models"])
            taken["made"] = AlreadyMade(**taken["made"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected a backfill's plan, got {sorted(given)}: {error}") from None
        for name in ("first_invalid", "first_problems"):
            taken[name] = tuple(taken[name])
        return cls(**taken)


def _listed(value: Any) -> Any:
    """Return `value` with lists for tuples, as JSON gives it back."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value
