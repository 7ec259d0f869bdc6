"""The work on one prompt: what is paid for, what is retried, and its outcome."""

import asyncio
import dataclasses
import datetime
import time
import uuid
import weakref

import pytest
from aiohttp import web
from gcloud.aio.storage import Storage

from beam_jobs.catalog import Family, family_of
from beam_jobs.config.budgets import Budget
from beam_jobs.engine import backoff, image_maker, lease
from beam_jobs.engine.finished import Finished
from beam_jobs.engine.generate import ImageGenerator
from beam_jobs.engine.hold import Gates
from beam_jobs.engine.lease import Lease
from beam_jobs.engine.ledger import Ledger
from beam_jobs.engine.limiter import INITIAL_IN_FLIGHT, AdaptiveLimiter
from beam_jobs.engine.model_calls import MAX_EMPTY_ANSWERS
from beam_jobs.engine.purse import Purse
from beam_jobs.engine.references import References
from beam_jobs.engine.storage_lane import (
    LOOKUPS_AT_ONCE,
    UPLOADS_AT_ONCE,
    Rate,
    StorageLane,
    lanes_of,
)
from beam_jobs.images import write_gate
from beam_jobs.images.lanes import Lanes
from beam_jobs.images.location import Location
from beam_jobs.images.receipt import Receipt
from beam_jobs.images.store import ImageStore
from beam_jobs.models.answer_memory import AnswerMemory
from beam_jobs.models.base import (
    Answer,
    Image,
    blocked_error,
    error_from_status,
    no_image_error,
    unreachable_error,
)
from beam_jobs.models.bill import FREE
from beam_jobs.models.gemini import GeminiModel
from beam_jobs.outcomes import Failure, Prediction, Reason, Work
from beam_jobs.prompts.canary import Canary
from localcloud.storage import ObjectStore, storage_app
from tests.conftest import BUCKET
from tests.message_schemas import message_of

pytestmark = pytest.mark.asyncio

GEMINI, FLUX = "gemini-3.1-flash-image", "flux-1"
both_protocols = pytest.mark.parametrize("name", [GEMINI, FLUX], ids=["gemini", "predict"])


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch):
    monkeypatch.setattr(lease, "WRITE_EVERY_S", 0.01)
    monkeypatch.setattr(backoff, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(backoff, "BACKOFF_MAX_S", 0.1)


@pytest.fixture(autouse=True)
def _every_outcome_fits_its_schema(monkeypatch):
    outcome_of = ImageGenerator.outcome

    async def checked(self, item):
        outcome = await outcome_of(self, item)
        message_of(outcome)
        return outcome

    monkeypatch.setattr(ImageGenerator, "outcome", checked)


def picture(number: int) -> Image:
    return Image(b"\x89PNG\r\n\x1a\n" + b"%d" % number, "png", "image/png")


class Scripted:
    """A model whose calls follow a script, with one entry per call; later calls succeed.

    An entry is an exception to raise, or the number of images to return.
    """

    def __init__(self, *script, images_per_call=1, latency_s=0.0):
        self.images_per_call = images_per_call
        self.asked = []
        self.called = asyncio.Event()
        self.in_flight = self.most_in_flight = 0
        self._script = list(script)
        self._latency_s = latency_s

    async def generate(self, prompt, *, first, count):
        self.asked.append((first, count))
        self.called.set()
        step = self._script.pop(0) if self._script else count
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self._latency_s)
        finally:
            self.in_flight -= 1
        if isinstance(step, BaseException):
            raise step
        images = [picture(len(self.asked) * 10 + number) for number in range(step)]
        return Answer(images, FREE)


@pytest.fixture
def generator(lane, session, predict_model):
    """Return a function that creates a generator with `model`, or with the real adapters."""

    def real(name):
        if family_of(name) is Family.GEMINI:
            return GeminiModel(
                session, model=name, project="demo-project", location="global", timeout_s=60.0
            )
        return predict_model()

    def purse(max_images):
        budgets = [] if max_images is None else [Budget("--max_images", max_images, "")]
        ledger = Ledger(Storage(session=session), BUCKET, f"{lane.name}/{uuid.uuid4()}.json")
        return Purse(
            budgets,
            lambda budget, _: Lease(ledger, budget, workers=1, max_in_flight=8, max_retry_s=60.0),
        )

    def make(model=None, *, limiter=None, location=None, **changes):
        settings = {
            "model_of": real if model is None else lambda _: model,
            "store": ImageStore(session, Location.parse(location or lane.images_location)),
            "limiter": limiter or AdaptiveLimiter(changes.get("max_in_flight", 8)),
            "answer_memory": AnswerMemory(),
            "max_in_flight": 8,
            "max_retry_s": 60.0,
            "purse": purse(changes.pop("max_images", None)),
            "finished": Finished(0),
            "source": "stream",
            "gates": Gates(),
            "references": References(session),
        }
        return ImageGenerator(**settings | changes)

    return make


def predicted(outcome) -> Prediction:
    assert isinstance(outcome, Prediction), outcome
    return outcome


