"""Workers that get the same new prompt at the same moment: one pays, and the others wait."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web

from beam_jobs.engine import claim_decision, claims
from beam_jobs.images.claim import Claimant
from beam_jobs.images.location import Location
from beam_jobs.outcomes import Prediction, Reason
from imagen_ops.backfill.stored_records import StoredRecords
from localcloud.storage import ObjectStore, storage_app
from tests.beam_jobs.engine import test_generate
from tests.beam_jobs.engine.test_generate import Scripted, failed, predicted
from tests.conftest import ROOT, eventually

generator, paid = test_generate.generator, test_generate.paid
_quick_backoff = test_generate._quick_backoff
_every_outcome_fits_its_schema = test_generate._every_outcome_fits_its_schema

# One worker process: it works on all prompts at once, and prints a line for each outcome.
WORKER = """
import asyncio, json, sys
import aiohttp
from beam_jobs.engine.finished import Finished
from beam_jobs.engine.generate import ImageGenerator
from beam_jobs.engine.hold import Gates
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.purse import Purse
from beam_jobs.engine.references import References
from beam_jobs.images.location import Location
from beam_jobs.images.store import ImageStore
from beam_jobs.models.answer_memory import AnswerMemory, SlottedResponse
from beam_jobs.models.gemini import GeminiModel
from beam_jobs.outcomes import Prediction
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import parse

location, run, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
MODEL = "gemini-3.1-flash-image"
defaults = PromptDefaults(model=MODEL, allowed_models=frozenset({MODEL}))

async def main():
    async with aiohttp.ClientSession(response_class=SlottedResponse) as session:
        model = GeminiModel(
            session, model=MODEL, project="demo-project", location="global", timeout_s=60.0
        )
        work = ImageGenerator(
            model_of=lambda _: model, store=ImageStore(session, Location.parse(location)),
            limiter=AdaptiveLimiter(64), answer_memory=AnswerMemory(), max_in_flight=64,
            max_retry_s=60.0, purse=Purse([], None), finished=Finished(0), source=run, run=run,
            gates=Gates(), references=References(session),
        )
        async def one(number):
            body = json.dumps({"prompt": f"a fox, number {number}"}).encode()
            prompt = parse(body, {}, origin=f"message-{number}", defaults=defaults)
            outcome = await work.outcome(prompt)
            fine = isinstance(outcome, Prediction)
            line = {"number": number, "images": outcome.images if fine else outcome.detail,
                    "paid": outcome.work.images, "reused": fine and outcome.reused}
            print(json.dumps(line), flush=True)
        print("ready", flush=True)
        sys.stdin.readline()
        await asyncio.gather(*map(one, range(first, last)))

