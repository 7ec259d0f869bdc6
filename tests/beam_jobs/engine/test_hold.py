"""What becomes of prompts whose model refuses all of them."""

import asyncio

import pytest

from beam_jobs.engine.finished import Finished
from beam_jobs.engine.generate import ImageGenerator
from beam_jobs.engine.hold import Gates, HoldPolicy
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.purse import Purse
from beam_jobs.engine.references import References
from beam_jobs.images.location import Location
from beam_jobs.images.store import ImageStore
from beam_jobs.models.answer_memory import AnswerMemory
from beam_jobs.models.base import Answer, Image, blocked_error, error_from_status
from beam_jobs.models.bill import Bill
from beam_jobs.outcomes import Failure, Prediction, Reason

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]
OLD, NEW, PRO = "gemini-3.1-flash-image", "gemini-nano-banana-2.1", "gemini-3-pro-image"


class Service:
    """Models that can be retired and brought back; remembers who was asked for what."""

    def __init__(self):
        self.gone = set()
        self.successor = {}
        self.asked = []

    def model(self, name):
        service = self

        class Model:
            images_per_call = 1

            async def generate(self, prompt, *, first, count):
                service.asked.append((name, prompt.text))
                await asyncio.sleep(0)
                if name in service.gone or "forbidden" in prompt.text:
                    raise error_from_status(404, "gone")
                if "rude" in prompt.text:
                    raise blocked_error("rude")
                version = service.successor.get(name, f"{name}-001")
                data = b"\x89PNG\r\n\x1a\n" + f"{version} {prompt.text} {first}".encode()
                bill = Bill(usd=0.01, model_version=version)
                return Answer([Image(data, "png", "image/png")], bill)

        return Model()

    def calls(self, name):
        return sum(asked == name for asked, _ in self.asked)


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def generator(lane, session, service):
    def make(*, max_hold_s=30.0, fallbacks=(), **policy):
        return ImageGenerator(
            model_of=service.model,
            store=ImageStore(session, Location.parse(lane.images_location)),
            limiter=AdaptiveLimiter(8),
            answer_memory=AnswerMemory(),
            max_in_flight=8,
            max_retry_s=5.0,
            purse=Purse((), None),
            finished=Finished(0),
            source="stream",
            gates=Gates(fallbacks, HoldPolicy(max_hold_s=max_hold_s, first_pause_s=0.05, **policy)),
            references=References(session),
        )

    return make


async def test_while_a_model_is_gone_prompts_wait_and_then_all_are_made(
    generator, service, prompt_of
):
    service.gone = {OLD}
    work = generator()
    prompts = [prompt_of(f"fox {number}") for number in range(40)]
    waiting = [asyncio.create_task(work.outcome(prompt)) for prompt in prompts]
    await asyncio.sleep(2.5)
    assert not any(task.done() for task in waiting)
    # Those that were under way when it went, and then one try after 1 and 2 s.
    assert service.calls(OLD) <= 8 * 1.25 + 1 + 3 + 2
    service.gone = set()
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert {type(outcome) for outcome in outcomes} == {Prediction}


async def test_a_prompt_that_has_waited_long_enough_is_a_dead_letter_to_replay(
    generator, service, prompt_of
):
    service.gone = {OLD}
    work = generator(max_hold_s=1.0)
    prompts = [prompt_of(f"fox {number}") for number in range(20)]
    outcomes = await asyncio.wait_for(asyncio.gather(*map(work.outcome, prompts)), 10)
    for outcome in outcomes:
        assert isinstance(outcome, Failure)
        assert outcome.retryable
        assert "404" in outcome.detail
        assert outcome.work.latency_ms < 900, "without the time that it was held"


async def test_images_that_are_stored_are_found_while_their_model_is_gone(
    generator, service, prompt_of
):
    before = await generator().outcome(prompt_of("stored"))
    service.gone = {OLD}
    work = generator()
    held = [asyncio.create_task(work.outcome(prompt_of(f"fox {n}"))) for n in range(20)]
    await asyncio.sleep(0.3)
    found = await asyncio.wait_for(work.outcome(prompt_of("stored", origin="another")), 5)
    assert (found.images, found.reused) == (before.images, True)
    for task in held:
        task.cancel()


async def test_a_prompt_that_alone_is_refused_fails_while_the_others_are_made(generator, prompt_of):
    work = generator()
    texts = [f"fox {n}" for n in range(20)] + ["forbidden"] + [f"hare {n}" for n in range(20)]
    outcomes = await asyncio.wait_for(
        asyncio.gather(*(work.outcome(prompt_of(text)) for text in texts)), 20
    )
    assert [
        text for text, outcome in zip(texts, outcomes, strict=True) if isinstance(outcome, Failure)
    ] == ["forbidden"]


