"""What every answer tells a browser: run nothing that is not ours, guess nothing, tell nobody."""

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders

from imagen_ops.ui.lazy import Asgi, Receive, Scope, Send

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    # Airflow shows the page in a frame of its own.
    "frame-ancestors 'self'",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
}


class WithHeaders:
    """`app`, each answer of which has the headers above: refusals and errors, too."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                # Unless a route knows better: this is of now, and for who is logged in.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, sending)
