"""Builds the page's app late and in a thread, so that importing the plugin stays cheap.

Every Airflow process imports the plugin, and most of them serve no page. The app's imports take
long, and must hold up neither the event loop of Airflow's API server nor the first visitor. The
build therefore starts when a server starts to serve.
"""

import asyncio
import contextlib
import gc
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class LazyApp:
    """An ASGI app that is built once, in a thread: by `begin` or by its first request.

    Args:
        build: builds the app. If it raises, the request that waits for it fails, and the next
            request tries again.
    """

    def __init__(self, build: Callable[[], Asgi]) -> None:
        self._build = build
        self._build_lock = threading.Lock()
        self._app: Asgi | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        app = self._app
        if app is None:
            app = await asyncio.to_thread(self._built)
        await app(scope, receive, send)

    def begin(self, server: Asgi) -> Asgi:
        """Start the build in the background.

        Airflow calls this as if it were the constructor of a middleware around its whole server:
        once in each process that serves, and in no other process.

        Returns:
            `server`, unchanged.
        """
        threading.Thread(target=self._build_early, name="imagen-ui-begin", daemon=True).start()
        return server

    def _build_early(self) -> None:
        with contextlib.suppress(Exception):  # the first request tries again and reports it
            self._built()

    def _built(self) -> Asgi:
        with self._build_lock:
            if self._app is None:
                self._app = self._build()
                # A full collection looks at all that Airflow has imported, and the event loop waits
                # for it: 200 ms. What is there now stays until the process ends.
                gc.freeze()
            return self._app
