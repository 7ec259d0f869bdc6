"""Pages of lists. A page token is the previous page's last name, so that changes do not matter."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from localcloud.pubsub.errors import invalid

MAX_PAGE = 1_000

_Item = TypeVar("_Item")


def page(
    items: Sequence[_Item], name: Callable[[_Item], str], size: int, token: str
) -> tuple[list[_Item], str]:
    """Return a page of items, and the next page's token, which is empty on the last page.

    Args:
        items: all items, sorted by name.
        name: returns an item's name.
        size: maximum number of items; 0 means the maximum allowed.
        token: the token from the previous page; empty for the first page.

    Raises:
        PubSubError: INVALID_ARGUMENT; the size is negative.
    """
    if size < 0:
        raise invalid(f"page_size is {size}; expected 0 (the default) to {MAX_PAGE}.")
    rest = [item for item in items if name(item) > token]
    first = rest[: min(size, MAX_PAGE) or MAX_PAGE]
    return first, name(first[-1]) if len(rest) > len(first) else ""