def failed(outcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


@pytest.fixture
def paid(cloud):
    """Return the calls and images since the last time."""
    before = cloud.models()

    def since():
        nonlocal before
        after, last = cloud.models(), before
        before = after
        return after["calls"] - last["calls"], after["images"] - last["images"]

    return since


# Paying once


@both_protocols
async def test_a_prompt_becomes_stored_images_and_a_prediction(
    generator, lane, prompt_of, name, paid
):
    prompt = prompt_of("a fox", model=name, images=3, id="order-1")
    outcome = predicted(await generator().outcome(prompt))
    assert paid() == ((3, 3) if name == GEMINI else (1, 3))
    digest = prompt.digest
    names = [f"{digest[:2]}/{digest}-{index}.png" for index in range(3)]
    assert outcome.images == tuple(f"{lane.images_location}/{name}" for name in names)
    stored = lane.objects("images/")
    assert set(stored) == {
        f"images/{name}"
        for name in [*names, f"{digest[:2]}/{digest}.json", f"{digest[:2]}/{digest}.claim"]
    }
    assert (outcome.prompt_id, outcome.digest, outcome.prompt) == ("order-1", digest, "a fox")
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(outcome.created_at)
    assert abs(age.total_seconds()) < 60
    assert (outcome.model, outcome.source, outcome.reused) == (name, "stream", False)
    assert outcome.attributes == {"team": "ads"}
    assert outcome.work.images == 3
    assert outcome.work.bytes == sum(len(stored[f"images/{name}"]) for name in names)
    assert outcome.work.calls == (3 if name == GEMINI else 1)


@both_protocols
async def test_a_prompt_that_arrives_many_times_at_once_is_paid_for_once(
    generator, prompt_of, name, paid
):
    prompts = [
        prompt_of("a fox", model=name, id=f"order-{number}", origin=f"message-{number}")
        for number in range(10)
    ]
    work = generator()
    outcomes = [predicted(one) for one in await asyncio.gather(*map(work.outcome, prompts))]
    assert paid() == (1, 1)
    assert len({outcome.images for outcome in outcomes}) == 1
    assert [outcome.reused for outcome in outcomes].count(False) == 1
    assert [outcome.prompt_id for outcome in outcomes] == [prompt.prompt_id for prompt in prompts]
    assert sum(outcome.work.images for outcome in outcomes) == 1
    assert sum(outcome.work.calls for outcome in outcomes) == 1


async def test_a_prompt_that_arrives_three_times_is_paid_for_once_across_processes(
    generator, prompt_of, paid
):
    first, second, third = [
        predicted(await generator().outcome(prompt_of("a fox", images=2, origin=f"message-{each}")))
        for each in range(3)
    ]
    assert paid() == (2, 2)
    assert (first.reused, second.reused, third.reused) == (False, True, True)
    assert first.images == second.images == third.images
    assert (second.work.calls, second.work.images, second.work.bytes) == (0, 0, 0)


async def test_an_equal_row_of_a_backfill_gets_its_prediction_without_a_lookup(
    cloud, generator, prompt_of
):
    work = generator(Scripted(), finished=Finished())
    first = predicted(await work.outcome(prompt_of("a fox", id="row-1")))
    calls = cloud.storage()["calls"]
    second = predicted(await work.outcome(prompt_of("a fox", id="row-2", origin="a.txt:2")))
    assert cloud.storage()["calls"] == calls
    assert (second.prompt_id, second.images, second.reused) == ("row-2", first.images, True)


async def test_a_prompt_that_wants_no_reuse_is_paid_for_on_each_delivery_once(
    generator, prompt_of, paid
):
    work = generator()
    for origin in ("message-1", "message-2", "message-1"):
        predicted(await work.outcome(prompt_of("a fox", reuse=False, origin=origin)))
    assert paid() == (2, 2)


async def test_a_record_that_another_process_wrote_first_decides_the_prediction(
    generator, lane, prompt_of, session
):
    prompt = prompt_of("a fox")
    theirs = [f"{lane.images_location}/theirs-0.png"]

    class Overtaken(Scripted):
        async def generate(self, prompt, *, first, count):
            store = ImageStore(session, Location.parse(lane.images_location))
            await store.put_record(
                prompt.digest,
                theirs,
                deciding=prompt.deciding,
                created_at="2026-11-01",
                receipt=Receipt("", Work()),
            )
            return await super().generate(prompt, first=first, count=count)

    assert list(predicted(await generator(Overtaken()).outcome(prompt)).images) == theirs


async def test_images_without_a_record_are_completed_without_paying(generator, lane, prompt_of):
    prompt = prompt_of("a fox", images=2)
    for index in range(2):
        lane.put(f"images/{prompt.digest[:2]}/{prompt.digest}-{index}.png", "a picture")
    model = Scripted()
    outcome = predicted(await generator(model).outcome(prompt))
    assert model.asked == []
    assert outcome.reused
    assert len(outcome.images) == 2
    assert f"images/{prompt.digest[:2]}/{prompt.digest}.json" in lane.objects("images/")


async def test_an_image_that_was_deleted_is_a_dead_letter_until_its_record_is_deleted_too(
    generator, lane, prompt_of
):
    model, prompt = Scripted(), prompt_of("a fox", images=3)
    # One process, as another would wait for as long as the claim is valid.
    work = generator(model)
    first = predicted(await work.outcome(prompt))
    lane.delete(first.images[1])
    failed = await work.outcome(prompt)
    assert isinstance(failed, Failure)
    assert (failed.reason, failed.retryable) == (Reason.STORAGE_ERROR, True)
    assert len(model.asked) == 3, "nothing is paid for without asking"
    lane.delete(failed.detail.split(" still names")[0].rpartition(" ")[2])
    assert predicted(await work.outcome(prompt)).images == first.images
    assert model.asked[3:] == [(1, 1)]


async def test_a_call_that_waits_for_its_retry_keeps_nothing_of_its_answer(generator, prompt_of):
    class Body:
        """What Python can tell the end of."""

    class Refusing(Scripted):
        async def generate(self, prompt, *, first, count):
            body = Body()
            bodies.append(weakref.ref(body))
            if len(bodies) == 1:
                try:
                    raise ValueError
                except ValueError as error:
                    refused = no_image_error("cannot read it")
                    refused.retry_after_s = 0.5
                    raise refused from error
            return await super().generate(prompt, first=first, count=count)

    bodies = []
    outcome = asyncio.create_task(generator(Refusing()).outcome(prompt_of("a fox")))
    async with asyncio.timeout(60):
        while not bodies or bodies[0]() is not None:  # noqa: ASYNC110 - nobody tells of its end
            await asyncio.sleep(0.01)
    assert len(bodies) == 1, "kept until the retry"
    predicted(await outcome)
    assert len(bodies) == 2


@pytest.mark.parametrize(
    ("there", "per_call", "asked"),
    [
        ([], 4, [(0, 4)]),
        ([], 2, [(0, 2), (2, 2)]),
        ([], 1, [(0, 1), (1, 1), (2, 1), (3, 1)]),
        ([0, 2], 4, [(1, 1), (3, 1)]),
        ([1], 4, [(0, 1), (2, 2)]),
        ([0, 1, 2], 1, [(3, 1)]),
        ([0, 7], 4, [(1, 3)]),
    ],
)
async def test_only_missing_images_are_generated_with_as_few_calls_as_possible(
    generator, lane, prompt_of, there, per_call, asked
):
    prompt = prompt_of("a fox", images=4)
    for index in there:
        lane.put(f"images/{prompt.digest[:2]}/{prompt.digest}-{index}.png", "a picture")
    model = Scripted(images_per_call=per_call)
    outcome = predicted(await generator(model).outcome(prompt))
    assert model.asked == asked
    assert [path[-5:] for path in outcome.images] == [f"{index}.png" for index in range(4)]


async def test_the_template_of_a_refused_prompt_is_in_its_dead_letter(generator, prompt_of):
    prompt = dataclasses.replace(prompt_of("a fox fault:blocked"), template="studio@7")
    refused = failed(await generator().outcome(prompt))
    assert (refused.reason, message_of(refused)["template"]) == (Reason.BLOCKED, "studio@7")


# Transient faults


@pytest.mark.slow
@both_protocols
@pytest.mark.parametrize(
    "fault",
    [
        "unavailable",
        "quota",
        "quota-garbled",
        "error",
        "empty",
        "not-an-image",
        "cut-image",
        "garbage",
        "cut",
        "cancelled",
        "aborted",
    ],
)
async def test_a_fault_that_strikes_once_is_survived(generator, lane, prompt_of, name, fault, paid):
    prompt = prompt_of(f"a fox in {lane.name} fault:{fault}-once", model=name)
    outcome = predicted(await generator().outcome(prompt))
    assert paid()[0] == 2
    assert (outcome.work.calls, outcome.work.images) == (2, 1)
    assert outcome.work.quota_refusals == fault.startswith("quota")


async def test_a_pause_that_the_service_asks_for_is_kept_and_counted(generator, prompt_of):
    model = Scripted(error_from_status(429, "slow down", 0.3))
    started = time.monotonic()
    outcome = predicted(await generator(model).outcome(prompt_of("a fox")))
    assert time.monotonic() - started >= 0.3
    assert 300 <= outcome.work.throttled_ms < 60_000
    assert outcome.work.quota_refusals == 1
    assert outcome.latency_ms >= 300


@pytest.mark.parametrize("fault", ["cancelled", "aborted"])
async def test_one_call_of_several_that_is_cancelled_under_load_costs_no_image(
    generator, lane, prompt_of, fault, paid
):
    prompt = prompt_of(f"a fox in {lane.name} fault:{fault}-once", images=4)
    outcome = predicted(await generator().outcome(prompt))
    assert paid() == (5, 4)
    assert len(outcome.images) == 4


async def test_a_storage_that_fails_a_few_times_costs_no_second_image(
    generator, prompt_of, serve, monkeypatch, tmp_path
):
    store = ObjectStore(tmp_path / "storage")
    store.create_bucket("bucket-1")
    requests = []

    async def faults(request):
        requests.append(request.method)
        return web.json_response({}, status=503) if len(requests) % 3 else None

    url = await serve(storage_app(store, faults=faults))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    model = Scripted()
    work = generator(model, location="gs://bucket-1/images")
    outcome = predicted(await work.outcome(prompt_of("a fox", images=2)))
    assert len(model.asked) == 2
    assert len(outcome.images) == 2
    assert len(requests) >= 12
    store.close()


# Permanent faults


@both_protocols
@pytest.mark.parametrize("fault", ["blocked", "blocked-image"])
async def test_a_refusal_becomes_blocked_in_both_protocols(generator, prompt_of, name, fault, paid):
    prompt = prompt_of(f"a fox fault:{fault}", model=name, id="order-1")
    failure = failed(await generator().outcome(prompt))
    assert paid() == (1, 0)
    assert (failure.reason, failure.retryable, failure.attempts) == (Reason.BLOCKED, False, 1)
    assert "refused" in failure.detail
    assert (failure.prompt_id, failure.body) == ("order-1", prompt.body)
    assert (failure.attributes, failure.source) == ({"team": "ads"}, "stream")


@both_protocols
async def test_a_bad_request_is_not_retried(generator, prompt_of, name, paid):
    failure = failed(await generator().outcome(prompt_of("a fox fault:invalid", model=name)))
    assert paid() == (1, 0)
    # The container of an endpoint may have been sent the wrong field.
    of_endpoint = "--prompt_field" in failure.detail
    assert of_endpoint is (name != GEMINI)
    assert (failure.reason, failure.retryable) == (Reason.MODEL_ERROR, of_endpoint)


async def test_a_model_that_is_gone_leaves_prompts_to_replay(generator, prompt_of, paid):
    failure = failed(await generator().outcome(prompt_of("a fox", model="gemini-1-image")))
    assert paid()[1] == 0
    assert (failure.reason, failure.retryable, failure.attempts) == (Reason.MODEL_ERROR, True, 1)


@both_protocols
@pytest.mark.parametrize("fault", ["empty", "not-an-image", "garbage"])
async def test_empty_answers_are_retried_only_a_few_times(generator, prompt_of, name, fault, paid):
    failure = failed(await generator().outcome(prompt_of(f"a fox fault:{fault}", model=name)))
    assert paid()[0] == MAX_EMPTY_ANSWERS
    assert (failure.reason, failure.retryable) == (Reason.NO_IMAGE, True)
    assert failure.attempts == MAX_EMPTY_ANSWERS


@pytest.mark.slow
@both_protocols
@pytest.mark.parametrize("fault", ["unavailable", "quota"])
async def test_retries_end_after_their_time_as_a_retryable_failure(
    generator, prompt_of, name, fault, paid
):
    started = time.monotonic()
    work = generator(max_retry_s=0.5)
    failure = failed(await work.outcome(prompt_of(f"a fox fault:{fault}", model=name)))
    # Calls without quota also wait for their slot.
    assert time.monotonic() - started < 60
    assert (failure.reason, failure.retryable) == (Reason.UNAVAILABLE, True)
    assert failure.attempts == paid()[0] >= 2
    assert failure.work.images == 0


async def test_a_wait_longer_than_the_time_for_retries_is_not_started(generator, prompt_of):
    model = Scripted(error_from_status(429, "slow down", 60.0))
    started = time.monotonic()
    failure = failed(await generator(model, max_retry_s=2.0).outcome(prompt_of("a fox")))
    assert time.monotonic() - started < 30
    assert (failure.reason, failure.retryable, failure.attempts) == (Reason.UNAVAILABLE, True, 1)


@pytest.mark.slow
async def test_the_last_attempt_starts_at_the_end_of_the_time_for_retries(generator, prompt_of):
    model = Scripted(*[unreachable_error("cut")] * 50)
    started = time.monotonic()
    failure = failed(await generator(model, max_retry_s=1.0).outcome(prompt_of("a fox")))
    assert 1.0 <= time.monotonic() - started < 60
    assert (failure.reason, failure.retryable) == (Reason.UNAVAILABLE, True)


@pytest.mark.slow
async def test_time_for_retries_runs_from_the_first_failure_and_not_from_the_start(
    generator, prompt_of
):
    model = Scripted(unreachable_error("cut"), latency_s=0.4)
    predicted(await generator(model, max_retry_s=0.3).outcome(prompt_of("a fox")))
    assert len(model.asked) == 2


async def test_a_bug_in_an_adapter_is_a_failure_and_no_crash(generator, prompt_of):
    class Buggy(Scripted):
        mended = False

        async def generate(self, prompt, *, first, count):
            if prompt.text == "a fox" and not self.mended:
                raise KeyError("candidates")
            return await super().generate(prompt, first=first, count=count)

    limiter, model = AdaptiveLimiter(2), Buggy()
    work = generator(model, limiter=limiter)
    first, second = await asyncio.gather(
        work.outcome(prompt_of("a fox")), work.outcome(prompt_of("an owl"))
    )
    failure = failed(first)
    assert (failure.reason, failure.retryable) == (Reason.MODEL_ERROR, True)
    assert failure.detail == "unexpected KeyError: 'candidates'"
    predicted(second)
    assert limiter.in_flight == 0
    model.mended = True
    predicted(await work.outcome(prompt_of("a fox")))


async def test_a_model_adapter_that_cannot_be_created_is_a_failure_and_no_crash(
    generator, prompt_of
):
    def broken(_):
        raise ImportError("no such library")

    failure = failed(await generator(model_of=broken).outcome(prompt_of("a fox")))
    assert (failure.reason, failure.retryable) == (Reason.MODEL_ERROR, True)
    assert "ImportError" in failure.detail


async def test_prompts_that_wait_for_the_same_prompt_share_its_failure(generator, prompt_of, paid):
    prompts = [prompt_of("a fox fault:blocked", id=f"order-{number}") for number in range(5)]
    work = generator()
    outcomes = [failed(one) for one in await asyncio.gather(*map(work.outcome, prompts))]
    assert paid() == (1, 0)
    assert {failure.reason for failure in outcomes} == {Reason.BLOCKED}
    assert [failure.prompt_id for failure in outcomes] == [prompt.prompt_id for prompt in prompts]


async def test_a_failed_prompt_can_be_tried_again_at_once(generator, prompt_of):
    work = generator(Scripted(blocked_error("no")))
    failed(await work.outcome(prompt_of("a fox")))
    predicted(await work.outcome(prompt_of("a fox")))


async def test_a_missing_bucket_fails_before_anything_is_paid(generator, prompt_of):
    model = Scripted()
    work = generator(model, location="gs://no-such-bucket/images")
    failure = failed(await work.outcome(prompt_of("a fox")))
    assert model.asked == []
    assert (failure.reason, failure.retryable) == (Reason.STORAGE_ERROR, True)
    assert "404 for gs://no-such-bucket" in failure.detail


async def test_a_storage_that_stays_down_is_a_storage_error_to_replay(
    generator, prompt_of, monkeypatch
):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    work = generator(Scripted(), max_retry_s=0.2)
    failure = failed(await work.outcome(prompt_of("a fox")))
    assert (failure.reason, failure.retryable) == (Reason.STORAGE_ERROR, True)


async def test_a_broken_record_is_a_storage_error_and_is_not_paid_again(generator, lane, prompt_of):
    prompt = prompt_of("a fox")
    lane.put(f"images/{prompt.digest[:2]}/{prompt.digest}.json", "{}")
    model = Scripted()
    failure = failed(await generator(model).outcome(prompt))
    assert model.asked == []
    assert failure.reason is Reason.STORAGE_ERROR
    assert "is not a record" in failure.detail


# Storage that refuses what is paid for


@pytest.fixture
def quick_gate(monkeypatch):
    monkeypatch.setattr(write_gate, "PROBE_EVERY_S", 0.05)
    monkeypatch.setattr(write_gate, "LOG_AFTER_S", 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["policy_violated", "key_disabled"])
@pytest.mark.parametrize("images", [1, 4])
async def test_while_storage_refuses_every_write_no_more_is_paid_for_than_was_in_flight(
    switch, images, cloud, generator, prompt_of, quick_gate, caplog
):
    cloud.storage(**{switch: True})
    model = Scripted(images_per_call=4, latency_s=0.01)
    # What is paid for is given up long before storage is mended: no other prompt takes its place.
    work = generator(model, max_in_flight=4, max_retry_s=0.3)
    prompts = [prompt_of(f"fox number {number}", images=images) for number in range(40)]
    tasks = [asyncio.create_task(work.outcome(prompt)) for prompt in prompts]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    in_flight = len(model.asked)
    assert 4 <= in_flight <= 4 * image_maker.ROOM_OVER_IN_FLIGHT + 1
    await asyncio.sleep(0.5)
    assert len(model.asked) == in_flight
    cloud.storage(**{switch: False})
    outcomes = await asyncio.gather(*tasks)
    failures = [one for one in outcomes if isinstance(one, Failure)]
    assert len(failures) <= in_flight
    for failure in failures:
        assert (failure.reason, failure.retryable) == (Reason.STORAGE_ERROR, True)
        assert "constraint" in failure.detail or "cloudKmsDisabledKey" in failure.detail
    assert len(model.asked) == len(prompts)
    logged = [record.getMessage() for record in caplog.records]
    assert sum("refused every write" in line for line in logged) == 1
    assert sum("accepts writes again" in line for line in logged) == 1


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["policy_violated", "key_disabled"])
async def test_what_is_paid_for_is_kept_until_storage_is_mended(
    switch, cloud, generator, prompt_of, quick_gate
):
    cloud.storage(**{switch: True})
    model = Scripted()
    work = generator(model)
    tasks = [asyncio.create_task(work.outcome(prompt_of(f"fox {n}", images=2))) for n in range(9)]
    done, _ = await asyncio.wait(tasks, timeout=0.7)
    assert not done
    cloud.storage(**{switch: False})
    outcomes = [predicted(one) for one in await asyncio.gather(*tasks)]
    assert [len(one.images) for one in outcomes] == [2] * 9
    assert len(model.asked) == sum(one.work.images for one in outcomes) == 18


