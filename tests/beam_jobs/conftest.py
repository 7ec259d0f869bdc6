"""Prompts, sessions and small servers for the tests of the job's modules."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from beam_jobs.models.answer_memory import SlottedResponse
from beam_jobs.models.predict import PredictModel, base_url_from_environment
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import Prompt, parse
from tests.conftest import BUCKET

GEMINI = "gemini-3.1-flash-image"
ENDPOINT = "projects/demo-project/locations/us-central1/endpoints/1234"


@pytest.fixture
def prompt_of() -> Callable[..., Prompt]:
    """Return a function that parses fields into a prompt."""

    def make(text: str, *, model: str = GEMINI, origin: str = "message-1", **fields: Any) -> Prompt:
        defaults = PromptDefaults(
            model=model, allowed_models=frozenset({model}), reference_buckets=frozenset({BUCKET})
        )
        body = json.dumps({"prompt": text, **fields}).encode()
        prompt = parse(body, {"team": "ads"}, origin=origin, defaults=defaults)
        assert isinstance(prompt, Prompt), prompt
        return prompt

    return make


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(response_class=SlottedResponse) as session:
        yield session


@pytest.fixture
def predict_model(session: aiohttp.ClientSession) -> Callable[..., PredictModel]:
    """Return a function that creates `:predict` adapters, by default for one endpoint."""

    def make(base_url: str | None = None, **settings: Any) -> PredictModel:
        given = {"resource": ENDPOINT, "timeout_s": 60.0, **settings}
        return PredictModel(session, base_url=base_url or base_url_from_environment(), **given)

    return make


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Callable[[Handler | web.Application], Awaitable[str]]]:
    """Return a function that starts a server for an app or a handler, and returns its URL."""
    runners: list[web.AppRunner] = []

    async def start(what: Handler | web.Application) -> str:
        app = what
        if not isinstance(app, web.Application):
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", what)
        # An abandoned request must not delay the end of the test.
        runner = web.AppRunner(app, handler_cancellation=True)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return site.name

    yield start
    for runner in runners:
        await runner.cleanup()
