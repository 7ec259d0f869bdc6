"""Whether Cloud Storage's good answers are what they have to be. Pure.

Something between here and storage may answer 200 too. Taken for a listing, its answer would say
that nothing is stored, and all would be paid for again; taken for an object, that an image is safe.
"""

import dataclasses
import json
from typing import Any

# https://cloud.google.com/storage/docs/json_api/v1/objects/list#response. A page without objects
# has no `items`; with `fields`, it is an empty object.
_FIELDS_OF_A_LISTING = frozenset({"kind", "items", "prefixes", "nextPageToken"})
_MAX_CHARS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing.

    Args:
        names: of its objects.
        resources: what it says of each, in the same order.
        next_token: asks for the next page; empty if this is the last one.
    """

    names: tuple[str, ...]
    resources: tuple[dict[str, Any], ...]
    next_token: str

    @classmethod
    def parse(cls, answer: Any) -> "Page":
        """Return the page that is answered.

        Raises:
            ValueError: it is no page of a listing.
        """
        if not isinstance(answer, dict) or not answer.keys() <= _FIELDS_OF_A_LISTING:
            raise ValueError(_message("is no listing", answer))
        items, token = answer.get("items", []), answer.get("nextPageToken", "")
        if not isinstance(items, list) or not isinstance(token, str):
            raise ValueError(_message("has no list of objects", answer))
        names = [item.get("name") for item in items if isinstance(item, dict)]
        named = tuple(name for name in names if isinstance(name, str) and name)
        if len(named) < len(items):
            raise ValueError(_message("has an object without a name", answer))
        return cls(named, tuple(items), token)


def is_resource(answer: Any, name: str, size: int | None = None) -> bool:
    """Return whether an answer describes an object.

    https://cloud.google.com/storage/docs/json_api/v1/objects#resource.

    Args:
        answer: the decoded answer.
        name: of the object.
        size: in bytes, which the resource has as a text; None for any.
    """
    return (
        isinstance(answer, dict)
        and answer.get("name") == name
        and (size is None or str(answer.get("size")) == str(size))
    )


def shortened(answer: Any) -> str:
    """Return the beginning of an answer, for an error message."""
    text = json.dumps(answer, default=str)
    return text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}…"


def _message(what: str, answer: Any) -> str:
    return f"storage's answer {what}: {shortened(answer)}"
