"""What a claim says: who makes a prompt's images now, so that nobody else pays for them too. Pure.

A claim is an object beside the prompt's record. How old it is, only Cloud Storage's clock says: the
object's `timeCreated`, compared with the `Date` of the answer. A claim that is not what this
package writes is still one, of somebody unknown: it was created to keep others from paying.
"""

import dataclasses
import datetime
import email.utils
from typing import Any

import orjson

SCHEMA = "imagen.claim/1"
# Of an object's content. What this package writes has about 200.
MAX_BYTES = 1024
# Of what may be longer than anything that this package writes.
_MAX_CHARS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Claimant:
    """Who has a claim.

    Args:
        payer: the delivery, as `payer_of` names it; empty if it is unknown.
        process: the worker process, as `this_process` names it; empty if it is unknown.
    """

    payer: str
    process: str

    def to_json(self) -> bytes:
        """Return the object's content."""
        return orjson.dumps({"schema": SCHEMA, "payer": self.payer, "process": self.process})

    @classmethod
    def parse(cls, content: bytes) -> "Claimant":
        """Return who is named in an object's content; somebody unknown if it is no claim."""
        try:
            fields = orjson.loads(content)
            named = (fields["payer"], fields["process"]) if fields["schema"] == SCHEMA else ()
        except (ValueError, LookupError, TypeError):
            return UNKNOWN
        if len(named) != 2 or not all(
            isinstance(name, str) and len(name) <= _MAX_CHARS for name in named
        ):
            return UNKNOWN
        return cls(*named)


UNKNOWN = Claimant("", "")


@dataclasses.dataclass(frozen=True, slots=True)
class ClaimListing:
    """What a listing says of a claim.

    Args:
        generation: of the object; it changes when the claim is renewed or taken over.
        created_at: when this generation was created, by storage's clock; None if that is not told.
        size: in bytes.
    """

    generation: str
    created_at: datetime.datetime | None
    size: int

    @classmethod
    def parse(cls, resource: dict[str, Any]) -> "ClaimListing":
        """Return what an object's resource in a listing says.

        Raises:
            ValueError: it has no generation, without which nothing can be done about it.
        """
        generation = str(resource.get("generation", ""))
        if not (generation.isascii() and generation.isdigit()):
            raise ValueError(f"a listed claim has no generation, but {generation[:_MAX_CHARS]!r}")
        size = str(resource.get("size", ""))
        return cls(
            generation,
            _iso_time(resource.get("timeCreated")),
            int(size) if size.isascii() and size.isdigit() and len(size) < 20 else MAX_BYTES + 1,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """One generation of a claim, as it was read.

    Args:
        generation: of the object.
        by: who has it.
        age_s: how many seconds old it was when it was read, by storage's clock; None if that is
            not known, and below 0 if the service contradicts itself.
    """

    generation: str
    by: Claimant
    age_s: float | None


def age_s(created_at: datetime.datetime | None, date: str | None) -> float | None:
    """Return how many seconds passed from an object's creation to an answer; None if untold.

    Args:
        created_at: by storage's clock.
        date: the answer's `Date` header, in whole seconds. So an object can seem a second younger.
    """
    try:
        now = email.utils.parsedate_to_datetime(date or "")
        return None if created_at is None else (now - created_at).total_seconds()
    except (ValueError, TypeError, OverflowError):  # one of them may have no time zone
        return None


def _iso_time(text: object) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
