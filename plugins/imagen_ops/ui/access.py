"""Who may look: Airflow's login, and its permission to read the stream's health.

Airflow mounts a plugin's app as it is, open to everybody. So this stands around the whole of it,
not on its routes: what is added later is behind it too, be it a route, a mount or a 404.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import (
    bearer_scheme,
    get_user,
    oauth2_scheme,
    requires_access_dag,
)
from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from imagen_ops.ui.lazy import Asgi, Receive, Scope, Send

# Whoever may read this DAG may see what it has found, and the images with it.
LOOKED_AT = "imagen_stream_health"

Admit = Callable[[Request], Awaitable[Any]]


async def admit(request: Request) -> BaseUser:
    """Return who asks, by cookie or bearer token.

    Raises:
        HTTPException: 401 without a login, 403 without the permission.
    """
    # As FastAPI would call it, which is not asked here: see above.
    user = await get_user(request, await oauth2_scheme(request), await bearer_scheme(request))
    # Asks the metadata database.
    await run_in_threadpool(requires_access_dag("GET", param_dag_id=LOOKED_AT), request, user)
    return user


def may_trigger(request: Request, user: BaseUser, dag_id: str) -> bool:
    """Whether this user may start a run of the DAG. Asks the metadata database."""
    try:
        requires_access_dag("POST", DagAccessEntity.RUN, dag_id)(request, user)
    except HTTPException:
        return False
    return True


class Guarded:
    """`app`, for those whom `admit` lets in; routes find them as `request.user`."""

    def __init__(self, app: Asgi, admit: Admit = admit) -> None:
        self._app = app
        self._admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "websocket":
            # There are none here, so none is asked who it is.
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            scope["user"] = await self._admit(Request(scope, receive))
        except HTTPException as error:
            refusal = JSONResponse({"detail": error.detail}, error.status_code, error.headers)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
