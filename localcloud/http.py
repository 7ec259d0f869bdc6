"""Serves an aiohttp application on a port. All HTTP stand-ins share these server settings.

Whoever is on this machine may ask them anything. The pages that a browser on it shows may not: a
page of another site could send requests to them, or have its own name lead to them (DNS rebinding)
and so read their answers.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

READ_BUFFER_BYTES = 256 * 1024
"""Each connection buffers up to twice this much of a request body. With aiohttp's default of
64 KiB, a 1.5 MB upload pauses and resumes the socket a dozen times; 256 KiB is also what asyncio
reads at once."""

HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
"""The names of this machine, by which clients and browsers on it reach the stand-ins."""

SHUTDOWN_SECONDS = 5.0
"""How long `stop` waits for requests in progress before it cancels them."""


class HttpServer:
    """Serves one aiohttp application on one TCP port.

    There is no access log: the stand-ins share the machine with what is measured against them.

    Args:
        app: the application.
        host: the address to listen on.
        port: the TCP port; with 0 the system picks a free port, which `start` returns.
        abandon_with_client: cancel a request when its client disconnects, and do not wait for
            requests in progress when stopping.
    """

    def __init__(
        self,
        app: web.Application,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        abandon_with_client: bool = False,
    ) -> None:
        app.middlewares.insert(0, refuse_other_sites)
        app.on_response_prepare.append(_keep_the_type)
        self._host = host
        self._port = port
        self._runner = web.AppRunner(
            app,
            access_log=None,
            # aiohttp waits twice this long: for requests to end, then for their cancellation.
            shutdown_timeout=0.2 if abandon_with_client else SHUTDOWN_SECONDS,
            read_bufsize=READ_BUFFER_BYTES,
            handler_cancellation=abandon_with_client,
        )

    async def start(self) -> int:
        """Start serving and return the port.

        Raises:
            OSError: the port is in use, or the host is not an address of this machine.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        except OSError:
            await self._runner.cleanup()
            raise
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Stop accepting requests, let those in progress finish, and close the connections."""
        await self._runner.cleanup()


@web.middleware
async def refuse_other_sites(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse a request for another host, or one that a page of another site sends.

    Google's clients send the host of the address that they were given, and no `Origin`. Browsers
    send `Sec-Fetch-Site` with every request to this machine.
    """
    if problem := _foreign(request):
        return web.Response(status=403, text=f"{problem}\n")
    return await handler(request)


def _foreign(request: web.Request) -> str | None:
    expected = ", ".join(sorted(HOSTS))
    if _hostname(f"//{request.host}") not in HOSTS:
        return (
            f"Host: expected a name of this machine ({expected}), got {ascii(request.host)[:100]}"
        )
    origin = request.headers.get("Origin")
    if origin is not None and _hostname(origin) not in HOSTS:
        return f"Origin: expected a page of this machine ({expected}), got {ascii(origin)[:100]}"
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return (
            "Sec-Fetch-Site: expected a page of this machine, got a link or a request of another "
            "site; enter the address yourself"
        )
    return None


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


async def _keep_the_type(request: web.Request, response: web.StreamResponse) -> None:
    """Let no browser guess that an answer is a page."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
