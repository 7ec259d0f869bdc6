"""How every HTTP stand-in is put on a port: one place for the server's settings.

It knows nothing of what the application answers.
"""

from aiohttp import web

READ_BUFFER_BYTES = 256 * 1024
"""Up to twice this much of a request body waits per connection. aiohttp's 64 KiB makes a 1.5 MB
upload stop and resume the socket a dozen times; 256 KiB is also what asyncio reads at once."""

SHUTDOWN_SECONDS = 5.0
"""How long `stop` waits for requests in progress before it cuts them off."""


class HttpServer:
    """Serves one aiohttp application on one TCP port.

    With port 0 the system picks a free port; `start` says which. There is no access log: the
    stand-ins share the machine with what is measured against them. With `abandon_with_client`, a
    request whose client has gone is not worked on any further, and none holds up the end.
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
            OSError: the port is taken, or the host is no address of this machine.
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
        """Stop accepting, let requests in progress finish, close the connections."""
        await self._runner.cleanup()
