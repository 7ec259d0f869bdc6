"""The page's routes: what each address returns, and how long an answer is cached.

Handlers run on the event loop of Airflow's API server, so they do all reading in threads.
"""

import asyncio
import functools
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import AwareDatetime

from beam_jobs.shown import shown
from imagen_ops.ui.access import Admission, Admit, Guarded, may_trigger
from imagen_ops.ui.headers import WithHeaders
from imagen_ops.ui.image_routes import add_image_routes
from imagen_ops.ui.lazy import Asgi
from imagen_ops.ui.panels import actions, backfills, dead_letters, done, plots, stream
from imagen_ops.ui.responses import (
    AsciiJson,
    ClientGoneError,
    busy,
    not_found,
    panel,
    while_connected,
)
from imagen_ops.ui.runbook import read_runbook
from imagen_ops.ui.sharing import (
    CHOSEN_ANSWERS,
    CHOSEN_CACHED_CHARACTERS,
    CHOSEN_PLACES,
    PANEL_PLACES,
    Answer,
    SharedReads,
)
from imagen_ops.ui.static_files import FOLDER, PAGE, StaticFile, load_static_files
from imagen_ops.ui.storage import READ_TIMEOUT_S, Storage
from imagen_ops.ui.turns import Busy, Turns

# Slightly more than a read may take, so that a slow read reports its own error.
ANSWER_TIMEOUT_S = READ_TIMEOUT_S + 0.5
# Queries of Airflow's database: one for each request.
_QUERY_PLACES = {"threads": 4, "user_threads": 2, "waiting": 1024, "user_waiting": 192}

_log = logging.getLogger(__name__)


def build(storage: Storage, admit: Admit | None = None) -> Asgi:
    """Return the whole app, with access control and security headers.

    Args:
        storage: where the page reads.
        admit: returns the user of a request, or raises `HTTPException`; None: Airflow decides.
    """
    queries = Turns("imagen-ui-query", **_QUERY_PLACES)
    return WithHeaders(Guarded(routes(storage, queries), admit or Admission(queries)))


def routes(storage: Storage, queries: Turns, folder: Path = FOLDER) -> FastAPI:
    """Return the app without access control and security headers.

    Args:
        storage: where the page reads.
        queries: whose query of Airflow's database is next.
        folder: of the page's static files.
    """
    app = FastAPI(
        title="Imagen", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    _add_static_files(app, load_static_files(folder))
    _add_panels(app, storage)
    _add_actions(app, queries)
    add_image_routes(app, storage, ANSWER_TIMEOUT_S)

    @app.exception_handler(Busy)
    async def refuse(request: Request, reason: Busy) -> Response:
        return busy(reason)

    @app.exception_handler(ClientGoneError)
    async def nobody_reads_this(request: Request, error: ClientGoneError) -> Response:
        return Response(status_code=499)

    return app


def _add_static_files(app: FastAPI, static_files: Mapping[str, StaticFile]) -> None:
    def serve(request: Request, name: str) -> Response:
        file = static_files.get(name)
        if file is None:
            return not_found()
        headers = {"Cache-Control": "private, no-cache", "ETag": file.etag}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    @app.get("/")
    async def page(request: Request) -> Response:
        return serve(request, PAGE)

    @app.get("/assets/{name}")
    async def asset(request: Request, name: str) -> Response:
        return not_found() if name == PAGE else serve(request, name)


def _add_panels(app: FastAPI, storage: Storage) -> None:
    shared = SharedReads(ANSWER_TIMEOUT_S, Turns("imagen-ui-panel", **PANEL_PLACES))

    # Users choose what to look for, so it has threads and a cache of its own.
    searches = SharedReads(
        ANSWER_TIMEOUT_S, Turns("imagen-ui-search", **CHOSEN_PLACES), answers=CHOSEN_ANSWERS
    )
    apart = storage.apart(
        reads=CHOSEN_PLACES["threads"], cached_characters=CHOSEN_CACHED_CHARACTERS
    )

    @app.get("/api/stream")
    async def stream_state(request: Request) -> AsciiJson:
        read = functools.partial(stream.read_health, storage)
        answer = await while_connected(request, shared.get("health", 10, read))
        if answer.error:
            return panel(answer)
        return panel(Answer(stream.state(answer.data, datetime.now(UTC))))

    @app.get("/api/plots")
    async def plotted(
        request: Request,
        hours: plots.Hours | None = None,
        start: Annotated[AwareDatetime | None, Query(alias="from")] = None,
        end: Annotated[AwareDatetime | None, Query(alias="to")] = None,
    ) -> AsciiJson:
        def read() -> dict[str, Any]:
            period = plots.Period.of(datetime.now(UTC), hours, start, end)
            return plots.read_plots(storage if own is None else apart, period)

        own = None if hours or start is None else (start, end)
        reading = (
            shared.get(("plots", hours), 10, read)
            if own is None
            else searches.get(("plots", *own), 10, read, request.user.get_id())
        )
        return panel(await while_connected(request, reading))

    @app.get("/api/backfills")
    async def backfill_runs(request: Request) -> AsciiJson:
        read = functools.partial(backfills.read_backfills, storage)
        return panel(await while_connected(request, shared.get("backfills", 15, read)))

    @app.get("/api/dead-letters")
    async def recent_dead_letters(request: Request) -> AsciiJson:
        read = functools.partial(dead_letters.read_dead_letters, storage)
        return panel(await while_connected(request, shared.get("dead-letters", 10, read)))

    @app.get("/api/done")
    async def what_was_done(request: Request) -> AsciiJson:
        read = functools.partial(done.read_done, storage)
        return panel(await while_connected(request, shared.get("done", 15, read)))

    @app.get("/api/dead-letters/list")
    async def list_of_dead_letters(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=dead_letters.MAX_LIMIT)] = 50,
        before: Annotated[str | None, Query(pattern=dead_letters.CURSOR)] = None,
        reason: Annotated[str | None, Query(pattern=dead_letters.REASON)] = None,
        words: Annotated[str, Query(max_length=dead_letters.MAX_WORDS)] = "",
    ) -> AsciiJson:
        asked = (limit, before, reason, words)
        read = functools.partial(dead_letters.read_letters, apart, *asked)
        reading = searches.get(asked, 10, read, request.user.get_id())
        return panel(await while_connected(request, reading))

    @app.get("/runbook")
    async def runbook(request: Request) -> Response:
        read = functools.partial(read_runbook, storage)
        found = (await while_connected(request, shared.get("runbook", 10, read))).data
        if found is None:
            raise Busy.after(ANSWER_TIMEOUT_S)
        return RedirectResponse(found.url) if found.url else HTMLResponse(found.page)


def _add_actions(app: FastAPI, queries: Turns) -> None:
    @app.get("/api/actions")
    async def allowed_actions(request: Request) -> AsciiJson:
        user = request.user

        def read() -> dict[str, Any]:
            dags = actions.actions(lambda dag_id: may_trigger(request, user, dag_id))
            return {"dags": dags, "user": user.get_name()}

        query = queries.take(user.get_id(), read)
        try:
            return panel(Answer(await while_connected(request, asyncio.wrap_future(query.future))))
        except ClientGoneError:
            raise
        except Exception:
            _log.exception("Cannot read which DAGs %s may trigger", shown(user.get_name(), 100))
            return panel(
                Answer(
                    error="Airflow cannot tell which DAGs you may trigger. See the log of its API "
                    "server"
                )
            )