async def test_a_paid_image_is_tried_once_more_at_the_end_whatever_storage_asks_for(
    generator, prompt_of, serve, monkeypatch, tmp_path
):
    store = ObjectStore(tmp_path / "storage")
    store.create_bucket("bucket-1")
    refused = []

    async def faults(request):
        is_claim = request.query.get("name", "").endswith(".claim")
        if request.method == "POST" and not is_claim and not refused:
            refused.append(request)
            return web.json_response({}, status=503, headers={"Retry-After": "3600"})
        return None

    url = await serve(storage_app(store, faults=faults))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    work = generator(Scripted(), location="gs://bucket-1/images", max_retry_s=0.3)
    predicted(await work.outcome(prompt_of("a fox")))
    store.close()


async def test_all_images_of_a_call_are_stored_even_if_one_of_them_cannot_be(
    generator, prompt_of, serve, monkeypatch, tmp_path
):
    store = ObjectStore(tmp_path / "storage")
    store.create_bucket("bucket-1")

    async def faults(request):
        if request.method == "POST" and request.query["name"].endswith("-0.png"):
            return web.json_response({}, status=413)
        return None

    url = await serve(storage_app(store, faults=faults))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    work = generator(Scripted(images_per_call=4), location="gs://bucket-1/images")
    prompt = prompt_of("a fox", images=4)
    failure = failed(await work.outcome(prompt))
    assert (failure.reason, failure.work.images) == (Reason.STORAGE_ERROR, 4)
    stem = f"images/{prompt.digest[:2]}/{prompt.digest}"
    assert all(store.read("bucket-1", f"{stem}-{index}.png") for index in (1, 2, 3))
    store.close()


