"""The app as Airflow gets it: nothing of it is imported where nobody can look.

A plugin is imported by every process of Airflow, most of which serve no page. And what an import
takes must not hold up the event loop that it shares with the rest of the API server, nor the first
who looks: a server begins with it when it begins to serve.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class LazyApp:
    """An ASGI app that is built in a thread, once: by `begin`, or by its first request.

    Args:
        build: makes the app. What it raises goes to who asked, and the next one tries again.
    """

    def __init__(self, build: Callable[[], Asgi]) -> None:
        self._build = build
        self._building = threading.Lock()
        self._app: Asgi | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        app = self._app
        if app is None:
            app = await asyncio.to_thread(self._built)
        await app(scope, receive, send)

    def begin(self, server: Asgi) -> Asgi:
        """Begin to build it, and return `server` as it is.

        Airflow calls this as it calls the constructor of a middleware around the whole of its
        server: in each process that serves, once, and in no other.
        """
        threading.Thread(target=self._begun, name="imagen-ui-begin", daemon=True).start()
        return server

    def _begun(self) -> None:
        with contextlib.suppress(Exception):  # the first request is told
            self._built()

    def _built(self) -> Asgi:
        with self._building:
            if self._app is None:
                self._app = self._build()
            return self._app