async def test_a_refusal_for_content_shows_that_the_model_is_there(generator, service, prompt_of):
    work = generator(max_hold_s=0.0)
    for text in ("forbidden 1", "rude", "forbidden 2", "rude 2", "forbidden 3", "rude 3"):
        assert isinstance(await work.outcome(prompt_of(text)), Failure)
    assert not work._gates.closed()


async def test_a_fallback_makes_what_it_can_under_its_own_name_and_digest(
    generator, service, prompt_of, lane
):
    service.gone = {OLD}
    work = generator(fallbacks=(PRO, NEW))
    prompts = [prompt_of(f"fox {n}") for n in range(10)]
    wide = prompt_of("wide", aspect_ratio="1:8")  # the first fallback does not make it
    *outcomes, last = await asyncio.wait_for(
        asyncio.gather(*map(work.outcome, [*prompts, wide])), 10
    )
    for prompt, outcome in zip(prompts, outcomes, strict=True):
        assert (outcome.model, outcome.requested_model) == (PRO, OLD)
        assert outcome.model_version == f"{PRO}-001"
        assert outcome.digest == prompt_of(prompt.text, model=PRO).digest
        assert outcome.digest in outcome.images[0]
    assert (last.model, last.digest) == (
        NEW,
        prompt_of("wide", model=NEW, aspect_ratio="1:8").digest,
    )
    assert not any(prompt.digest in name for name in lane.objects("images/") for prompt in prompts)


async def test_what_a_fallback_made_is_found_again_and_the_model_itself_is_used_once_it_is_back(
    generator, service, prompt_of
):
    service.gone = {OLD}
    work = generator(fallbacks=(NEW,))
    first = [await work.outcome(prompt_of(f"fox {n}")) for n in range(5)]
    again = [await work.outcome(prompt_of(f"fox {n}", origin=f"again {n}")) for n in range(5)]
    assert [(o.images, o.reused) for o in again] == [(o.images, True) for o in first]
    assert service.calls(NEW) == 5
    service.gone = set()
    async with asyncio.timeout(10):
        number = 100
        while (await work.outcome(prompt_of(f"fox {number}"))).model != OLD:
            number += 1
            await asyncio.sleep(0.1)


async def test_if_all_fallbacks_are_gone_too_prompts_wait(generator, service, prompt_of):
    service.gone = {OLD, NEW}
    work = generator(fallbacks=(NEW,))
    waiting = [asyncio.create_task(work.outcome(prompt_of(f"fox {n}"))) for n in range(10)]
    await asyncio.sleep(0.5)
    assert not any(task.done() for task in waiting)
    service.gone = {OLD}
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert {outcome.model for outcome in outcomes} == {NEW}


async def test_what_another_model_answers_is_never_stored_under_the_name_of_the_one_asked(
    generator, service, prompt_of, lane
):
    service.successor = {OLD: f"{NEW}-001"}
    work = generator()
    prompt = prompt_of("a fox", images=3)
    outcome = await work.outcome(prompt)
    made_by = prompt_of("a fox", images=3, model=NEW)
    assert (outcome.model, outcome.requested_model) == (NEW, OLD)
    assert outcome.digest == made_by.digest
    assert len(outcome.images) == 3
    assert outcome.work.other_model
    assert not any(prompt.digest in name for name in lane.objects("images/"))
    asked = len(service.asked)
    again = await work.outcome(prompt_of("a fox", images=3, origin="another"))
    assert (again.images, again.reused) == (outcome.images, True)
    assert len(service.asked) == asked == 3, "nothing is paid twice"


async def test_equal_prompts_for_models_that_stand_in_for_each_other_do_not_wait_for_each_other(
    generator, service, prompt_of
):
    service.gone = {OLD, NEW}
    work = generator(fallbacks=(OLD, NEW))
    prompts = [prompt_of("a fox", model=model) for model in (OLD, NEW) for _ in range(5)]
    waiting = [asyncio.create_task(work.outcome(prompt)) for prompt in prompts]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in waiting)
    service.gone = {NEW}
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert {outcome.model for outcome in outcomes} == {OLD}
    assert len({outcome.images for outcome in outcomes}) == 1


async def test_what_another_model_answers_for_a_fallback_is_a_prediction_too(
    generator, service, prompt_of
):
    service.gone = {OLD}
    service.successor = {PRO: f"{NEW}-001"}
    work = generator(fallbacks=(PRO,))
    first, again = [await work.outcome(prompt_of("a fox", origin=f"m-{n}")) for n in range(2)]
    assert (first.model, first.requested_model) == (NEW, OLD)
    assert first.work.other_model
    assert (again.images, again.reused) == (first.images, True)
    assert service.calls(PRO) == 1


