"""The example of docs/custom-functions.md: it works, and the page shows what it is."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from google.auth.credentials import AnonymousCredentials
from PIL import Image

from beam_jobs.custom.function import CustomFunction, Refusal
from beam_jobs.custom.postprocess import Postprocess
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import Prompt, parse
from custom import example
from localcloud.http import HttpServer
from tests.docs.markdown import blocks
from tests.pictures import encoded

DEFAULTS = PromptDefaults("gemini-3.1-flash-image", frozenset({"gemini-3.1-flash-image"}))
PAGE = (Path(__file__).parents[2] / "docs" / "custom-functions.md").read_text(encoding="utf-8")


def prompt(text: str, **attributes: str) -> Prompt:
    found = parse(text.encode(), attributes, origin="m", defaults=DEFAULTS)
    assert isinstance(found, Prompt)
    return found


Asked = list[tuple[str, dict[str, Any]]]


@pytest_asyncio.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    """What Cloud Translation is asked, which answers as its reference says.

    https://cloud.google.com/translate/docs/reference/rest/v3/projects/translateText: contents and
    translations are lists in the same order.
    """
    requests: Asked = []

    async def translate(request: web.Request) -> web.Response:
        body = await request.json()
        requests.append((request.path, body))
        translations = [{"translatedText": f"{text} in English"} for text in body["contents"]]
        return web.json_response({"translations": translations})

    app = web.Application()
    app.router.add_post("/v3/projects/{project}:translateText", translate)
    example._session.cache_clear()
    monkeypatch.setattr(
        "google.auth.default", lambda scopes: (AnonymousCredentials(), "demo-project")
    )
    server = HttpServer(app)
    port = await server.start()
    monkeypatch.setattr(example, "HOST", f"http://127.0.0.1:{port}")
    yield requests
    await server.stop()
    example._session.cache_clear()


@pytest.mark.asyncio
async def test_a_prompt_is_translated_and_enriched(asked: Asked):
    made = await asyncio.to_thread(example.prepare, prompt("Ein Fuchs", language="de"))
    assert isinstance(made, Prompt)
    assert made.text == f"Ein Fuchs in English\n{example.STYLE}"
    ((path, body),) = asked
    assert path == "/v3/projects/demo-project:translateText"
    assert (body["sourceLanguageCode"], body["targetLanguageCode"]) == ("de", "en")


@pytest.mark.asyncio
async def test_a_prompt_in_english_is_sent_nowhere(asked: Asked):
    made = await asyncio.to_thread(example.prepare, prompt("A fox"))
    assert isinstance(made, Prompt)
    assert made.text == f"A fox\n{example.STYLE}"
    assert asked == []


def test_a_competitor_is_refused_by_name():
    assert example.prepare(prompt("A van of ACME")) == Refusal("names a competitor, ACME")
    assert isinstance(example.prepare(prompt("The acmeist poets")), Prompt)


def test_an_image_becomes_webp_and_the_job_takes_it():
    function = CustomFunction.named("--postprocess", "custom.example:compress")
    made = Postprocess(function).image(encoded("PNG"))
    assert not isinstance(made, Refusal)
    assert (made.extension, made.mime_type) == ("webp", "image/webp")
    assert Image.open(io.BytesIO(made.data)).size == (64, 48)


def test_the_page_shows_the_code_of_the_example():
    source = Path(str(example.__file__)).read_text(encoding="utf-8")
    (shown,) = blocks(PAGE, "python")
    assert [line for line in shown.splitlines() if line not in source.splitlines()] == []
