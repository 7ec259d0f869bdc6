"""The page's addresses: what is under each, and for how long an answer is good.

Handlers run on the event loop of Airflow's API server, so none of them reads anything itself.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from imagen_ops.ui.access import Admit, Guarded, admit, may_trigger
from imagen_ops.ui.files import FOLDER, PAGE, File, files
from imagen_ops.ui.headers import WithHeaders
from imagen_ops.ui.lazy import Asgi
from imagen_ops.ui.panels import actions, backfills, dead_letters, images, stream
from imagen_ops.ui.sharing import Answer, Shared, TroubleError, started_threads
from imagen_ops.ui.storage import BUDGET_S, Storage

# A little more than storage gets: then it is storage's own trouble that is told.
PATIENCE_S = BUDGET_S + 0.5
_PICTURES_AT_ONCE = 4
_CHUNK = 256 << 10
# A digest names what decides an image, and nothing is ever overwritten.
_FOR_EVER = "private, max-age=31536000, immutable"

_log = logging.getLogger(__name__)


class Json(JSONResponse):
    """JSON in ASCII: prompts may hold what UTF-8 cannot, such as half of an emoji."""

    def render(self, content: Any) -> bytes:
        """Return the bytes to send."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def build(storage: Storage, admitting: Admit = admit) -> Asgi:
    """Return the whole app, guarded."""
    return WithHeaders(Guarded(routes(storage), admitting))


def routes(storage: Storage, folder: Path = FOLDER) -> FastAPI:
    """Return what is behind the guard.

    Args:
        storage: what is shown.
        folder: of the page's files.
    """
    app = FastAPI(
        title="Imagen", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    _files(app, files(folder))
    _panels(app, storage, Shared(PATIENCE_S))
    _actions(app)
    _images(app, storage)
    return app


def _files(app: FastAPI, there: Mapping[str, File]) -> None:
    def serve(request: Request, name: str) -> Response:
        file = there.get(name)
        if file is None:
            return _not_found()
        headers = {"Cache-Control": "private, no-cache", "ETag": file.etag}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    @app.get("/")
    async def page(request: Request) -> Response:
        return serve(request, PAGE)

    @app.get("/assets/{name}")
    async def asset(request: Request, name: str) -> Response:
        return _not_found() if name == PAGE else serve(request, name)


def _panels(app: FastAPI, storage: Storage, shared: Shared) -> None:
    async def health(show: Callable[[stream.Health], Any]) -> Json:
        answer = await shared.get("health", 10, lambda: stream.read_health(storage))
        return _panel(answer if answer.error else Answer(show(answer.data)))

    @app.get("/api/stream")
    async def state() -> Json:
        return await health(lambda found: stream.state(found, datetime.now(UTC)))

    @app.get("/api/plots")
    async def plots() -> Json:
        return await health(stream.plots)

    @app.get("/api/images")
    async def newest(
        limit: Annotated[int, Query(ge=1, le=images.MOST)] = 48,
        before: Annotated[str | None, Query(pattern=images.CURSOR)] = None,
    ) -> Json:
        key = ("images", limit, before)
        return _panel(await shared.get(key, 5, lambda: images.read_images(storage, limit, before)))

    @app.get("/api/backfills")
    async def runs() -> Json:
        return _panel(await shared.get("backfills", 15, lambda: backfills.read_backfills(storage)))

    @app.get("/api/dead-letters")
    async def letters() -> Json:
        return _panel(
            await shared.get("letters", 10, lambda: dead_letters.read_dead_letters(storage))
        )


def _actions(app: FastAPI) -> None:
    @app.get("/api/actions")
    async def dags(request: Request) -> Json:
        user = request.user

        def look() -> dict[str, Any]:
            found = actions.actions(lambda dag_id: may_trigger(request, user, dag_id))
            return {"dags": found, "user": user.get_name()}

        try:
            return _panel(Answer(await run_in_threadpool(look)))
        except Exception:
            _log.exception("what %s may do cannot be told", user.get_name())
            return _panel(Answer(error="Airflow cannot tell what you may do; its log has more"))


def _images(app: FastAPI, storage: Storage) -> None:
    # Of their own, and few: a page asks for fifty at once.
    threads = started_threads(_PICTURES_AT_ONCE, "imagen-ui-picture")

    @app.get("/images/{path:path}")
    async def image(request: Request, path: str) -> Response:
        media_type = images.media_type_of(path)
        if media_type is None or not _as_written(request, path):
            return _not_found()
        headers = {"Cache-Control": _FOR_EVER, "ETag": f'"{path.rpartition("/")[2]}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        reading = threads.submit(images.read_image, storage, path)
        try:
            # Who waits no longer takes its turn away: what has not begun never does.
            file = await asyncio.wait_for(asyncio.wrap_future(reading), 2 * PATIENCE_S)
        except (TroubleError, TimeoutError) as error:
            detail = str(error) or "Cloud Storage is too slow"
            return Json({"detail": detail}, status_code=503)
        if file is None:
            return _not_found()
        return _sent(file, media_type, headers)


def _as_written(request: Request, path: str) -> bool:
    """Whether the path came as it is: the names of images need no escapes."""
    raw: bytes = request.scope.get("raw_path") or b""
    return raw.partition(b"?")[0].endswith(f"/images/{path}".encode())


def _sent(file: IO[bytes], media_type: str, headers: Mapping[str, str]) -> Response:
    size = file.tell()
    file.seek(0)

    def chunks() -> Any:
        with file:
            while chunk := file.read(_CHUNK):
                yield chunk

    sized = {**headers, "Content-Length": str(size)}
    return StreamingResponse(chunks(), media_type=media_type, headers=sized)


def _panel(answer: Answer) -> Json:
    now = datetime.now(UTC).isoformat()
    return Json({"at": now, "data": answer.data, "error": answer.error})


def _not_found() -> Json:
    return Json({"detail": "there is nothing of that name"}, status_code=404)
