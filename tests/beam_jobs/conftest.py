"""Prompts, sessions and small servers for the tests of the job's modules."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from beam_jobs.prompts import Prompt, PromptDefaults, parse

GEMINI = "gemini-3.1-flash-image"


@pytest.fixture
def prompt_of() -> Callable[..., Prompt]:
    """Make a checked prompt of fields, by way of `parse`."""

    def make(text: str, *, model: str = GEMINI, origin: str = "message-1", **fields: Any) -> Prompt:
        defaults = PromptDefaults(model=model, allowed_models=frozenset({model}))
        body = json.dumps({"prompt": text, **fields}).encode()
        prompt = parse(body, {"team": "ads"}, origin=origin, defaults=defaults)
        assert isinstance(prompt, Prompt), prompt
        return prompt

    return make


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Callable[[Handler | web.Application], Awaitable[str]]]:
    """Start a server, of an app or of one handler for every request, and return its URL."""
    runners: list[web.AppRunner] = []

    async def start(what: Handler | web.Application) -> str:
        app = what
        if not isinstance(app, web.Application):
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", what)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return site.name

    yield start
    for runner in runners:
        await runner.cleanup()
