"""What paces the requests to storage: look-ups and uploads each have a lane of their own."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Lane(Protocol):
    """Sends requests of one kind, as many at once as it lets."""

    @property
    def lag_s(self) -> float:
        """How many seconds the first of those that wait has waited; 0: none waits."""
        ...

    async def __call__(self, request: Callable[[], Awaitable[T]], *, first: bool = False) -> T:
        """Send a request as soon as it may be sent, and return its answer.

        Args:
            request: sends it.
            first: whether it goes ahead of those that wait and do not.

        Raises:
            StoreError: the request's.
        """
        ...


class AtOnce:
    """The lane of those who bound their requests themselves: it sends each at once."""

    lag_s = 0.0

    async def __call__(self, request: Callable[[], Awaitable[T]], *, first: bool = False) -> T:
        """Send a request now."""
        del first
        return await request()


AT_ONCE = AtOnce()


@dataclasses.dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes of one process.

    Args:
        lookups: of small requests: listings, claims, records.
        uploads: of images, whose memory they hold until they are stored.
    """

    lookups: Lane = AT_ONCE
    uploads: Lane = AT_ONCE
