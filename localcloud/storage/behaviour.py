"""Faults of the stand-in for Cloud Storage: latency, errors, and calls that hang.

A call that fails here has changed nothing, and none of its body has been read.
"""

import asyncio
import dataclasses
import random
import time

from aiohttp import web

from localcloud.storage import errors

# How often a hanging call checks whether its client is still connected.
_POLL_S = 0.05


@dataclasses.dataclass
class Settings:
    """Set by a PATCH of `/localcloud`.

    Attributes:
        error_rate: the share of calls that fail, from 0 to 1.
        error_status: the HTTP status of those calls.
        latency_s: seconds added to every call.
        calls_per_s: how many calls are answered per second, in the order of their arrival; 0: all.
            Cloud Storage takes longer for a bucket whose rate rises fast:
            https://docs.cloud.google.com/storage/docs/request-rate
        refused_above_per_s: how many calls per second are not refused with 429; 0: all.
        connections: how many connections are served at once; 0: all. Others wait until one of these
            is closed, as they do in front of gunicorn, under which Google's storage-testbench runs:
            https://gunicorn.org/reference/settings/#worker_connections
        hang_rate: the share of calls that are never answered, from 0 to 1. Hanging calls are cut
            off when this is 0 again.
        down: all calls answer 503 at once.
        policy_violated: uploads answer 412 orgPolicyConstraintFailed.
        key_disabled: uploads answer 400 cloudKmsDisabledKey. What is stored stays readable, as
            objects are that another key encrypts.
        md5: compute the MD5 of uploads. Without it, objects have none, like composed objects. MD5
            is most of an upload's cost here, and benchmarks should not measure it.
    """

    error_rate: float = 0.0
    error_status: int = 503
    latency_s: float = 0.0
    calls_per_s: float = 0.0
    refused_above_per_s: float = 0.0
    connections: int = 0
    hang_rate: float = 0.0
    down: bool = False
    policy_violated: bool = False
    key_disabled: bool = False
    md5: bool = True


@dataclasses.dataclass
class Counts:
    """Counters since the start: all calls, injected failures, and hanging calls."""

    calls: int = 0
    failed: int = 0
    hung: int = 0


class Behaviour:
    """Delays, fails or hangs calls. `seed` makes random faults repeatable."""

    def __init__(self, *, seed: int | None = None) -> None:
        self.settings = Settings()
        self.counts = Counts()
        self._chance = random.Random(seed)  # noqa: S311 - chance, not a secret
        self._closing = False
        self._next_at = self._next_allowed_at = 0.0
        self._served: dict[web.RequestHandler, None] = {}

    async def inject_faults(self, request: web.Request) -> None:
        """Count a call, delay it, and fail it or make it hang if it is chosen.

        Raises:
            StorageError: the call was chosen to fail.
            ConnectionAbortedError: the call hung, and its connection has been closed.
        """
        settings, counts = self.settings, self.counts
        if settings.connections:
            await self._wait_to_be_served(request)
        counts.calls += 1
        if settings.calls_per_s:
            await self._wait_in_line()
        if settings.refused_above_per_s and not self._is_allowed():
            counts.failed += 1
            raise errors.on_demand(429)
        if settings.down:
            counts.failed += 1
            raise errors.on_demand(503)
        if request.path.startswith("/upload/") and (
            settings.policy_violated or settings.key_disabled
        ):
            counts.failed += 1
            raise errors.policy_violated() if settings.policy_violated else errors.key_disabled()
        if settings.latency_s:
            await asyncio.sleep(settings.latency_s)
        roll = self._chance.random()
        if roll < settings.hang_rate:
            counts.hung += 1
            await self._hang(request)
        if roll < settings.hang_rate + settings.error_rate:
            counts.failed += 1
            raise errors.on_demand(settings.error_status)

    async def _wait_to_be_served(self, request: web.Request) -> None:
        connection = request.protocol
        while connection not in self._served and not self._closing:
            for other in [each for each in self._served if each.transport is None]:
                del self._served[other]
            if len(self._served) < self.settings.connections:
                self._served[connection] = None
            elif request.transport is None:
                raise ConnectionAbortedError("the client gave up before it was served")
            else:
                await asyncio.sleep(_POLL_S)

    async def _wait_in_line(self) -> None:
        now = time.monotonic()
        at = max(now, self._next_at)
        self._next_at = at + 1 / self.settings.calls_per_s
        await asyncio.sleep(at - now)

    def _is_allowed(self) -> bool:
        """Return whether a call is within its rate: at most that of a second at once."""
        now = time.monotonic()
        at = max(now - 1.0, self._next_allowed_at)
        if at > now:
            return False
        self._next_allowed_at = at + 1 / self.settings.refused_above_per_s
        return True

    async def close(self, _: web.Application) -> None:
        """Cut off hanging calls, so that they do not delay the server's shutdown."""
        self._closing = True

    async def _hang(self, request: web.Request) -> None:
        # There is no event for a client that disconnects.
        while request.transport and self.settings.hang_rate and not self._closing:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        if request.transport:
            request.transport.close()
        raise ConnectionAbortedError("the call hung, as the settings request")