@pytest.mark.slow
async def test_prompts_that_cannot_be_looked_up_wait_too_while_nothing_can_be_written(
    cloud, generator, prompt_of, quick_gate
):
    cloud.storage(key_disabled=True)
    model = Scripted()
    work = generator(model, max_retry_s=0.2)
    failed(await work.outcome(prompt_of("a fox")))
    cloud.storage(down=True)
    task = asyncio.create_task(work.outcome(prompt_of("an owl")))
    done, _ = await asyncio.wait([task], timeout=0.6)
    assert not done, "it is not paid for, so it can wait longer than the time for retries"
    cloud.storage(down=False, key_disabled=False)
    predicted(await task)
    assert len(model.asked) == 2


# Some of the images


async def test_partial_images_are_kept_and_only_missing_ones_are_paid_on_the_next_attempt(
    generator, lane, prompt_of
):
    prompt = prompt_of("a fox", images=3)
    model = Scripted(1, error_from_status(400, "no"), 1)
    failure = failed(await generator(model).outcome(prompt))
    assert (failure.reason, failure.attempts, failure.work.images) == (Reason.MODEL_ERROR, 3, 2)
    stem = f"images/{prompt.digest[:2]}/{prompt.digest}"
    before = lane.objects("images/")
    assert set(before) == {f"{stem}-0.png", f"{stem}-2.png"}
    again = Scripted()
    outcome = predicted(await generator(again).outcome(prompt))
    assert again.asked == [(1, 1)]
    assert [path.rpartition("-")[2] for path in outcome.images] == ["0.png", "1.png", "2.png"]
    assert (outcome.reused, outcome.work.images) == (False, 1)
    assert before.items() <= lane.objects("images/").items()


