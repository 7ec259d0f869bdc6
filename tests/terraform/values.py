"""Why this exists: whether a value that is written out can become what an argument wants.

Types are in Terraform's JSON form: `"string"`, `["list", "number"]`, `["object", {"name":
"string"}]`; conversions are Terraform's own: `"5"` is a number, `5` a string, `"yes"` no bool.
"""

import re
from typing import Any

from tests.terraform.configuration import UNKNOWN


def mismatch(value: Any, kind: Any) -> str | None:
    """Why the value cannot be of this type, in words; None when it can, or is not known."""
    if value is UNKNOWN or value is None or kind == "dynamic":
        return None
    if isinstance(kind, str):
        return _not_scalar(value, kind)
    shape, of = kind
    if shape in ("list", "set"):
        if not isinstance(value, list):
            return f"a {shape} is wanted"
        return _first(mismatch(element, of) for element in value)
    if not isinstance(value, dict):
        return f"{'an' if shape == 'object' else 'a'} {shape} is wanted"
    if shape == "map":
        return _first(mismatch(element, of) for element in value.values())
    return _first(mismatch(value[name], inner) for name, inner in of.items() if name in value)


def _not_scalar(value: Any, kind: str) -> str | None:
    if isinstance(value, list | dict):
        return f"a {kind} is wanted"
    if kind == "number":
        number = isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", value)
        fits = bool(number) or isinstance(value, float)
    elif kind == "bool":
        fits = isinstance(value, bool) or value in ("true", "false")
    else:
        fits = True
    return None if fits else f"a {kind} is wanted"


def _first(reasons: Any) -> str | None:
    return next((reason for reason in reasons if reason), None)
