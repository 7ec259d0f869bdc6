"""The routes of images: lists and searches of them, their costs, records, references and files."""

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import IO, Annotated

from fastapi import Depends, FastAPI, Query, Request, Response

from imagen_ops.ui.panels import images, money, record, references, search
from imagen_ops.ui.responses import AsciiJson, ImageResponse, not_found, panel, while_connected
from imagen_ops.ui.sharing import (
    CHOSEN_ANSWERS,
    CHOSEN_CACHED_CHARACTERS,
    CHOSEN_PLACES,
    PANEL_PLACES,
    Answer,
    ReadError,
    SharedReads,
)
from imagen_ops.ui.storage import Storage
from imagen_ops.ui.turns import Busy, Turns

# A browser may ask for a page of images at once. An image has its place until it has been sent, so
# that at most this many wait on disk, each of `MAX_IMAGE_BYTES` at most.
IMAGE_PLACES = {"threads": 12, "user_threads": 4, "waiting": 512, "user_waiting": 128}
# Searches: SQLite works outside of Python's lock, but on the machine's cores.
_SEARCH_PLACES = {"threads": 2, "user_threads": 1, "waiting": 64, "user_waiting": 8}
_MONEY_PLACES = {"threads": 1, "user_threads": 1, "waiting": 4, "user_waiting": 4}
# An image's name is a digest of everything that decides the image, so a browser may keep it. It
# asks each time whether it still may show it: then an image ends with the login.
_CACHE_WHILE_LOGGED_IN = "private, no-cache"

_Read = Callable[[Storage, str], tuple[IO[bytes], str] | None]


def add_image_routes(app: FastAPI, storage: Storage, timeout_s: float) -> None:
    """Add the routes of images to the page's app.

    Args:
        app: the page's.
        storage: where the page reads.
        timeout_s: seconds after which a request gives up waiting for an answer.
    """
    searching = search.Search(storage)
    _add_lists_of_images(app, storage, timeout_s)
    _add_search(app, searching, timeout_s)
    _add_money(app, money.Money(storage, searching.index, searching.reader), timeout_s)
    _add_records(app, storage, timeout_s)
    _add_images(app, storage, timeout_s)


def _add_lists_of_images(app: FastAPI, storage: Storage, timeout_s: float) -> None:
    newest = SharedReads(timeout_s, Turns("imagen-ui-newest", **PANEL_PLACES))
    # Users choose these, so they have threads and caches of their own.
    older = SharedReads(
        timeout_s, Turns("imagen-ui-older", **CHOSEN_PLACES), answers=CHOSEN_ANSWERS
    )
    apart = storage.apart(
        reads=CHOSEN_PLACES["threads"], cached_characters=CHOSEN_CACHED_CHARACTERS
    )

    @app.get("/api/images")
    async def list_of_images(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=images.MAX_LIMIT)] = 48,
        before: Annotated[str | None, Query(pattern=images.CURSOR)] = None,
    ) -> AsciiJson:
        if before is None:
            size = images.newest_limit(limit)
            read = functools.partial(images.read_images, storage, size)
            reading = newest.get(size, 5, read)
        else:
            read = functools.partial(images.read_images, apart, limit, before)
            reading = older.get((limit, before), 5, read, request.user.get_id())
        answer = await while_connected(request, reading)
        return panel(answer if answer.error else Answer(answer.data.first(limit)))


def _add_records(app: FastAPI, storage: Storage, timeout_s: float) -> None:
    shared = SharedReads(
        timeout_s, Turns("imagen-ui-record", **CHOSEN_PLACES), answers=CHOSEN_ANSWERS
    )

    @app.get("/api/record")
    async def prompt_record(
        request: Request, digest: Annotated[str, Query(pattern=record.DIGEST)]
    ) -> AsciiJson:
        read = functools.partial(record.read_record, storage, digest)
        reading = shared.get(digest, 5, read, request.user.get_id())
        return panel(await while_connected(request, reading))


def _add_search(app: FastAPI, searching: search.Search, timeout_s: float) -> None:
    shared = SharedReads(
        timeout_s, Turns("imagen-ui-find", **_SEARCH_PLACES), answers=CHOSEN_ANSWERS
    )

    @app.get("/api/search")
    async def found_images(
        request: Request,
        asked: Annotated[search.Asked, Depends()],
        limit: Annotated[int, Query(ge=1, le=search.MAX_LIMIT)] = 48,
        before: Annotated[str | None, Query(pattern=search.CURSOR)] = None,
    ) -> AsciiJson:
        read = functools.partial(searching.answer, asked, limit, before)
        reading = shared.get((asked, limit, before), 5, read, request.user.get_id())
        return panel(await while_connected(request, reading))


def _add_money(app: FastAPI, spending: money.Money, timeout_s: float) -> None:
    # It may wait for the index, and no other panel should.
    shared = SharedReads(timeout_s, Turns("imagen-ui-money", **_MONEY_PLACES))

    @app.get("/api/money")
    async def money_and_volume(request: Request) -> AsciiJson:
        return panel(await while_connected(request, shared.get("money", 15, spending.read)))


def _add_images(app: FastAPI, storage: Storage, timeout_s: float) -> None:
    turns = Turns("imagen-ui-picture", **IMAGE_PLACES)

    async def answer(request: Request, path: str, read: _Read) -> Response:
        if images.media_type_of(path) is None or not _is_unescaped(request, path):
            return not_found()
        headers = {"Cache-Control": _CACHE_WHILE_LOGGED_IN, "ETag": f'"{path.rpartition("/")[2]}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return await send(request, path, read, headers)

    async def send(
        request: Request, path: str, read: _Read, headers: Mapping[str, str]
    ) -> Response:
        place = turns.take(request.user.get_id(), functools.partial(read, storage, path), held=True)
        response: Response | None = None
        try:
            reading = asyncio.wait_for(asyncio.wrap_future(place.future), 2 * timeout_s)
            found = await while_connected(request, reading)
            if found is None:
                return not_found()
            file, media_type = found
            response = ImageResponse(file, media_type, headers, ended=place.leave)
            return response
        except ReadError as error:
            return AsciiJson({"detail": str(error)}, status_code=503)
        except TimeoutError:
            raise Busy.after(2 * timeout_s) from None
        finally:
            if response is None:
                place.leave()

    @app.get("/images/{path:path}")
    async def image(request: Request, path: str) -> Response:
        return await answer(request, path, images.read_image)

    @app.get("/thumbnails/{path:path}")
    async def thumbnail(request: Request, path: str) -> Response:
        return await answer(request, path, images.read_thumbnail)

    @app.get("/references/{path:path}")
    async def reference(request: Request, path: str) -> Response:
        if not references.is_served(path) or not _is_unescaped(request, path):
            return not_found()
        # Another picture can be under the same name a moment later, so no browser keeps it.
        return await send(request, path, references.read_reference, {"Cache-Control": "no-store"})


def _is_unescaped(request: Request, path: str) -> bool:
    """Tell whether the request's path has no escapes, which the names served here never need."""
    raw: bytes = request.scope.get("raw_path") or b""
    folders = (b"/images/", b"/thumbnails/", b"/references/")
    return raw.partition(b"?")[0].endswith(tuple(folder + path.encode() for folder in folders))
