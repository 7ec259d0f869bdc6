"""The app as Airflow gets it: nothing of it is imported before somebody looks.

A plugin is imported by every process of Airflow, most of which serve no page. And what an import
takes must not hold up the event loop that it shares with the rest of the API server.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class LazyApp:
    """An ASGI app that is built by its first request, in a thread, once.

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

    def _built(self) -> Asgi:
        with self._building:
            if self._app is None:
                self._app = self._build()
            return self._app


def build_page() -> Asgi:
    """Return the page's app, with all that it needs."""
    from imagen_ops.ui.app import build
    from imagen_ops.ui.storage import Storage

    storage = Storage()
    # Google's clients take longer to import than a browser takes to load the page.
    threading.Thread(target=storage.warm_up, name="imagen-ui-warm-up", daemon=True).start()
    return build(storage)
