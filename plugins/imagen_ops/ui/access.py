"""Who may see the page: logged-in users with permission to read the stream's health DAG.

Airflow mounts a plugin's app without access control. `Guarded` therefore wraps the whole app, not
its routes: anything added later is protected too, be it a route, a mount or a 404.
"""

import asyncio
from collections import Counter
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

from imagen_ops.ui.lazy import Asgi, Receive, Scope, Send
from imagen_ops.ui.responses import busy
from imagen_ops.ui.turns import RETRY_AFTER_S, Busy, Turns

# Whoever may read this DAG may see what it records, and the images too.
REQUIRED_DAG = "imagen_stream_health"
# One user's requests at once, refused and cached ones aside. A browser asks for a whole page of
# images and all panels together, and a few pages may be open.
MAX_REQUESTS_PER_USER = 192

Admit = Callable[[Request], Awaitable[Any]]


class Admission:
    """Lets in whom Airflow knows and lets read the health DAG.

    Args:
        queries: whose query of Airflow's metadata database is next. They run neither on the event
            loop nor in the threads that Airflow's API server has for all requests together.
    """

    def __init__(self, queries: Turns) -> None:
        self._queries = queries
        self._permit = requires_access_dag("GET", param_dag_id=REQUIRED_DAG)

    async def __call__(self, request: Request) -> BaseUser:
        """Return the user of a request, identified by cookie or bearer token.

        Raises:
            HTTPException: 401 without a login, 403 without permission to read the health DAG.
            Busy: too many of the user's requests wait to be let in.
        """
        # FastAPI would resolve these as dependencies of a route, but this is outside of any route.
        user = await get_user(request, await oauth2_scheme(request), await bearer_scheme(request))
        query = self._queries.take(user.get_id(), lambda: self._permit(request, user))
        await asyncio.wrap_future(query.future)
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

    Routes find the user as `request.user`. A user has at most `MAX_REQUESTS_PER_USER` requests in
    it at once: answers that nobody receives take memory too.
    """

    def __init__(self, app: Asgi, admit: Admit) -> None:
        self._app = app
        self._admit = admit
        self._requests: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it with 401, 403, or 503."""
        if scope["type"] == "websocket":
            # The page has no websockets, so nobody may open one.
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            user = scope["user"] = await self._admit(Request(scope, receive))
        except HTTPException as error:
            refusal = JSONResponse({"detail": error.detail}, error.status_code, error.headers)
            await refusal(scope, receive, send)
            return
        except Busy as reason:
            await busy(reason)(scope, receive, send)
            return
        await self._serve(user.get_id(), scope, receive, send)

    async def _serve(self, user: str, scope: Scope, receive: Receive, send: Send) -> None:
        if self._requests[user] >= MAX_REQUESTS_PER_USER:
            reason = Busy(
                f"{MAX_REQUESTS_PER_USER} of your requests are in progress, the most that one "
                f"user can have: try again in {RETRY_AFTER_S} s"
            )
            await busy(reason)(scope, receive, send)
            return
        self._requests[user] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests[user] -= 1
            if not self._requests[user]:
                del self._requests[user]