asyncio.run(main())
"""


@pytest.fixture
def start_worker(cloud, lane):
    """Return a function that starts a worker process, which waits for a line before it begins."""
    started = []

    def start(run="stream", *, numbers=range(1)):
        worker = subprocess.Popen(
            [
                *(sys.executable, "-c", WORKER, lane.images_location, run),
                *(str(numbers.start), str(numbers.stop)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | cloud.environment,
        )
        started.append(worker)
        assert worker.stdout.readline() == "ready\n"
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.wait()
        worker.stdin.close()
        worker.stdout.close()


def begin(*workers):
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()


def outcomes_of(*workers):
    """Read at the same time: a worker whose pipe is full stands still, and renews no claim."""

    def read(worker):
        found = [json.loads(line) for line in worker.stdout]
        return {each["number"]: each for each in found}

    with ThreadPoolExecutor() as pool:
        return list(pool.map(read, workers))


def claim_of(lane, prompt):
    return f"images/{prompt.digest[:2]}/{prompt.digest}.claim"


def put_claim(lane, prompt, content):
    lane.put(claim_of(lane, prompt), content)


def put_object(store, name, content):
    writer = store.new_content()
    writer.append([content])
    store.put("bucket-1", name, writer.finish())


def by(payer, process):
    return Claimant(payer, process).to_json()


@pytest.fixture
def short_leases(monkeypatch):
    monkeypatch.setattr(claim_decision, "LEASE_S", 2.0)
    monkeypatch.setattr(claim_decision, "OWN_LEASE_S", 1.0)
    monkeypatch.setattr(claims, "RENEW_EVERY_S", 0.3)
    monkeypatch.setattr(claims, "FIRST_LOOK_S", 0.05)
    monkeypatch.setattr(claims, "MAX_LOOK_S", 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [("stream", "stream"), ("stream", "backfill:night-1")])
def test_what_two_processes_get_at_the_same_moment_is_paid_for_once(
    cloud, lane, start_worker, paid, runs
):
    cloud.models(latency_s=0.2)
    count = 100
    workers = [start_worker(run, numbers=range(count)) for run in runs]
    begin(*workers)
    one, two = outcomes_of(*workers)
    assert paid() == (count, count)
    assert set(one) == set(two) == set(range(count))
    for number in range(count):
        assert one[number]["images"] == two[number]["images"], "both get the same images"
        assert one[number]["paid"] + two[number]["paid"] == 1


@pytest.mark.slow
def test_a_killed_worker_holds_nobody_up_on_its_machine(cloud, lane, start_worker, paid):
    cloud.models(latency_s=1.0)
    killed, other, same = (start_worker(run) for run in ("stream", "backfill:night-1", "stream"))
    begin(killed)
    eventually(lambda: cloud.models()["in_flight"] > 0, within_s=30)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    started = time.monotonic()
    begin(other, same)
    one, two = outcomes_of(other, same)
    assert one[0]["images"] == two[0]["images"]
    assert time.monotonic() - started < claim_decision.OWN_LEASE_S
    # What the killed one had asked for is lost; of the others, one asks again.
    assert paid()[0] == 2


@pytest.mark.asyncio
async def test_a_second_worker_waits_and_gets_the_images_of_the_first(generator, prompt_of):
    model = Scripted(latency_s=0.4)
    prompts = [prompt_of("a fox", origin=f"message-{number}") for number in range(2)]
    work = [generator(model), generator(model)]
    one, two = await asyncio.gather(
        *(each.outcome(prompt) for each, prompt in zip(work, prompts, strict=True))
    )
    assert len(model.asked) == 1
    assert predicted(one).images == predicted(two).images
    assert sorted([one.reused, two.reused]) == [False, True]
    assert min(one.work.latency_ms, two.work.latency_ms) >= 300, "the wait is part of the latency"


@pytest.mark.asyncio
async def test_the_same_delivery_on_two_living_workers_is_paid_for_once(generator, prompt_of):
    model = Scripted(latency_s=0.4)
    outcomes = await asyncio.gather(
        *(generator(model).outcome(prompt_of("a fox")) for _ in range(3))
    )
    assert len(model.asked) == 1
    assert len({predicted(one).images for one in outcomes}) == 1


@pytest.mark.asyncio
async def test_who_waits_takes_no_place_of_a_call(generator, lane, prompt_of):
    prompts = [prompt_of(f"fox number {number}") for number in range(5)]
    for prompt in prompts:
        put_claim(lane, prompt, by("ab" * 16, "elsewhere/1/1/x"))
    work = generator(Scripted(), max_in_flight=1)
    waiting = [asyncio.create_task(work.outcome(prompt)) for prompt in prompts]
    predicted(await asyncio.wait_for(work.outcome(prompt_of("an owl")), 30))
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_prompt_that_fails_gives_its_claim_up(generator, lane, prompt_of):
    prompt = prompt_of("a fox fault:blocked")
    failed(await generator().outcome(prompt))
    assert lane.objects("images/") == {}


@pytest.mark.asyncio
async def test_who_waits_for_a_prompt_that_fails_tries_it_then(generator, prompt_of, short_leases):
    class Refusing(Scripted):
        async def generate(self, prompt, *, first, count):
            await super().generate(prompt, first=first, count=count)
            raise KeyError("a bug of the first worker")

    first, second = Refusing(latency_s=0.3), Scripted()
    task = asyncio.create_task(generator(first).outcome(prompt_of("a fox", origin="message-1")))
    await first.called.wait()
    outcome = await generator(second).outcome(prompt_of("a fox", origin="message-2"))
    failed(await task)
    assert predicted(outcome).work.images == 1


CLAIMS = {
    "empty": "",
    "text": "not JSON",
    "deep": "[" * 900,
    "no fields": "{}",
    "schema": '{"schema": "imagen.claim/2", "payer": "x", "process": "y"}',
    "types": '{"schema": "imagen.claim/1", "payer": 1, "process": ["y"], "until": "2099-01-01"}',
    "2099": '{"schema": "imagen.claim/1", "payer": "x", "process": "9/9/9", "until": "2099-01-01"}',
    "large": "x" * 5_000_000,
    "bytes": b"\xff\xfe\x00",
}


@pytest.mark.slow
@pytest.mark.asyncio
async def test_whatever_claims_say_they_expire(generator, lane, prompt_of, short_leases):
    prompts = {what: prompt_of(f"a fox with {what}") for what in CLAIMS}
    for what, content in CLAIMS.items():
        put_claim(lane, prompts[what], content)
    model = Scripted()
    work = generator(model)
    # At the same time, as each waits for a lease.
    outcomes = await asyncio.wait_for(asyncio.gather(*map(work.outcome, prompts.values())), 30)
    for what, outcome in zip(prompts, outcomes, strict=True):
        assert isinstance(outcome, Prediction), what
    assert len(model.asked) == len(CLAIMS)
    for what, prompt in prompts.items():
        left = json.loads(lane.objects("images/")[claim_of(lane, prompt)])
        assert left["schema"] == "imagen.claim/1", what


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_claim_of_the_same_delivery_expires_sooner(generator, lane, prompt_of, monkeypatch):
    monkeypatch.setattr(claim_decision, "OWN_LEASE_S", 1.0)
    monkeypatch.setattr(claims, "FIRST_LOOK_S", 0.05)
    first = Scripted(latency_s=60.0)
    work = generator(first)
    task = asyncio.create_task(work.outcome(prompt_of("a fox")))
    await first.called.wait()
    # As if its worker had died on another machine.
    claim = json.loads(next(v for k, v in lane.objects("images/").items() if k.endswith("claim")))
    put_claim(lane, prompt_of("a fox"), by(claim["payer"], "elsewhere/1/1/x"))
    again = Scripted()
    predicted(await asyncio.wait_for(generator(again).outcome(prompt_of("a fox")), 30))
    assert len(again.asked) == 1
    task.cancel()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_claim_that_is_renewed_outlives_its_lease(generator, prompt_of, short_leases):
    model = Scripted(latency_s=4.0)
    one, two = await asyncio.gather(
        *(generator(model).outcome(prompt_of("a fox", origin=f"m-{n}")) for n in range(2))
    )
    assert len(model.asked) == 1
    assert predicted(one).images == predicted(two).images


@pytest.mark.asyncio
async def test_a_prompt_waits_no_longer_than_it_may(
    generator, lane, prompt_of, short_leases, monkeypatch
):
    monkeypatch.setattr(claims, "MAX_WAIT_S", 0.5)
    model = Scripted(latency_s=60.0)
    task = asyncio.create_task(generator(model).outcome(prompt_of("a fox", origin="message-1")))
    await model.called.wait()
    failure = failed(await generator(model).outcome(prompt_of("a fox", origin="message-2")))
    assert (failure.reason, failure.retryable, failure.attempts) == (Reason.UNAVAILABLE, True, 0)
    assert "another worker has been making these images" in failure.detail
    assert f"{lane.images_location}/" in failure.detail
    task.cancel()


# Storage with a clock of its own, that is slow, or that refuses claims


@pytest.fixture
def storage(serve, monkeypatch, tmp_path):
    """Return a function that starts Cloud Storage with faults, whose store it returns."""
    stores = []

    async def start(faults, answered=None):
        store = ObjectStore(tmp_path / "storage")
        stores.append(store)
        store.create_bucket("bucket-1")
        app = storage_app(store, faults=faults)
        if answered:
            app.on_response_prepare.append(answered)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(app))
        return store

    yield start
    for store in stores:
        store.close()


def is_claim(request):
    return request.query.get("name", request.path).endswith(".claim")


@pytest.mark.slow
@pytest.mark.parametrize("ahead_s", [-3600, -60, 60, 3600])
@pytest.mark.asyncio
async def test_only_storages_clock_counts_whatever_the_workers_says(
    generator, lane, prompt_of, short_leases, monkeypatch, ahead_s
):
    """The worker's clock is a minute, or an hour, ahead of storage's or behind it."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead_s)
    model = Scripted(latency_s=1.0)
    outcomes = await asyncio.gather(
        *(generator(model).outcome(prompt_of("a fox", origin=f"m-{n}")) for n in range(2))
    )
    assert len(model.asked) == 1
    assert all(isinstance(one, Prediction) for one in outcomes)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_claims_without_a_usable_age_expire_too(generator, prompt_of, storage, short_leases):
    dates = ["", "tomorrow", "Thu, 01 Jan 2099 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"]
    prompts = [prompt_of(f"a fox on date {number}") for number in range(len(dates))]
    claims = [f"images/{prompt.digest[:2]}/{prompt.digest}.claim" for prompt in prompts]

    async def answered(request, response):
        asked_for = request.query.get("name", request.path)
        for date, prompt in zip(dates, prompts, strict=True):
            if prompt.digest in asked_for:
                response.headers["Date"] = date

    store = await storage(None, answered)
    for claim in claims:
        put_object(store, claim, by("ab" * 16, "elsewhere/1/1/x"))
    model = Scripted()
    work = generator(model, location="gs://bucket-1/images")
    outcomes = await asyncio.wait_for(asyncio.gather(*map(work.outcome, prompts)), 30)
    assert all(isinstance(outcome, Prediction) for outcome in outcomes), outcomes
    assert len(model.asked) == len(dates)


