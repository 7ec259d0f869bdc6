"""A server with the page's own files and headers, and panels made up by the test.

Tests of layout and states need no Airflow. They need every answer that a panel can give.
"""

import asyncio
import json
import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from imagen_ops.ui.headers import HEADERS
from imagen_ops.ui.static_files import PAGE, load_static_files
from tests.ui import samples

# The iframe in which Airflow 3.3 shows an external view: links may not leave it or open tabs.
AROUND = """<!doctype html><html lang="en" class="light"><title>Airflow</title>
<link rel="icon" href="data:,">
<iframe sandbox="allow-scripts allow-same-origin allow-forms" src="/imagen/" title="Imagen"
style="width:100%;height:95vh;border:0"></iframe></html>"""


class Site:
    """A server that answers from its attributes, which a test may change between two requests."""

    def __init__(self, picture: bytes) -> None:
        self.picture = picture
        self.files = load_static_files()
        self.url = ""
        self.reset()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def reset(self) -> None:
        """Return to a stream under load, with everything readable."""
        self.now: datetime = samples.NOW
        self.images = samples.images(9)
        self.data: dict[str, Any] = {
            "stream": samples.stream(),
            "actions": samples.actions(),
            "plots": {"hours": 24, "points": samples.points()},
            "money": samples.money(),
            "backfills": {"runs": samples.backfills()},
            "dead-letters": samples.dead_letters(),
            "done": {"runs": samples.done()},
        }
        self.problem = ""
        self.searched: dict[str, Any] = {
            "prompts": 20_000,
            "since": samples.iso(days=30),
            "complete": True,
            "error": None,
        }
        self.searches: list[dict[str, str]] = []
        self.records: dict[str, dict[str, Any]] = {}
        self.letters = samples.letters()
        self.errors: dict[str, str] = {}
        self.causes: dict[str, str] = {}
        self.statuses: dict[str, int] = {}
        self.raw: dict[str, str] = {}
        self.missing: set[str] = set()
        self.held: dict[str, threading.Event] = {}
        self.requests: Counter[str] = Counter()
        self.pictures: set[str] = set()

    def empty(self) -> None:
        """Answer as if nothing has happened yet."""
        self.images = []
        self.data = {
            "stream": None,
            "actions": samples.actions(),
            "plots": {"hours": 24, "points": []},
            "money": samples.money(nothing=True),
            "backfills": {"runs": []},
            "dead-letters": {"waiting": None, "hours": 24, "by_reason": [], "replays": []},
            "done": {"runs": []},
        }

    def fail(self, *panels: str) -> None:
        """Let these panels answer with an error of storage."""
        for panel in panels:
            self.errors[panel] = (
                f"could not read gs://demo-project-imagen/records for {panel}: 503 Service "
                "Unavailable. Check the bucket, and the roles of Airflow's service account"
            )

    def later(self, **by: float) -> None:
        """Move the server's clock forward."""
        self.now += timedelta(**by)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._around)
        app.router.add_get("/imagen/", self._page)
        app.router.add_get("/imagen/assets/{name}", self._asset)
        app.router.add_get("/imagen/api/{panel:.+}", self._panel)
        app.router.add_get("/imagen/{folder:images|thumbnails}/{path:.+}", self._image)
        app.router.add_get("/{elsewhere:(dags|api)/.+}", self._elsewhere)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _around(self, request: web.Request) -> web.Response:
        return web.Response(text=AROUND, content_type="text/html")

    async def _elsewhere(self, request: web.Request) -> web.Response:
        return web.Response(
            text="<title>elsewhere</title><link rel=icon href=data:,>", content_type="text/html"
        )

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return self._file(PAGE)

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        return self._file(request.match_info["name"])

    def _file(self, name: str) -> web.Response:
        if name not in self.files:
            raise web.HTTPNotFound
        file = self.files[name]
        headers = {**HEADERS, "Cache-Control": "no-cache", "Content-Type": file.media_type}
        return web.Response(body=file.content, headers=headers)

    async def _image(self, request: web.Request) -> web.Response:
        self.pictures.add("{folder}/{path}".format_map(request.match_info))
        if request.match_info["path"] in self.missing:
            raise web.HTTPNotFound
        headers = {**HEADERS, "Cache-Control": "private, no-cache"}
        return web.Response(body=self.picture, content_type="image/png", headers=headers)

    async def _panel(self, request: web.Request) -> web.Response:
        panel = request.match_info["panel"]
        self.requests[panel] += 1
        headers = {**HEADERS, "Cache-Control": "no-store"}
        held = self.held.get("more" if "before" in request.query else panel)
        if held:
            await asyncio.to_thread(held.wait, 120)
        if status := self.statuses.get(panel):
            more = {302: {"Location": "/api/v2/auth/login"}, 503: {"Retry-After": "3"}}
            return web.Response(status=status, headers={**headers, **more.get(status, {})})
        if panel in self.raw:
            return web.Response(text=self.raw[panel], headers=headers)
        error = self.errors.get(panel)
        own = {
            "images": self._images,
            "search": self._found,
            "record": self._record,
            "dead-letters/list": self._letters,
            "plots": self._plots,
        }
        data = own[panel](request) if panel in own else self.data[panel]
        body = {"at": self.now.isoformat(), "data": None if error else data, "error": error}
        body["cause"] = self.causes.get(panel)
        return web.json_response(body, headers=headers)

    def _record(self, request: web.Request) -> dict[str, Any]:
        missing = {"path": "gs://b/r", "problem": "Gone."}
        return self.records.get(request.query["digest"], missing)

    def _found(self, request: web.Request) -> dict[str, Any]:
        """Find images by the words of their prompts alone. The server's own search has tests."""
        self.searches.append(dict(request.query))
        if self.problem:
            return {"problem": self.problem, "images": [], "next": None}
        words = request.query.get("q", "").lower().split()
        found = [
            image for image in self.images if all(word in image["prompt"].lower() for word in words)
        ]
        start, limit = int(request.query.get("before", "0")), int(request.query["limit"])
        more = start + limit < len(found)
        return {
            "problem": None,
            "images": found[start : start + limit],
            "next": str(start + limit) if more else None,
            "found": {"prompts": len(found), "images": len(found)},
            "searched": self.searched,
            "choices": {"models": ["gemini-3-pro-image"], "sources": ["backfill", "stream"]},
        }

    def _images(self, request: web.Request) -> dict[str, Any]:
        limit = int(request.query["limit"])
        # Like any opaque cursor, with characters that an address has to escape.
        start = 0
        if before := request.query.get("before"):
            known = [f"after&{image['path']}" for image in self.images]
            start = known.index(before) + 1
        page = self.images[start : start + limit]
        more = start + limit < len(self.images)
        return {"images": page, "next": f"after&{page[-1]['path']}" if more else None}

    def _letters(self, request: web.Request) -> dict[str, Any]:
        query = request.query
        chosen = [
            letter
            for letter in self.letters
            if query.get("reason") in (None, letter["reason"])
            and all(word in json.dumps(letter) for word in query["words"].split())
        ]
        start = int(query.get("before", "0&").removesuffix("&"))
        page, more = chosen[start : start + 5], len(chosen) > start + 5
        until = page[-1]["at"] if more else None
        return {"letters": page, "next": f"{start + 5}&" if more else None, "until": until}

    def _plots(self, request: web.Request) -> dict[str, Any]:
        data, query = self.data["plots"], request.query
        hours = float(query.get("hours", 24)) if data["hours"] == 24 else data["hours"]
        start = query.get("from") or (self.now - timedelta(hours=hours)).isoformat()
        whole = {"each": 1, "limits": {}, "marks": [], **data}
        return {**whole, "from": start, "to": query.get("to") or self.now.isoformat()}