class Half(Scripted):
    """Has no image at index 0, for a reason."""

    def __init__(self, error):
        super().__init__()
        self._error = error

    async def generate(self, prompt, *, first, count):
        if first == 0:
            raise self._error
        return await super().generate(prompt, first=first, count=count)


async def test_if_some_images_are_refused_the_prediction_has_the_others(generator, prompt_of):
    prompt = prompt_of("a fox", images=2)
    outcome = predicted(await generator(Half(blocked_error("no"))).outcome(prompt))
    assert [path.rpartition("-")[2] for path in outcome.images] == ["1.png"]
    again = Scripted()
    assert predicted(await generator(again).outcome(prompt)).images == outcome.images
    assert again.asked == []


@pytest.mark.parametrize(
    "error", [no_image_error("none"), error_from_status(404, "gone")], ids=["empty", "gone"]
)
async def test_if_some_images_do_not_come_the_failure_says_how_many_and_a_replay_pays_for_the_rest(
    generator, prompt_of, error
):
    prompt = prompt_of("a fox", images=2)
    failure = failed(await generator(Half(error)).outcome(prompt))
    assert (failure.reason, failure.retryable) == (error.reason, True)
    assert failure.detail == (
        f"1 of 2 images came, and a replay asks only for the others: {error.detail}"
    )
    again = Scripted()
    outcome = predicted(await generator(again).outcome(prompt))
    assert again.asked == [(0, 1)]
    assert [path.rpartition("-")[2] for path in outcome.images] == ["0.png", "1.png"]


