"""What prompts cost by their outcomes is what the service bills."""

import asyncio
import itertools

import pytest
from aiohttp.test_utils import TestServer

from beam_jobs.catalog import Tier
from beam_jobs.engine.budget import Purse
from beam_jobs.engine.finished import Finished
from beam_jobs.engine.generate import ImageGenerator
from beam_jobs.engine.hold import Gates
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.images.location import Location
from beam_jobs.images.store import ImageStore
from beam_jobs.models.answer_memory import AnswerSlots
from beam_jobs.models.gemini import GeminiModel
from beam_jobs.outcomes import Failure, Prediction
from localcloud.vertex import Behaviour, Settings, vertex_app

MODELS = ("gemini-nano-banana-2.1", "gemini-3.1-flash-image", "gemini-3-pro-image")
TEXTS = (
    "a fox",
    "a hare fault:empty-once",
    "a bear fault:blocked",
    "an elk fault:blocked-image",
    "an owl fault:unavailable-once",
    "a newt fault:quota-once",
    "a mole fault:empty",
)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_the_sum_over_outcomes_is_the_ledger(lane, session, prompt_of, monkeypatch):
    behaviour = Behaviour(Settings(latency_s=0.0, canned_bytes=2000), seed=1)
    service = TestServer(vertex_app(behaviour))
    await service.start_server()
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", str(service.make_url("/")))
    models = {
        (name, flex): GeminiModel(
            session,
            model=name,
            project="p",
            location="global",
            timeout_s=60,
            tier=Tier.FLEX if flex else Tier.STANDARD,
        )
        for name in MODELS
        for flex in (False, True)
    }
    prompts = [
        (
            flex,
            prompt_of(
                f"{text} number {number}",
                model=model,
                images=1 + number % 3,
                image_size=size,
                **({"thinking_level": "high"} if number % 2 and "pro" not in model else {}),
            ),
        )
        for number, (text, model, size, flex) in enumerate(
            itertools.product(TEXTS, MODELS, ("1K", "4K"), (False, True))
        )
    ]

    def generator(flex):
        return ImageGenerator(
            model_of=lambda name: models[name, flex],
            store=ImageStore(session, Location.parse(lane.images_location)),
            limiter=AdaptiveLimiter(16),
            answer_slots=AnswerSlots(16),
            max_in_flight=16,
            max_retry_s=60.0,
            purse=Purse((), None),
            finished=Finished(0),
            source="stream",
            gates=Gates(),
        )

    generators = {flex: generator(flex) for flex in (False, True)}
    outcomes = await asyncio.gather(*(generators[flex].outcome(prompt) for flex, prompt in prompts))
    assert {type(outcome) for outcome in outcomes} == {Prediction, Failure}
    assert not any(outcome.work.unpriced_calls for outcome in outcomes)
    async with session.get(service.make_url("/localcloud")) as response:
        counts = (await response.json())["counts"]
    await service.close()
    assert counts["images"] > 50
    total = sum(outcome.work.cost_usd for outcome in outcomes)
    assert total == pytest.approx(counts["billed_usd"], abs=1e-9)
