"""The HTTP interface of the object store: routes requests to their handlers.

Paths are parsed here instead of by aiohttp's router, because percent-encoded object names can
contain anything. A look-up also costs only a tenth.
"""

import asyncio
import dataclasses
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from localcloud.storage import errors, json_api, signed_urls
from localcloud.storage.batch import handle_batch
from localcloud.storage.behaviour import Behaviour
from localcloud.storage.calls import Call, Reply, decode_path, decode_query, refusal
from localcloud.storage.downloading import Downloads, media_refusal
from localcloud.storage.store import ObjectStore
from localcloud.storage.uploading import Uploads
from localcloud.tunable_settings import add_settings_routes

_log = logging.getLogger(__name__)

Faults = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Called before each request. A returned response replaces the real one; None changes nothing. The
function can also wait, to add latency, or close `request.transport`, to lose the connection."""

_JSON = "application/json; charset=UTF-8"
_THREADS = 4
_MAX_JSON_BYTES = 16 * 1024 * 1024
"""Maximum size of metadata and batches, which are read as a whole. Contents are streamed and have
no maximum."""


def storage_app(
    store: ObjectStore,
    *,
    faults: Faults | None = None,
    seed: int | None = None,
    is_signed: signed_urls.Check | None = None,
) -> web.Application:
    """Return an app that serves Cloud Storage's JSON API over `store`.

    It serves `/storage/v1`, `/upload`, `/download`, `/batch`, and `GET /BUCKET/OBJECT` for
    browsers. Beyond Google's routes, `GET /localcloud` returns counts and settings, and a PATCH of
    it with a JSON object changes settings.

    Args:
        store: the objects; the caller closes it.
        faults: called before each request; for tests.
        seed: makes injected faults repeatable.
        is_signed: checks signed URLs; None: they are served like others.
    """
    behaviour = Behaviour(seed=seed)
    service = _Service(store, faults, behaviour, is_signed)
    app = web.Application(client_max_size=_MAX_JSON_BYTES)
    # This path is never an object's: those consist of a bucket and a name.
    add_settings_routes(app, behaviour.settings, lambda: dataclasses.asdict(behaviour.counts))
    app.router.add_route("*", "/{path:.*}", service.handle)
    app.on_shutdown.append(behaviour.close)
    app.on_cleanup.append(service.cleanup)
    return app


class _Service:
    def __init__(
        self,
        store: ObjectStore,
        faults: Faults | None,
        behaviour: Behaviour,
        is_signed: signed_urls.Check | None,
    ) -> None:
        self._store = store
        self._is_signed = is_signed
        self._faults = faults
        self._behaviour = behaviour
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")
        self._uploads = Uploads(store, self._executor, behaviour.settings)
        self._downloads = Downloads(store, self._executor)

    async def cleanup(self, app: web.Application) -> None:
        self._executor.shutdown()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self._faults is not None:
            fault = await self._faults(request)
            if fault is not None:
                return fault
        try:
            await self._behaviour.inject_faults(request)
            return await self._dispatch(request)
        except signed_urls.SignedUrlError as error:
            return error.response()
        except errors.StorageError as error:
            return _respond(refusal(error))
        except (ConnectionError, web.RequestPayloadError) as error:
            # The client is gone and never reads this. It only keeps the error out of the log.
            return _respond(refusal(errors.invalid(f"The request broke off: {error}")))
        except (OSError, sqlite3.Error) as error:
            _log.error("%s %s failed: %s", request.method, request.path, error)
            return _respond(refusal(errors.state_folder_fails(error)))

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        url = request.rel_url
        query = decode_query(url.raw_query_string)
        base_url = f"{request.scheme}://{request.host}"
        match decode_path(url.raw_path):
            case ["storage", "v1", "b", bucket, "iam", "testPermissions"] if (
                request.method == "GET"
            ):
                self._store.bucket(bucket)
                # Nothing here is refused to anybody.
                allowed = url.query.getall("permissions", [])
                kind = "storage#testIamPermissionsResponse"
                return _respond(Reply(body={"kind": kind, "permissions": allowed}))
            case ["storage", "v1", "b", *rest] as path:
                if len(rest) == 3 and query.get("alt") == "media" and request.method != "DELETE":
                    return await self._download(request, rest, query)
                call = Call(request.method, path, query, base_url, await request.read())
                if json_api.is_slow(call):
                    loop = asyncio.get_running_loop()
                    handle = json_api.handle
                    return _respond(
                        await loop.run_in_executor(self._executor, handle, self._store, call)
                    )
                return _respond(json_api.handle(self._store, call))
            case ["upload", "storage", "v1", "b", _, "o"] as path:
                call = Call(request.method, path, query, base_url)
                return _respond(await self._uploads.handle(request, call))
            case ["download", "storage", "v1", "b", *rest] if len(rest) == 3:
                return await self._download(request, rest, query)
            case ["batch", *_] if request.method == "POST":
                return await self._batch(request, base_url)
            case [bucket, name, *more] if bucket and request.method in ("GET", "HEAD"):
                if self._is_signed is not None:
                    signed_urls.check(request, self._is_signed)
                target = [bucket, "o", "/".join([name, *more])]
                return await self._download(request, target, query, xml=True)
        raise errors.no_such_method(request.method, url.raw_path)

    async def _download(
        self,
        request: web.Request,
        target: list[str],
        query: dict[str, str],
        *,
        xml: bool = False,
    ) -> web.StreamResponse:
        bucket, collection, name = target
        try:
            if collection != "o" or request.method not in ("GET", "HEAD"):
                raise errors.no_such_method(request.method, request.rel_url.raw_path)
            return await self._downloads.handle(request, bucket, name, query, xml=xml)
        except errors.StorageError as error:
            return media_refusal(error)

    async def _batch(self, request: web.Request, base_url: str) -> web.StreamResponse:
        body = await request.read()
        content_type = request.headers.get("Content-Type", "")
        loop = asyncio.get_running_loop()
        kind, answer = await loop.run_in_executor(
            self._executor, handle_batch, content_type, body, base_url, self._answer
        )
        return web.Response(body=answer, headers={"Content-Type": kind})

    def _answer(self, call: Call) -> Reply:
        if list(call.path[:3]) != ["storage", "v1", "b"] or call.query.get("alt") == "media":
            raise errors.no_such_method(call.method, "/" + "/".join(call.path) + " in a batch")
        return json_api.handle(self._store, call)


def _respond(reply: Reply) -> web.Response:
    headers = dict(reply.headers)
    if reply.body is not None:
        headers["Content-Type"] = _JSON
    return web.Response(status=reply.status, body=reply.payload(), headers=headers)