async def test_an_outage_outweighs_a_refusal_since_it_may_pass(generator, prompt_of):
    model = Scripted(blocked_error("no"), error_from_status(404, "gone"), 1)
    failure = failed(await generator(model).outcome(prompt_of("a fox", images=3)))
    assert (failure.reason, failure.retryable) == (Reason.MODEL_ERROR, True)


@pytest.mark.parametrize(
    ("script", "asked"),
    [
        ([1], [(0, 4), (1, 3)]),
        ([1, 1, 1], [(0, 4), (1, 3), (2, 2), (3, 1)]),
        ([2, no_image_error("none"), 1], [(0, 4), (2, 2), (2, 2), (3, 1)]),
        ([3, unreachable_error("cut")], [(0, 4), (3, 1), (3, 1)]),
        # More than was asked for is no reason for anything.
        ([7], [(0, 4)]),
    ],
)
async def test_images_that_are_missing_from_an_answer_are_asked_for_again(
    generator, prompt_of, script, asked
):
    model = Scripted(*script, images_per_call=4)
    outcome = predicted(await generator(model).outcome(prompt_of("a fox", images=4)))
    assert model.asked == asked
    assert [path.rpartition("-")[2] for path in outcome.images] == [f"{n}.png" for n in range(4)]


async def test_an_endpoint_that_gives_one_image_per_call_is_paid_for_as_many_as_asked_for(
    cloud, generator, prompt_of, paid
):
    cloud.models(stable_diffusion=True)
    outcome = predicted(await generator().outcome(prompt_of("a fox", model=FLUX, images=4)))
    assert paid() == (4, 4)
    assert len(outcome.images) == outcome.work.images == 4


