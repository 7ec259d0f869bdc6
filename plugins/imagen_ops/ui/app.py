"""The page's routes: what each address returns, and how long an answer is cached.

Handlers run on the event loop of Airflow's API server, so they do all reading in threads.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from imagen_ops.ui.access import Admit, Guarded, admit, may_trigger
from imagen_ops.ui.headers import WithHeaders
from imagen_ops.ui.lazy import Asgi
from imagen_ops.ui.panels import actions, backfills, dead_letters, images, stream
from imagen_ops.ui.sharing import Answer, ReadError, SharedReads, start_thread_pool
from imagen_ops.ui.static_files import FOLDER, PAGE, StaticFile, load_static_files
from imagen_ops.ui.storage import READ_TIMEOUT_S, Storage

# Slightly more than a read may take, so that a slow read reports its own error.
ANSWER_TIMEOUT_S = READ_TIMEOUT_S + 0.5
_IMAGE_THREADS = 4
_CHUNK_BYTES = 256 << 10
# An image's name is a digest of everything that decides the image, and nothing is overwritten.
_CACHE_FOREVER = "private, max-age=31536000, immutable"

_log = logging.getLogger(__name__)


class AsciiJson(JSONResponse):
    """JSON in ASCII: prompts may contain what UTF-8 cannot encode, such as half of an emoji."""

    def render(self, content: Any) -> bytes:
        """Return the bytes to send."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def build(storage: Storage, admit: Admit = admit) -> Asgi:
    """Return the whole app, with access control and security headers.

    Args:
        storage: where the page reads.
        admit: returns the user of a request, or raises `HTTPException`.
    """
    return WithHeaders(Guarded(routes(storage), admit))


def routes(storage: Storage, folder: Path = FOLDER) -> FastAPI:
    """Return the app without access control and security headers.

    Args:
        storage: where the page reads.
        folder: of the page's static files.
    """
    app = FastAPI(
        title="Imagen", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    _add_static_files(app, load_static_files(folder))
    _add_panels(app, storage, SharedReads(ANSWER_TIMEOUT_S))
    _add_actions(app)
    _add_images(app, storage)
    return app


def _add_static_files(app: FastAPI, static_files: Mapping[str, StaticFile]) -> None:
    def serve(request: Request, name: str) -> Response:
        file = static_files.get(name)
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


def _add_panels(app: FastAPI, storage: Storage, shared: SharedReads) -> None:
    async def health(show: Callable[[stream.Health], Any]) -> AsciiJson:
        answer = await shared.get("health", 10, lambda: stream.read_health(storage))
        return _panel(answer if answer.error else Answer(show(answer.data)))

    @app.get("/api/stream")
    async def stream_state() -> AsciiJson:
        return await health(lambda latest: stream.state(latest, datetime.now(UTC)))

    @app.get("/api/plots")
    async def plots() -> AsciiJson:
        return await health(stream.plots)

    @app.get("/api/images")
    async def newest_images(
        limit: Annotated[int, Query(ge=1, le=images.MAX_LIMIT)] = 48,
        before: Annotated[str | None, Query(pattern=images.CURSOR)] = None,
    ) -> AsciiJson:
        key = ("images", limit, before)
        return _panel(await shared.get(key, 5, lambda: images.read_images(storage, limit, before)))

    @app.get("/api/backfills")
    async def backfill_runs() -> AsciiJson:
        return _panel(await shared.get("backfills", 15, lambda: backfills.read_backfills(storage)))

    @app.get("/api/dead-letters")
    async def recent_dead_letters() -> AsciiJson:
        return _panel(
            await shared.get("dead-letters", 10, lambda: dead_letters.read_dead_letters(storage))
        )


def _add_actions(app: FastAPI) -> None:
    @app.get("/api/actions")
    async def allowed_actions(request: Request) -> AsciiJson:
        user = request.user

        def read() -> dict[str, Any]:
            dags = actions.actions(lambda dag_id: may_trigger(request, user, dag_id))
            return {"dags": dags, "user": user.get_name()}

        try:
            return _panel(Answer(await run_in_threadpool(read)))
        except Exception:
            _log.exception("Cannot read which DAGs %s may trigger", user.get_name())
            return _panel(
                Answer(
                    error="Airflow cannot tell which DAGs you may trigger. See the log of its API "
                    "server"
                )
            )


def _add_images(app: FastAPI, storage: Storage) -> None:
    # A few threads of their own: a page requests fifty images at once.
    threads = start_thread_pool(_IMAGE_THREADS, "imagen-ui-picture")

    @app.get("/images/{path:path}")
    async def image(request: Request, path: str) -> Response:
        media_type = images.media_type_of(path)
        if media_type is None or not _is_unescaped(request, path):
            return _not_found()
        headers = {"Cache-Control": _CACHE_FOREVER, "ETag": f'"{path.rpartition("/")[2]}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        reading = threads.submit(images.read_image, storage, path)
        try:
            # A time-out also takes the read out of the queue, if it has not started.
            file = await asyncio.wait_for(asyncio.wrap_future(reading), 2 * ANSWER_TIMEOUT_S)
        except ReadError as error:
            return AsciiJson({"detail": str(error)}, status_code=503)
        except TimeoutError:
            detail = f"Cloud Storage has not answered within {2 * ANSWER_TIMEOUT_S:g} s"
            return AsciiJson({"detail": detail}, status_code=503)
        if file is None:
            return _not_found()
        return _stream_file(file, media_type, headers)


def _is_unescaped(request: Request, path: str) -> bool:
    """Tell whether the request's path has no escapes, which the names of images never need."""
    raw: bytes = request.scope.get("raw_path") or b""
    return raw.partition(b"?")[0].endswith(f"/images/{path}".encode())


def _stream_file(file: IO[bytes], media_type: str, headers: Mapping[str, str]) -> Response:
    size = file.tell()
    file.seek(0)

    def chunks() -> Iterator[bytes]:
        with file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    with_length = {**headers, "Content-Length": str(size)}
    return StreamingResponse(chunks(), media_type=media_type, headers=with_length)


def _panel(answer: Answer) -> AsciiJson:
    now = datetime.now(UTC).isoformat()
    return AsciiJson({"at": now, "data": answer.data, "error": answer.error})


def _not_found() -> AsciiJson:
    return AsciiJson({"detail": "not found"}, status_code=404)