@pytest.mark.asyncio
async def test_a_job_that_may_not_write_claims_says_so_once_and_goes_on(
    generator, prompt_of, storage, caplog
):
    async def faults(request):
        if request.method == "POST" and is_claim(request):
            reason = {"reason": "forbidden", "message": "no storage.objects.create access"}
            error = {"code": 403, "message": reason["message"], "errors": [reason]}
            return web.json_response({"error": error}, status=403)
        return None

    await storage(faults)
    model = Scripted()
    work = generator(model, location="gs://bucket-1/images")
    for number in range(3):
        predicted(await work.outcome(prompt_of(f"fox number {number}")))
    assert len(model.asked) == 3
    told = [record.getMessage() for record in caplog.records if "takes no claims" in record.message]
    assert len(told) == 1
    assert "composer.tf" in told[0]
    assert "fox" not in told[0]


@pytest.mark.asyncio
async def test_a_storage_that_fails_a_claim_a_few_times_is_asked_again(
    generator, prompt_of, storage
):
    asked = []

    async def faults(request):
        if request.method == "POST" and is_claim(request):
            asked.append(request)
            return web.json_response({}, status=503) if len(asked) < 3 else None
        return None

    await storage(faults)
    model = Scripted()
    predicted(await generator(model, location="gs://bucket-1/images").outcome(prompt_of("a fox")))
    assert (len(asked), len(model.asked)) == (3, 1)