# The budget


@pytest.mark.slow
async def test_a_budget_is_never_exceeded_and_prompts_beyond_it_can_be_replayed(
    generator, prompt_of, paid
):
    work = generator(max_images=3)
    prompts = [prompt_of(f"fox number {number}") for number in range(8)]
    outcomes = await asyncio.gather(*map(work.outcome, prompts))
    assert paid() == (3, 3)
    failures = [one for one in outcomes if isinstance(one, Failure)]
    assert len(failures) == 5
    for failure in failures:
        assert (failure.reason, failure.retryable) == (Reason.OVER_BUDGET, True)
        assert failure.attempts == 0
        assert "--max_images" in failure.detail


async def test_empty_calls_and_existing_images_are_not_charged_to_the_budget(generator, prompt_of):
    model = Scripted(blocked_error("no"), KeyError("bug"), 1, 1)
    work = generator(model, max_images=2)
    failed(await work.outcome(prompt_of("one")))
    failed(await work.outcome(prompt_of("two")))
    for _ in range(3):
        predicted(await work.outcome(prompt_of("three")))
    predicted(await work.outcome(prompt_of("four")))
    assert "--max_images" in failed(await work.outcome(prompt_of("five"))).detail


async def test_images_that_were_not_returned_go_back_into_the_budget(generator, prompt_of):
    model = Scripted(1, blocked_error("no"), images_per_call=4)
    work = generator(model, max_images=4)
    predicted(await work.outcome(prompt_of("one", images=4)))
    predicted(await work.outcome(prompt_of("two", images=3)))
    failed(await work.outcome(prompt_of("three", images=1)))


# Canaries


async def test_a_canary_is_answered_without_a_model_call_or_a_lookup(generator):
    model = Scripted()
    canary = Canary("probe-1")
    work = generator(model, location="gs://no-such-bucket/images", max_images=1)
    outcome = predicted(await work.outcome(canary))
    assert model.asked == []
    assert outcome.canary
    assert (outcome.prompt_id, outcome.images) == ("~canary:probe-1", ())
    assert (outcome.deduplication_key, outcome.source) == (canary.deduplication_key, "stream")


# Many at once


async def test_no_more_calls_than_the_ceiling_however_many_prompts(generator, prompt_of):
    model = Scripted(latency_s=0.005)
    limiter = AdaptiveLimiter(4)
    work = generator(model, limiter=limiter, max_in_flight=4)
    prompts = [prompt_of(f"fox number {number}") for number in range(60)]
    outcomes = await asyncio.gather(*map(work.outcome, prompts))
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    assert [outcome.prompt for outcome in outcomes] == [prompt.text for prompt in prompts]
    assert model.most_in_flight == 4
    assert limiter.in_flight == 0


@pytest.mark.parametrize("images", [1, 4])
async def test_prompts_wait_before_their_images_can_fill_the_memory(
    images, generator, prompt_of, serve, monkeypatch, tmp_path
):
    """While storage is slow, no calls start whose images would have to wait in memory."""
    store = ObjectStore(tmp_path / "storage")
    store.create_bucket("bucket-1")
    may_store = asyncio.Event()

    async def slow(request):
        if request.method == "POST" and not request.query["name"].endswith(".claim"):
            await may_store.wait()

    url = await serve(storage_app(store, faults=slow))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    model = Scripted()
    work = generator(model, location="gs://bucket-1/images", max_in_flight=4)
    prompts = [prompt_of(f"fox number {number}", images=images) for number in range(40)]
    tasks = [asyncio.create_task(work.outcome(prompt)) for prompt in prompts]
    last, quiet_since = 0, time.monotonic()
    while len(model.asked) < 4 or time.monotonic() - quiet_since < 0.2:
        await asyncio.sleep(0.01)
        if len(model.asked) != last:
            last, quiet_since = len(model.asked), time.monotonic()
    assert 4 <= last <= 4 * image_maker.ROOM_OVER_IN_FLIGHT + 1
    may_store.set()
    assert all(isinstance(one, Prediction) for one in await asyncio.gather(*tasks))
    store.close()


