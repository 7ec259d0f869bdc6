"""Lines of JSON that others have left, taken for what they are: perhaps anything.

What is shown has been written by other versions of this code, by jobs, and by whoever can write to
the bucket. A field of another type is one that is not there.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

# Beyond it is no count and no time of anything; NaN and the infinities are not within.
_HUGE = 1e18


def records(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects, one from a line, in order; what is none is passed over."""
    # Not splitlines(): that knows more ends of lines than JSON escapes.
    for line in content.split(b"\n"):
        try:
            record = json.loads(line, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def text(value: Any) -> str | None:
    """Return a text, or None."""
    return value if isinstance(value, str) else None


def texts(value: Any) -> list[str]:
    """Return the texts of a list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def flag(value: Any) -> bool | None:
    """Return a truth value, or None."""
    return value if isinstance(value, bool) else None


def number(value: Any) -> float | int | None:
    """Return a number that means something, or None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if -_HUGE < value < _HUGE else None


def numbers(value: Any) -> dict[str, float | int]:
    """Return the numbers of an object, by name."""
    if not isinstance(value, Mapping):
        return {}
    found = {str(name): number(item) for name, item in value.items()}
    return {name: item for name, item in found.items() if item is not None}


def moment(value: Any) -> datetime | None:
    """Return a time in UTC, or None for what is none or has no zone."""
    try:
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object, empty if it is none."""
    return value if isinstance(value, Mapping) else {}
