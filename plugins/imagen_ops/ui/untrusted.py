"""Reads JSON lines that other programs wrote, without trusting them to have any particular form.

Records come from other versions of this code, from jobs, and from anyone who can write to the
bucket. A field of the wrong type counts as missing.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

# No count or duration is larger. The comparison also rejects NaN and the infinities.
_MAX_MAGNITUDE = 1e18


def records(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in `content`, one per line, in order. Skips every other line."""
    # Not splitlines(): it also splits at characters that JSON strings may contain unescaped.
    for line in content.split(b"\n"):
        try:
            record = json.loads(line, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def text(value: Any) -> str | None:
    """Return `value` if it is a string, otherwise None."""
    return value if isinstance(value, str) else None


def texts(value: Any) -> list[str]:
    """Return the strings in a list; an empty list if `value` is no list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def flag(value: Any) -> bool | None:
    """Return `value` if it is a boolean, otherwise None."""
    return value if isinstance(value, bool) else None


def number(value: Any) -> float | int | None:
    """Return `value` if it is a plausible number, otherwise None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if -_MAX_MAGNITUDE < value < _MAX_MAGNITUDE else None


def numbers(value: Any) -> dict[str, float | int]:
    """Return the fields of an object that are plausible numbers, by name."""
    if not isinstance(value, Mapping):
        return {}
    by_name = {str(name): number(item) for name, item in value.items()}
    return {name: item for name, item in by_name.items() if item is not None}


def texts_and_numbers(value: Any) -> dict[str, str | float | int]:
    """Return the fields of an object that are strings or plausible numbers, by name."""
    if not isinstance(value, Mapping):
        return {}
    by_name = {str(name): text(item) or number(item) for name, item in value.items()}
    return {name: item for name, item in by_name.items() if item is not None}


def moment(value: Any) -> datetime | None:
    """Return an ISO 8601 time in UTC; None if `value` is no time or has no time zone."""
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.astimezone(UTC) if parsed.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is an object, otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}