async def test_a_model_is_asked_again_if_the_one_that_answers_for_it_refuses_every_prompt(
    generator, service, prompt_of
):
    service.successor = {OLD: f"{NEW}-001"}
    work = generator()
    assert (await work.outcome(prompt_of("a fox"))).model == NEW
    service.successor, service.gone = {}, {NEW}
    outcomes = await asyncio.wait_for(
        asyncio.gather(*(work.outcome(prompt_of(f"fox {n}")) for n in range(10))), 20
    )
    assert {outcome.model for outcome in outcomes} == {OLD}


async def test_a_model_that_comes_back_is_used_again_after_one_prompt_in_an_hour_has_asked_it(
    generator, service, prompt_of
):
    now = 0.0
    service.successor = {OLD: f"{NEW}-001"}
    work = generator()
    work._choice._answering._clock = lambda: now

    async def made_by(text):
        outcome = await work.outcome(prompt_of(text))
        assert not outcome.reused
        return outcome.model, service.calls(OLD), service.calls(NEW)

    assert [await made_by(f"fox {n}") for n in range(3)] == [(NEW, 1, 0), (NEW, 1, 1), (NEW, 1, 2)]
    now = 3601.0
    assert [await made_by(f"elk {n}") for n in range(2)] == [(NEW, 2, 2), (NEW, 2, 3)]
    service.successor, service.gone = {}, {OLD}
    now = 7202.0
    assert [await made_by(f"owl {n}") for n in range(2)] == [(NEW, 3, 4), (NEW, 3, 5)]
    service.gone = set()
    now = 10803.0
    assert [await made_by(f"hare {n}") for n in range(2)] == [(OLD, 4, 5), (OLD, 5, 5)]


async def test_what_a_model_that_is_asked_again_refuses_goes_to_no_other_and_into_no_log(
    generator, service, prompt_of, caplog
):
    now = 0.0
    service.successor = {OLD: f"{NEW}-001"}
    work = generator()
    work._choice._answering._clock = lambda: now
    assert (await work.outcome(prompt_of("a fox"))).model == NEW
    service.successor, now = {}, 3601.0
    refused = await work.outcome(prompt_of("a rude elk"))
    assert isinstance(refused, Failure)
    assert refused.reason is Reason.BLOCKED
    assert service.calls(NEW) == 0
    assert "rude" not in caplog.text


async def test_prompts_of_another_model_give_way_while_the_jobs_own_works(
    generator, service, prompt_of
):
    service.gone = {OLD}
    work = generator(default_model=NEW, give_way_s=3.0)
    held = [prompt_of(f"fox {n}") for n in range(5)]
    failures = await asyncio.wait_for(asyncio.gather(*map(work.outcome, held)), 8)
    for failure in failures:
        assert isinstance(failure, Failure)
        assert failure.retryable
        assert "404: gone. gemini-3.1-flash-image has refused every prompt" in failure.detail
    asked = service.calls(OLD)
    late = await asyncio.wait_for(
        asyncio.gather(*(work.outcome(prompt_of(f"late {n}")) for n in range(20))), 1
    )
    assert {type(outcome) for outcome in late} == {Failure}
    assert service.calls(OLD) <= asked + 1, "one tries at most"
    service.gone = {NEW, OLD}
    waiting = []
    for model in (NEW, OLD):
        hares = (prompt_of(f"hare {n}", model=model) for n in range(5))
        waiting += [asyncio.create_task(work.outcome(hare)) for hare in hares]
        await asyncio.sleep(0.5)
    assert not any(task.done() for task in waiting), "there is nothing to give way to"
    service.gone = set()
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert {type(outcome) for outcome in outcomes} == {Prediction}


async def test_a_backfill_waits_once_and_not_for_each_batch(generator, service, prompt_of):
    service.gone = {OLD}
    work = generator(max_hold_s=0.5, from_first_refusal=True)
    first = [prompt_of(f"fox {n}") for n in range(5)]
    await asyncio.wait_for(asyncio.gather(*map(work.outcome, first)), 5)
    second = [prompt_of(f"hare {n}") for n in range(5)]
    outcomes = await asyncio.wait_for(asyncio.gather(*map(work.outcome, second)), 0.3)
    assert all(outcome.retryable for outcome in outcomes)


async def test_the_time_that_a_prompt_is_held_is_not_its_latency(generator, service, prompt_of):
    service.gone = {OLD}
    work = generator()
    prompts = [prompt_of(f"fox {number % 5}") for number in range(10)]
    waiting = [asyncio.create_task(work.outcome(prompt)) for prompt in prompts]
    await asyncio.sleep(0.5)
    service.gone = set()
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert max(outcome.work.latency_ms for outcome in outcomes) < 400
