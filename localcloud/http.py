"""Serves an aiohttp application on a port. All HTTP stand-ins share these server settings."""

from aiohttp import web

READ_BUFFER_BYTES = 256 * 1024
"""Each connection buffers up to twice this much of a request body. With aiohttp's default of
64 KiB, a 1.5 MB upload pauses and resumes the socket a dozen times; 256 KiB is also what asyncio
reads at once."""

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
