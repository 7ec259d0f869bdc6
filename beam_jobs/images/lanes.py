"""What paces the requests to storage: look-ups and uploads each have a lane of their own."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Lane(Protocol):
    """Sends requests of one kind, as many at once as it lets."""

    async def __call__(self, request: Callable[[], Awaitable[T]], *, first: bool = False) -> T:
        """Send a request as soon as it may be sent, and return its answer.

        Args:
            request: sends it.
            first: whether it goes ahead of those that wait and do not.

        Raises:
            StoreError: the request's.
        """
        ...


async def at_once(request: Callable[[], Awaitable[T]], *, first: bool = False) -> T:
    """Send a request now: the lane of who bounds their requests themselves."""
    del first
    return await request()


@dataclasses.dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes of one process.

    Args:
        lookups: of small requests: listings, claims, records.
        uploads: of images, whose memory they hold until they are stored.
    """

    lookups: Lane = at_once
    uploads: Lane = at_once
