"""Lists in pages. A page token is the last name of the page before, so it outlives changes."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from localcloud.pubsub.errors import invalid

MAX_PAGE = 1_000

_Item = TypeVar("_Item")


def page(
    items: Sequence[_Item], name: Callable[[_Item], str], size: int, token: str
) -> tuple[list[_Item], str]:
    """Up to `size` (0: as many as allowed) of `items`, sorted by name, and the next token.

    The token is empty when nothing is left. INVALID_ARGUMENT for a negative size.
    """
    if size < 0:
        raise invalid(f"page_size is {size}; expected 0 (the default) to {MAX_PAGE}.")
    rest = [item for item in items if name(item) > token]
    first = rest[: min(size, MAX_PAGE) or MAX_PAGE]
    return first, name(first[-1]) if len(rest) > len(first) else ""
