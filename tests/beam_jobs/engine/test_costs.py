"""What prompts cost by their outcomes is what the service bills."""

import asyncio
import itertools
import json

import pytest
from aiohttp.test_utils import TestServer

from beam_jobs.catalog import Tier
from beam_jobs.engine.finished import Finished
from beam_jobs.engine.generate import ImageGenerator
from beam_jobs.engine.hold import Gates
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.purse import Purse
from beam_jobs.engine.references import References
from beam_jobs.images.location import Location
from beam_jobs.images.receipt import payer_of
from beam_jobs.images.store import ImageStore
from beam_jobs.models.answer_memory import AnswerMemory
from beam_jobs.models.base import Answer, Image
from beam_jobs.models.bill import Bill
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
            answer_memory=AnswerMemory(),
            max_in_flight=16,
            max_retry_s=60.0,
            purse=Purse((), None),
            finished=Finished(0),
            source="stream",
            gates=Gates(),
            references=References(session),
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


class Dear:
    """A model whose calls cost 7 cents each."""

    images_per_call = 1

    async def generate(self, prompt, *, first, count):
        picture = Image(b"\x89PNG\r\n\x1a\n%d" % first, "png", "image/png")
        bill = Bill(usd=0.07, input_tokens=2, text_tokens=30, image_tokens=1120, tier=Tier.FLEX)
        return Answer([picture], bill)


@pytest.fixture
def worker(lane, session):
    """Return a function that makes what a new worker process has, around one storage."""

    def worker(run="stream", finished=0):
        return ImageGenerator(
            model_of=lambda name: Dear(),
            store=ImageStore(session, Location.parse(lane.images_location)),
            limiter=AdaptiveLimiter(16),
            answer_memory=AnswerMemory(),
            max_in_flight=16,
            max_retry_s=60.0,
            purse=Purse((), None),
            finished=Finished(finished),
            source=run,
            run=run,
            gates=Gates(),
            references=References(session),
        )

    return worker


@pytest.mark.asyncio
async def test_a_prompt_that_is_delivered_again_tells_what_it_paid_before(worker, prompt_of):
    """As after the death of a worker that had stored the images and published nothing."""
    prompt = prompt_of("a fox", images=2)
    first, again = [await worker().outcome(prompt) for _ in range(2)]
    # Nobody else has paid for them.
    assert (first.reused, again.reused, again.images) == (False, False, first.images)
    assert first.work.cost() == again.work.cost()
    assert (again.work.cost_usd, again.work.tier) == (pytest.approx(0.14), "flex")
    # The budgets count these, and they are what this worker has done.
    assert (again.work.images, again.work.calls, again.work.bytes) == (0, 0, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("run", "origin", "other_run", "other_origin"),
    [
        ("stream", "message-1", "stream", "message-2"),
        ("backfill:x", "a.txt:1", "backfill:y", "a.txt:1"),
        ("stream", "", "stream", ""),
    ],
    ids=["another message", "another run", "unknown deliveries"],
)
async def test_images_that_another_delivery_paid_for_cost_nothing(
    worker, prompt_of, run, origin, other_run, other_origin
):
    first = await worker(run).outcome(prompt_of("a fox", origin=origin))
    other = await worker(other_run).outcome(prompt_of("a fox", origin=other_origin))
    assert (first.work.cost_usd, other.work.cost_usd, other.reused) == (0.07, 0, True)


@pytest.mark.asyncio
async def test_a_bundle_that_a_backfill_repeats_tells_what_it_paid_and_equal_rows_do_not(
    worker, prompt_of
):
    work = worker("backfill:x", finished=10)
    rows = [prompt_of("a fox", origin=f"a.txt:{number}") for number in range(3)]
    for _ in range(2):
        outcomes = [await work.outcome(row) for row in rows]
        assert [outcome.work.cost_usd for outcome in outcomes] == [0.07, 0, 0]
        assert [outcome.reused for outcome in outcomes] == [False, True, True]


@pytest.mark.asyncio
@pytest.mark.parametrize("payer", range(3))
@pytest.mark.parametrize("at_once", [True, False])
async def test_what_batch_inference_paid_is_told_once_by_the_row_that_it_was_paid_for(
    worker, prompt_of, lane, payer, at_once
):
    work = worker("backfill:x", finished=10)
    rows = [prompt_of("a fox", origin=f"a.txt:{number}") for number in range(3)]
    record = {
        "schema": "imagen.record/1",
        "images": [f"{lane.images_location}/x-0.png"],
        "paid_by": payer_of("backfill:x", f"a.txt:{payer}"),
        "source": "backfill:x",
        "cost_usd": 0.0169,
        "unpriced_calls": 0,
        "tokens": {"input": 5, "text": 0, "image": 1120},
        "tier": "batch",
    }
    digest = rows[0].digest
    lane.put(f"images/{digest[:2]}/{digest}.json", json.dumps(record))
    if at_once:
        outcomes = await asyncio.gather(*map(work.outcome, rows))
    else:
        outcomes = [await work.outcome(row) for row in rows]
    told = [
        (outcome.reused, outcome.work.cost_usd, outcome.work.tier, outcome.work.image_tokens)
        for outcome in outcomes
    ]
    assert told.pop(payer) == (False, 0.0169, "batch", 1120)
    assert told == [(True, 0.0, "", 0)] * 2
    assert all(outcome.work.calls == outcome.work.images == 0 for outcome in outcomes)


@pytest.mark.asyncio
async def test_images_whose_record_is_of_an_earlier_version_cost_nothing(worker, prompt_of, lane):
    prompt = prompt_of("a fox")
    paths = [f"{lane.images_location}/x-0.png"]
    lane.put(
        f"images/{prompt.digest[:2]}/{prompt.digest}.json",
        json.dumps({"schema": "imagen.record/1", "images": paths}),
    )
    outcome = await worker().outcome(prompt)
    assert (list(outcome.images), outcome.work.cost_usd) == (paths, 0)
