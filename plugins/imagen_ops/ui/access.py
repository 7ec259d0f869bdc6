"""Who may see the page: logged-in users with permission to read the stream's health DAG.

Airflow mounts a plugin's app without access control. `Guarded` therefore wraps the whole app, not
its routes: anything added later is protected too, be it a route, a mount or a 404.
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

# Whoever may read this DAG may see what it records, and the images too.
REQUIRED_DAG = "imagen_stream_health"

Admit = Callable[[Request], Awaitable[Any]]


async def admit(request: Request) -> BaseUser:
    """Return the user of a request, identified by cookie or bearer token.

    Raises:
        HTTPException: 401 without a login, 403 without permission to read the health DAG.
    """
    # FastAPI would resolve these as dependencies of a route, but the guard is outside of any route.
    user = await get_user(request, await oauth2_scheme(request), await bearer_scheme(request))
    # In a thread, because it queries the metadata database.
    await run_in_threadpool(requires_access_dag("GET", param_dag_id=REQUIRED_DAG), request, user)
    return user


def may_trigger(request: Request, user: BaseUser, dag_id: str) -> bool:
    """Tell whether a user may trigger a DAG. Blocks: it queries the metadata database.

    Args:
        request: the user's request.
        user: as `admit` returned it.
        dag_id: the DAG to trigger.
    """
    try:
        requires_access_dag("POST", DagAccessEntity.RUN, dag_id)(request, user)
    except HTTPException:
        return False
    return True


class Guarded:
    """An ASGI app that only passes on the requests of users whom `admit` lets in.

    Routes find the user as `request.user`.
    """

    def __init__(self, app: Asgi, admit: Admit = admit) -> None:
        self._app = app
        self._admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it with 401 or 403."""
        if scope["type"] == "websocket":
            # The page has no websockets, so nobody may open one.
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
