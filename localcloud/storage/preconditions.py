"""ifGenerationMatch and its kin: what lets many writers share a bucket without a lock."""

from collections.abc import Mapping
from dataclasses import dataclass

from localcloud.storage import errors
from localcloud.storage.records import Bucket, StoredObject


@dataclass(frozen=True, slots=True)
class Preconditions:
    """Conditions on the live version; an object that does not exist has generation 0.

    The store checks them in the same step as the change they guard.
    """

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str], prefix: str = "if") -> "Preconditions":
        """Read them from a query string; for a copy's source the prefix is `ifSource`.

        Raises StorageError (400) when one is no number.
        """
        # Almost every request has none: a look-up per name is all it should cost.
        if not any(key.startswith(prefix) for key in query):
            return NONE
        return cls(
            generation=integer(query, f"{prefix}GenerationMatch"),
            not_generation=integer(query, f"{prefix}GenerationNotMatch"),
            metageneration=integer(query, f"{prefix}MetagenerationMatch"),
            not_metageneration=integer(query, f"{prefix}MetagenerationNotMatch"),
        )

    def check(self, live: StoredObject | Bucket | None, *, reading: bool = False) -> None:
        """Raise StorageError 412 when one does not hold.

        When `reading`, a ...NotMatch that does not hold raises NotModifiedError (304) instead.
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
    """The number that `query` gives for `name`; None when absent. StorageError (400) otherwise."""
    given = query.get(name)
    if given is None:
        return None
    try:
        return int(given)
    except ValueError:
        raise errors.invalid(f"Invalid value for {name}: '{given}', expected an integer") from None
