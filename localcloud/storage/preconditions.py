"""Preconditions such as ifGenerationMatch, by which many writers share a bucket without a lock."""

from collections.abc import Mapping
from dataclasses import dataclass

from localcloud.storage import errors
from localcloud.storage.records import Bucket, StoredObject


@dataclass(frozen=True, slots=True)
class Preconditions:
    """Conditions on the live version. An object that does not exist has generation 0.

    The store checks them atomically with the change that they guard.
    """

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str], prefix: str = "if") -> "Preconditions":
        """Parse the preconditions in a query. For a copy's source, `prefix` is `ifSource`.

        Raises:
            StorageError: 400; a value is not a number.
        """
        # Almost every request has none, so that case must be cheap.
        if not any(key.startswith(prefix) for key in query):
            return NONE
        return cls(
            generation=integer(query, f"{prefix}GenerationMatch"),
            not_generation=integer(query, f"{prefix}GenerationNotMatch"),
            metageneration=integer(query, f"{prefix}MetagenerationMatch"),
            not_metageneration=integer(query, f"{prefix}MetagenerationNotMatch"),
        )

    def check(self, live: StoredObject | Bucket | None, *, reading: bool = False) -> None:
        """Check the preconditions against the live version.

        Raises:
            StorageError: 412; a condition does not hold.
            NotModifiedError: 304; the same for a NotMatch condition when `reading`.
        """
        if self is NONE:
            return
        generation = 0 if live is None else live.generation
        metageneration = None if live is None else live.metageneration
        if self.generation is not None and self.generation != generation:
            raise errors.condition_not_met("If-Match")
        if self.metageneration is not None and self.metageneration != metageneration:
            raise errors.condition_not_met("If-Match")
        if (self.not_generation is not None and self.not_generation == generation) or (
            self.not_metageneration is not None and self.not_metageneration == metageneration
        ):
            raise errors.NotModifiedError if reading else errors.condition_not_met("If-None-Match")


NONE = Preconditions()


def integer(query: Mapping[str, str], name: str) -> int | None:
    """Return the integer parameter `name`; None if it is absent.

    Raises:
        StorageError: 400; the value is not an integer.
    """
    value = query.get(name)
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise errors.invalid(f"Invalid value for {name}: '{value}', expected an integer") from None
