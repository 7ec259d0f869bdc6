"""The stand-in's models: what it refuses, what it bills, and what happens when one is retired."""

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer

from beam_jobs.catalog import CATALOG
from localcloud.vertex import Behaviour, Settings, vertex_app

FLASH, NEW, LITE = (
    "gemini-3.1-flash-image",
    "gemini-nano-banana-2.1",
    "gemini-3.1-flash-lite-image",
)
PATH = "/v1beta1/projects/p/locations/{}/publishers/google/models/{}:generateContent"
TIER = "X-Vertex-AI-LLM-Shared-Request-Type"


def draw(model=NEW, text="A fox", *, location="global", tier=None, settings=None, **config):
    """Ask for one picture; return the status, the answer, and what has been billed in USD."""

    async def run():
        behaviour = Behaviour(Settings(latency_s=0.0, canned_bytes=2000, **(settings or {})))
        headers = {"Authorization": "Bearer x"} | ({TIER: tier} if tier else {})
        body = {"contents": [{"parts": [{"text": text}]}], "generationConfig": config}
        async with TestClient(TestServer(vertex_app(behaviour))) as client:
            path = PATH.format(location, model)
            async with client.post(path, json=body, headers=headers) as response:
                answer = await response.json()
            # Also what the model does not take, but not what is no request for a picture.
            assert behaviour.counts.calls == (response.status != 400)
            async with client.get("/localcloud") as counts:
                billed = (await counts.json())["counts"]["billed_usd"]
        return response.status, answer, billed

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (NEW, {"imageConfig": {"imageSize": "512"}}),
        (LITE, {"imageConfig": {"imageSize": "2K"}}),
        (LITE, {"imageConfig": {"aspectRatio": "1:8"}}),
        ("gemini-2.5-flash-image", {"thinkingConfig": {"thinkingLevel": "HIGH"}}),
        (FLASH, {"thinkingConfig": {"thinkingLevel": "MEDIUM"}}),
    ],
)
def test_what_a_model_does_not_make_is_refused_and_not_billed(model, config):
    status, answer, billed = draw(model, **config)
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert billed == 0


@pytest.mark.parametrize("model", sorted(CATALOG))
def test_everything_that_a_row_lists_is_made(model):
    row = CATALOG[model]
    for size in row.image_tokens:
        assert draw(model, imageConfig={"imageSize": size})[0] == 200
    for ratio in row.aspect_ratios:
        assert draw(model, imageConfig={"aspectRatio": ratio})[0] == 200
    for level in row.thinking_levels:
        assert draw(model, thinkingConfig={"thinkingLevel": level.upper()})[0] == 200
    for tier in row.tiers:
        assert draw(model, tier=tier)[0] == 200


def test_an_answer_states_its_tokens_tier_and_model_and_that_is_billed():
    status, answer, billed = draw(
        FLASH,
        "a red fox",
        tier="flex",
        imageConfig={"imageSize": "4K"},
        thinkingConfig={"thinkingLevel": "HIGH"},
    )
    usage = answer["usageMetadata"]
    assert (status, answer["modelVersion"], usage["trafficType"]) == (200, FLASH, "ON_DEMAND_FLEX")
    assert usage["promptTokenCount"] == 3
    assert usage["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 2520}]
    dollars = (3 * 0.5 + usage["thoughtsTokenCount"] * 3 + 2520 * 60) * 0.5 / 1e6
    assert billed == pytest.approx(dollars)


@pytest.mark.parametrize("fault", ["blocked", "blocked-image", "empty"])
def test_an_answer_without_a_picture_is_billed_for_its_words(fault):
    status, answer, billed = draw(text=f"fault:{fault}")
    assert status == 200
    assert "IMAGE" not in str(answer["usageMetadata"])
    assert 0 < billed < 0.01


def test_flex_is_there_at_the_global_location_alone():
    assert draw(tier="flex")[0] == 200
    assert draw(tier="flex", location="eu")[0] == 400
    assert draw(tier="turbo")[0] == 400


def test_a_retired_model_is_not_found_or_answered_by_its_successor():
    retired = {"retired_models": f"other, {FLASH}"}
    status, answer, billed = draw(FLASH, settings=retired)
    assert (status, answer["error"]["status"], billed) == (404, "NOT_FOUND", 0)
    status, answer, _ = draw(FLASH, settings={**retired, "successors_answer": True})
    assert (status, answer["modelVersion"]) == (200, NEW)
    assert draw(NEW, settings=retired)[0] == 200


def test_a_forbidden_model_is_denied():
    status, answer, _ = draw(settings={"forbidden_models": NEW})
    assert (status, answer["error"]["status"]) == (403, "PERMISSION_DENIED")
