"""Where a model's calls go: to the first of its routes that has room and is well.

A route is a location, and the tier that is asked for there. Each has a limiter of its own, because
Google counts quota for each location, and because one location can be out of order while another is
not. Calls come back to a preferred route as soon as it has room again.
"""

import asyncio
import contextlib
import dataclasses
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence

from beam_jobs.engine.limiter import RECHECK_S, AdaptiveLimiter
from beam_jobs.models.base import CallError, ImageModel

_log = logging.getLogger(__name__)

# After so many failed calls in a row, calls go elsewhere. A single 503 says nothing.
CLOSE_AFTER = 3
# Seconds until one call tries a closed route again; doubled after each failure, up to the maximum.
FIRST_PROBE_S = 1.0
MAX_PROBE_S = 3.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One way to a model.

    Args:
        name: the location, and the tier if it is not the standard one; for logs.
        model: the adapter that calls it there.
        limiter: paces all calls of this process on that route, whatever their model.
    """

    name: str
    model: ImageModel
    limiter: AdaptiveLimiter


@dataclasses.dataclass(frozen=True, slots=True)
class RouteSlot:
    """Permission to start one call on a route.

    Args:
        route: where to call.
        started_at: when the call may start, in the event loop's time.
        throttled_s: seconds that the call waited for quota, or for a route to have room.
    """

    route: Route
    started_at: float
    throttled_s: float


@dataclasses.dataclass
class _Outage:
    """Whether one model answers on one route. Times are the event loop's.

    Attributes:
        failures: how many calls in a row failed.
        closed_at: since when calls go elsewhere; None if they don't.
        probe_at: when the next call is to try.
        probe_s: how long after the one before.
    """

    failures: int = 0
    closed_at: float | None = None
    probe_at: float = 0.0
    probe_s: float = FIRST_PROBE_S


class RoutedModel:
    """A model and its routes. Use it from one event loop only.

    Args:
        routes: in the order of preference; at least one.
        in_flight: limits the calls of the process on all routes together; None if one limiter is
            all there is.
        otherwise: takes a call over that these routes leave without an answer.
        otherwise_after_s: after how many seconds.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        in_flight: asyncio.Semaphore | None = None,
        otherwise: "RoutedModel | None" = None,
        otherwise_after_s: float = 0.0,
    ) -> None:
        self.otherwise = otherwise
        self.otherwise_after_s = otherwise_after_s
        self.images_per_call = routes[0].model.images_per_call
        self._routes = tuple(routes)
        self._in_flight = in_flight or contextlib.nullcontext()
        self._outages = {route: _Outage() for route in routes}
        # In order of arrival among calls that may take the same routes: of those, only the first
        # has to look for room.
        self._order: defaultdict[frozenset[Route], asyncio.Lock] = defaultdict(asyncio.Lock)

    @contextlib.asynccontextmanager
    async def slot(self, avoid: Collection[Route] = ()) -> AsyncIterator[RouteSlot]:
        """Hold a slot on a route while the block runs one call.

        Args:
            avoid: routes that just refused this call; taken only if there is no other.
        """
        async with self._in_flight:
            asked_at = asyncio.get_running_loop().time()
            route = await self._with_room(frozenset(avoid))
            chosen_at = asyncio.get_running_loop().time()
            # Nothing ran since the look, so a route that had room then has it now.
            async with route.limiter.slot() as call_slot:
                yield RouteSlot(
                    route, call_slot.started_at, chosen_at - asked_at + call_slot.throttled_s
                )

    def answered(self, slot: RouteSlot) -> None:
        """Note that the model answered on a route, with an image or a refusal of the prompt."""
        route = slot.route
        outage = self._outages[route]
        if outage.closed_at is not None:
            if slot.started_at <= outage.closed_at:
                return  # it says nothing about how the route is now
            closed_s = asyncio.get_running_loop().time() - outage.closed_at
            route.limiter.unused(closed_s)
            _log.warning("%s answers again after %.0f s; calls come back", route.name, closed_s)
        self._outages[route] = _Outage()

    def failed(self, slot: RouteSlot, error: CallError) -> bool:
        """Note that a call failed on a route for a reason that another route may not share.

        Returns whether calls go elsewhere, so that its load is not the reason.

        Args:
            slot: of the call.
            error: that the route is overloaded, does not answer, or does not have the model.
        """
        if len(self._routes) == 1:
            return False
        route = slot.route
        outage = self._outages[route]
        outage.failures += 1
        now = asyncio.get_running_loop().time()
        if outage.closed_at is not None:
            if slot.started_at <= outage.closed_at:
                return True  # it says nothing about how the route is now
            outage.probe_s = min(MAX_PROBE_S, 2 * outage.probe_s)
            outage.probe_at = now + outage.probe_s
        elif outage.failures >= CLOSE_AFTER or error.of_model:
            outage.closed_at, outage.probe_at = now, now + outage.probe_s
            _log.error("%s fails, so calls go elsewhere: %s", route.name, error.detail)
        return outage.closed_at is not None

    def has_room_besides(self, tried: Collection[Route]) -> bool:
        """Return whether a call may start now on a route that it has not tried."""
        now = asyncio.get_running_loop().time()
        return any(
            self._is_open(route, now) and route.limiter.room_in_s() <= 0
            for route in self._routes
            if route not in tried
        )

    async def _with_room(self, avoid: frozenset[Route]) -> Route:
        """Wait until a route has room, and return it."""
        if len(self._routes) == 1:
            return self._routes[0]  # its limiter waits
        loop = asyncio.get_running_loop()
        async with self._order[avoid]:
            while True:
                now = loop.time()
                wait_s = RECHECK_S
                for route in self._candidates(avoid, now):
                    room_in_s = route.limiter.room_in_s()
                    if room_in_s <= 0:
                        # The next call that tries a closed route waits in case this one hangs.
                        outage = self._outages[route]
                        outage.probe_at = max(outage.probe_at, now + outage.probe_s)
                        return route
                    wait_s = min(wait_s, room_in_s)
                await asyncio.sleep(wait_s)

    def _candidates(self, avoid: frozenset[Route], now: float) -> Sequence[Route]:
        others = [route for route in self._routes if route not in avoid]
        return [route for route in others if self._is_open(route, now)] or others or self._routes

    def _is_open(self, route: Route, now: float) -> bool:
        outage = self._outages[route]
        return outage.closed_at is None or now >= outage.probe_at
