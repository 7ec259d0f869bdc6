"""Cloud Storage as one service account sees it: what `composer.tf` does not grant is refused.

A proxy before the stand-in, which itself refuses nothing.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy
from yarl import URL

from localcloud.storage.calls import decode_path, decode_query
from tests.grants import Needed, is_granted, needs

# Of one connection each.
_NOT_FORWARDED = {"transfer-encoding", "content-length", "connection"}


class GuardedStorage:
    """What was asked of the proxy.

    Attributes:
        url: where it answers.
        asked: how often each permission was needed, by its name and the object's top folder.
        refused: what was needed and is not granted.
        strict: whether an object that exists is answered with 403 instead of 412. Which of them
            Cloud Storage answers to who may not replace it is not documented.
    """

    def __init__(self, who: str, upstream: str, folder: str) -> None:
        self.url = ""
        self.asked: Counter[tuple[str, str]] = Counter()
        self.refused: list[str] = []
        self.strict = False
        self._who, self._upstream, self._folder = who, upstream, folder

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            all_needed = self._needed(request, body)
        except LookupError as error:
            self.refused.append(f"a request that tests/grants.py does not know: {error}")
            return web.Response(status=501)
        for needed in all_needed:
            self.asked[needed.permission, _folder(needed.name)] += 1
            if not is_granted(self._who, needed):
                self.refused.append(f"{needed.permission} on {needed.name!r}")
                return _forbidden(needed)
        answer = await self._forward(request, body)
        if self.strict and answer.status == 412:
            name = all_needed[0].name
            return _forbidden(Needed("storage.objects.delete", name))
        return answer

    def _needed(self, request: web.Request, body: bytes) -> list[Needed]:
        url = request.rel_url
        path, query = decode_path(url.raw_path), decode_query(url.raw_query_string)
        found = []
        for each in needs(request.method, path, query, body):
            name = each.name
            if each.permission != "storage.buckets.get" and self._folder:
                # A test's own folder stands for the bucket. What is outside is nobody's.
                inside = name.startswith(self._folder)
                name = name.removeprefix(self._folder) if inside else f"outside/{name}"
            found.append(Needed(each.permission, name))
        return found

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        session: aiohttp.ClientSession = request.app[_SESSION]
        async with session.request(
            request.method,
            URL(f"{self._upstream}{request.raw_path}", encoded=True),
            data=body,
            headers=_forwarded(request.headers),
            allow_redirects=False,
        ) as answer:
            content, headers = await answer.read(), _forwarded(answer.headers)
            return web.Response(status=answer.status, body=content, headers=headers)


_SESSION = web.AppKey("session", aiohttp.ClientSession)


@contextmanager
def guarded(who: str, upstream: str, *, folder: str = "") -> Iterator[GuardedStorage]:
    """Yield a proxy that refuses what `composer.tf` does not grant, with 403.

    Args:
        who: whose requests they are, `composer` or `worker`.
        upstream: the stand-in's URL, without a slash at the end.
        folder: stands for the bucket's root; with a slash at its end, or empty.
    """
    storage = GuardedStorage(who, upstream, folder)
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", storage.handle)
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            app[_SESSION] = session
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            storage.url = site.name
            started.set()
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(30), "the proxy did not start within 30 s"
    try:
        yield storage
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


def _forwarded(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_FORWARDED}


def _folder(name: str) -> str:
    """Return the folder of a name: its first part, and of images the second too if it is a word."""
    first, _, rest = name.partition("/")
    second = rest.partition("/")[0]
    return f"{first}/{second}" if first == "images" and len(second) > 2 else first


def _forbidden(needed: Needed) -> web.Response:
    """Return the answer of https://cloud.google.com/storage/docs/json_api/v1/status-codes."""
    message = f"The caller does not have {needed.permission} access to {needed.name}."
    reason = {"message": message, "domain": "global", "reason": "forbidden"}
    error = {"code": 403, "message": message, "errors": [reason]}
    return web.json_response({"error": error}, status=403)