@pytest.mark.slow
async def test_while_images_wait_for_storage_no_further_prompt_is_begun(
    generator, session, prompt_of, serve, monkeypatch, tmp_path
):
    """Their claims would have to be renewed, which a slow storage may not even keep up with."""
    monkeypatch.setattr(image_maker, "MAX_LAG_S", 0.3)
    objects = ObjectStore(tmp_path / "storage")
    objects.create_bucket("bucket-1")
    may_store, looked_up = asyncio.Event(), 0

    async def slow(request):
        nonlocal looked_up
        looked_up += request.method == "GET"
        if request.path.startswith("/upload") and request.query["name"].endswith(".png"):
            await may_store.wait()

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(storage_app(objects, faults=slow)))
    lanes = Lanes(uploads=StorageLane(2, lambda: 2, Rate()))
    store = ImageStore(session, Location.parse("gs://bucket-1/images"), lanes=lanes)
    limiter = AdaptiveLimiter(8)
    work = generator(Scripted(), limiter=limiter, max_in_flight=8, store=store)
    first = [asyncio.create_task(work.outcome(prompt_of(f"fox {number}"))) for number in range(5)]
    async with asyncio.timeout(60):
        while store.lag_s < 0.3:  # noqa: ASYNC110 - a clock
            await asyncio.sleep(0.05)
    assert looked_up == 5
    later = [asyncio.create_task(work.outcome(prompt_of(f"hen {number}"))) for number in range(3)]
    await asyncio.sleep(0.3)
    assert looked_up == 5
    may_store.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*first, *later), 60)
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    assert looked_up == 8
    objects.close()


@pytest.mark.slow
async def test_a_storage_that_hangs_for_a_while_is_caught_up_with_and_nothing_is_paid_twice(
    generator, session, prompt_of, serve, monkeypatch, tmp_path
):
    """Requests that were under way are never answered, and those that wait are not sent for it."""
    monkeypatch.setattr("beam_jobs.images.objects.REQUEST_TIMEOUT_S", 0.5)
    monkeypatch.setattr("beam_jobs.images.claim_objects.REQUEST_TIMEOUT_S", 0.5)
    objects = ObjectStore(tmp_path / "storage")
    objects.create_bucket("bucket-1")
    hung, hanging = [], asyncio.Event()

    async def hang(request):
        if hanging.is_set():
            hung.append(request.path)
            await asyncio.sleep(60)  # the client gives up

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(storage_app(objects, faults=hang)))
    model = Scripted(latency_s=0.05)
    location = Location.parse("gs://bucket-1/images")
    limiter = AdaptiveLimiter(32)
    store = ImageStore(session, location, lanes=lanes_of(32, lambda: limiter.in_flight))
    work = generator(model, limiter=limiter, max_in_flight=32, store=store)
    prompts = [prompt_of(f"fox number {number}") for number in range(150)]
    tasks = [asyncio.create_task(work.outcome(prompt)) for prompt in prompts]
    while sum(task.done() for task in tasks) < 30:  # noqa: ASYNC110 - another's tasks
        await asyncio.sleep(0.01)
    hanging.set()
    await asyncio.sleep(2.0)
    hanging.clear()
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks), 100)
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    assert len(model.asked) == len(prompts)
    assert 0 < len(hung) < 4 * (LOOKUPS_AT_ONCE + UPLOADS_AT_ONCE), "each is sent once a timeout"
    objects.close()


async def test_the_limiter_learns_of_quota_refusals_and_of_success(generator, prompt_of):
    limiter = AdaptiveLimiter(64)
    work = generator(Scripted(error_from_status(429, "slow down")), limiter=limiter)
    predicted(await work.outcome(prompt_of("a fox")))
    assert limiter.per_second is not None


async def test_a_window_that_is_full_grows(generator, prompt_of):
    full = asyncio.Event()

    class Full(Scripted):
        waiting = 0

        async def generate(self, prompt, *, first, count):
            self.waiting += 1
            if self.waiting == INITIAL_IN_FLIGHT:
                full.set()
            await full.wait()
            return await super().generate(prompt, first=first, count=count)

    growing = AdaptiveLimiter(256)
    work = generator(Full(), limiter=growing, max_in_flight=256)
    prompts = [prompt_of(f"fox number {number}") for number in range(100)]
    await asyncio.gather(*map(work.outcome, prompts))
    assert growing.limit > INITIAL_IN_FLIGHT


async def test_a_cancelled_prompt_leaves_nothing_behind(generator, prompt_of):
    limiter = AdaptiveLimiter(1)
    model = Scripted(latency_s=0.05)
    work = generator(model, limiter=limiter, max_images=2)
    prompt = prompt_of("a fox")
    for _ in range(5):
        model.called.clear()
        task = asyncio.create_task(work.outcome(prompt))
        await model.called.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert limiter.in_flight == 0
    predicted(await work.outcome(prompt))
    predicted(await work.outcome(prompt_of("an owl")))


async def test_an_unexpected_error_that_quotes_the_prompt_is_logged_without_it(
    generator, prompt_of, caplog
):
    secret = "jane doe, 4915112345678"

    def broken(_):
        raise ValueError(f"cannot draw {secret}")

    failure = failed(await generator(model_of=broken).outcome(prompt_of(secret)))
    assert secret in failure.detail, "the dead letter has it"
    assert "unexpected ValueError on prompt" in caplog.text
    assert "in broken" in caplog.text, "where it was raised"
    assert secret not in caplog.text