@pytest.mark.asyncio
async def test_a_claim_whose_answer_was_lost_is_ones_own(
    generator, prompt_of, storage, short_leases
):
    """The request that created it broke off, and its repetition finds it there."""
    lost = []

    async def answered(request, response):
        if request.method == "POST" and is_claim(request) and not lost:
            lost.append(request)
            request.transport.abort()

    await storage(None, answered)
    model = Scripted()
    started = time.monotonic()
    predicted(await generator(model, location="gs://bucket-1/images").outcome(prompt_of("a fox")))
    assert (len(lost), len(model.asked)) == (1, 1)
    assert time.monotonic() - started < claim_decision.OWN_LEASE_S + 10


@pytest.mark.asyncio
async def test_what_was_made_between_a_slow_lookup_and_the_claim_is_found(
    generator, prompt_of, storage, monkeypatch
):
    """Its maker failed after the first of two images, and gave its claim up."""
    monkeypatch.setattr(claims, "STALE_AFTER_S", 0.1)
    prompt = prompt_of("a fox", images=2)
    stem = f"images/{prompt.digest[:2]}/{prompt.digest}"

    async def faults(request):
        if request.method == "POST" and is_claim(request):
            put_object(store, f"{stem}-0.png", b"\x89PNG\r\n\x1a\npicture")
            await asyncio.sleep(0.2)

    store = await storage(faults)
    model = Scripted()
    work = generator(model, location="gs://bucket-1/images")
    predicted(await work.outcome(prompt))
    assert model.asked == [(1, 1)]


def test_a_claim_without_a_record_is_not_taken_for_stored_images(lane, prompt_of):
    prompts = sorted((prompt_of(f"fox {n}").digest for n in range(300)), key=str)
    folder = prompts[0][:2]
    digests = [f"{folder}{digest[2:]}" for digest in prompts[:20]]
    digests.sort()
    for digest in digests:
        lane.put(f"images/{folder}/{digest}.claim", "{}")
    lane.put(f"images/{folder}/{digests[7]}.json", "{}")
    location = Location.parse(lane.images_location)
    stored = StoredRecords(lane.storage, location, 100).stored(digests)
    assert [n for n, there in enumerate(stored) if there] == [7]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_however_many_prompts_wait_they_are_looked_at_no_more_often_together(
    cloud, generator, lane, prompt_of, short_leases, monkeypatch
):
    monkeypatch.setattr(claim_decision, "LEASE_S", 60.0)
    prompts = [prompt_of(f"fox number {number}") for number in range(60)]
    for prompt in prompts:
        put_claim(lane, prompt, by("ab" * 16, "elsewhere/1/1/x"))
    work = generator(Scripted())
    waiting = [asyncio.create_task(work.outcome(prompt)) for prompt in prompts]
    await asyncio.sleep(1.0)
    before, started = cloud.storage()["calls"], time.monotonic()
    await asyncio.sleep(1.5)
    looks = cloud.storage()["calls"] - before
    assert 1 < looks <= claims.MAX_LOOKS_PER_S * (time.monotonic() - started) + 5
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
