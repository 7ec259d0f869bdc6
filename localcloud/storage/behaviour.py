"""How the stand-in for Cloud Storage behaves: latency, errors, calls that are never answered.

A call that fails here has changed nothing, and of its body nothing was read.
"""

import asyncio
import dataclasses
import random

from aiohttp import web

from localcloud.storage import errors

# How often a call that hangs looks whether its client is still there.
_LOOK_S = 0.05


@dataclasses.dataclass
class Settings:
    """Set by a PATCH of `/localcloud`.

    `error_rate` of all calls, from 0 to 1, answer `error_status`, and `hang_rate` of them nothing;
    every call takes `latency_s` more. `down`: all answer 503, at once. Calls that hang are cut off
    when `hang_rate` is 0 again. Without `md5` what is uploaded has no MD5, as composed objects have
    none: most of what an upload costs here, so that it is not what a measurement measures.
    """

    error_rate: float = 0.0
    error_status: int = 503
    latency_s: float = 0.0
    hang_rate: float = 0.0
    down: bool = False
    md5: bool = True


@dataclasses.dataclass
class Counts:
    """What has happened since the start: calls, those that failed on demand, and that hung."""

    calls: int = 0
    failed: int = 0
    hung: int = 0


class Behaviour:
    """Decides what becomes of each call. `seed` makes the rates repeatable."""

    def __init__(self, *, seed: int | None = None) -> None:
        self.settings = Settings()
        self.counts = Counts()
        self._chance = random.Random(seed)  # noqa: S311 - chance, not a secret
        self._closing = False

    async def strike(self, request: web.Request) -> None:
        """Count a call; wait, hang or fail as it is due.

        Raises:
            StorageError: it fails.
            ConnectionAbortedError: it hung, and its connection is closed.
        """
        settings, counts = self.settings, self.counts
        counts.calls += 1
        if settings.down:
            counts.failed += 1
            raise errors.on_demand(503)
        if settings.latency_s:
            await asyncio.sleep(settings.latency_s)
        roll = self._chance.random()
        if roll < settings.hang_rate:
            counts.hung += 1
            await self._hang(request)
        if roll < settings.hang_rate + settings.error_rate:
            counts.failed += 1
            raise errors.on_demand(settings.error_status)

    async def close(self, _: web.Application) -> None:
        """Cut off what hangs, so that the server's end does not wait for it."""
        self._closing = True

    async def _hang(self, request: web.Request) -> None:
        # A client that goes sets no event.
        while request.transport and self.settings.hang_rate and not self._closing:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        if request.transport:
            request.transport.close()
        raise ConnectionAbortedError("it hung on demand")
