"""Why this exists: the provider's schema as the tests ask for it; `extract_schema.py` says where
it is from."""

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("schemas")
VERSIONS = ("7.41.0", "7.46.1", "8.7.0")
"""Of the provider, oldest first. The last is what the stand-in is unless a test says otherwise."""


@cache
def load(version: str = VERSIONS[-1]) -> dict[str, Any]:
    """`source`, `provider`, `resources`, `data_sources`: blocks in Terraform's own JSON form."""
    schema: dict[str, Any] = json.loads((FOLDER / f"{version}.json").read_text())
    return schema


def attributes(block: dict[str, Any]) -> dict[str, Any]:
    """Name to `type` and the flags `required`, `optional`, `computed`."""
    found: dict[str, Any] = block.get("attributes", {})
    return found


def block_types(block: dict[str, Any]) -> dict[str, Any]:
    """Name to `nesting_mode`, `block` and the limits `min_items`, `max_items`."""
    found: dict[str, Any] = block.get("block_types", {})
    return found


def implied_type(block: dict[str, Any]) -> list[Any]:
    """The type of a whole block's value: an object, nested blocks as lists or sets of them."""
    members = {name: one["type"] for name, one in attributes(block).items()}
    for name, nested in block_types(block).items():
        inner = implied_type(nested["block"])
        mode = nested["nesting_mode"]
        members[name] = inner if mode == "single" else [mode, inner]
    return ["object", members]
