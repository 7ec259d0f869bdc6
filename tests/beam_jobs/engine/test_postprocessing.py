"""Images that a custom function changes: paid for once, and never another function's."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from beam_jobs.custom.function import CustomFunction, Refusal
from beam_jobs.custom.postprocess import Postprocess
from beam_jobs.engine.finished import Finished
from beam_jobs.engine.generate import ImageGenerator
from beam_jobs.engine.hold import Gates
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.purse import Purse
from beam_jobs.engine.references import References
from beam_jobs.images.location import Location
from beam_jobs.images.object_metadata import ImageMetadata
from beam_jobs.images.store import ImageStore
from beam_jobs.models.answer_memory import AnswerMemory
from beam_jobs.models.base import Answer, Image, blocked_error
from beam_jobs.models.bill import FREE, Bill
from beam_jobs.outcomes import Failure, Prediction, Reason
from beam_jobs.prompts.alternative import changed_by
from beam_jobs.prompts.parse import Prompt
from tests.beam_jobs.conftest import GEMINI
from tests.conftest import BUCKET, Lane
from tests.message_schemas import message_of
from tests.pictures import encoded, png

pytestmark = pytest.mark.asyncio


class Model:
    """Draws a PNG that says how many it has drawn; `errors` come first."""

    images_per_call = 1

    def __init__(self, *errors: Exception, version: str = "") -> None:
        self.drawn = 0
        self.errors = list(errors)
        self.bill = Bill(model_version=version) if version else FREE

    async def generate(self, prompt: Prompt, *, first: int, count: int) -> Answer:
        assert prompt.postprocess is None
        if self.errors:
            raise self.errors.pop()
        self.drawn += 1
        return Answer([Image(png(b"drawn\0%d" % self.drawn), "png", "image/png")], self.bill)


@pytest.fixture
def worker(lane: Lane, session: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return what makes the generator of a worker whose job has a function."""

    def make(
        model: Any, function: Callable[[bytes], Any] | None, version: str = "1", **changes: Any
    ) -> ImageGenerator:
        named = CustomFunction("--postprocess", "m:f", version)
        postprocess = Postprocess(named, timeout_s=0.3) if function else None
        monkeypatch.setattr(CustomFunction, "load", lambda _: function)
        settings = {
            "store": ImageStore(session, Location.parse(lane.images_location)),
            "limiter": AdaptiveLimiter(8),
            "answer_memory": AnswerMemory(),
            "max_in_flight": 8,
            "max_retry_s": 5.0,
            "purse": Purse([], lambda *_: pytest.fail("no budget")),
            "finished": Finished(0),
            "source": "stream",
            "gates": Gates(),
            "references": References(session),
        }
        return ImageGenerator(
            model_of=lambda _: model, postprocess=postprocess, **(settings | changes)
        )

    return make


def with_function(prompt: Prompt, version: str = "1") -> Prompt:
    return changed_by(prompt, f"m:f@{version}")


async def prediction(generator: ImageGenerator, prompt: Prompt) -> Prediction:
    outcome = await generator.outcome(prompt)
    message_of(outcome)
    assert isinstance(outcome, Prediction), outcome
    return outcome


async def failure(generator: ImageGenerator, prompt: Prompt) -> Failure:
    outcome = await generator.outcome(prompt)
    message_of(outcome)
    assert isinstance(outcome, Failure), outcome
    return outcome


def content(lane: Lane, path: str) -> bytes:
    return lane.objects()[path.partition(f"{lane.name}/")[2]]


async def test_what_is_published_is_what_the_function_has_made(
    lane: Lane, worker: Any, prompt_of: Any
):
    webp = encoded("WEBP")
    prompt = with_function(prompt_of("A fox", images=2, id="fox-1"))
    found = await prediction(worker(Model(), lambda _: webp), prompt)
    assert found.digest == prompt.digest
    assert [path.rpartition("/")[2] for path in found.images] == [
        f"{prompt.digest}-0.webp",
        f"{prompt.digest}-1.webp",
    ]
    assert {content(lane, path) for path in found.images} == {webp}
    assert (found.work.images, found.reused) == (2, False)
    record = json.loads(
        content(lane, f"{lane.name}/images/{prompt.digest[:2]}/{prompt.digest}.json")
    )
    assert record["postprocess"] == "m:f@1"
    assert record["raw_digest"] == prompt_of("A fox", images=2).digest


async def test_the_digest_covers_the_function_and_its_version(prompt_of: Any):
    prompt = prompt_of("A fox")
    digests = {prompt.digest, with_function(prompt).digest, with_function(prompt, "2").digest}
    assert len(digests) == 3
    assert changed_by(with_function(prompt), None).digest == prompt.digest


async def test_the_same_prompt_is_neither_drawn_nor_changed_again(worker: Any, prompt_of: Any):
    model, calls = Model(), []

    def signed(image: bytes) -> bytes:
        calls.append(image)
        return image + b"signed"

    prompt = with_function(prompt_of("A fox"))
    first = await prediction(worker(model, signed), prompt)
    another = dataclasses.replace(prompt, origin="another")
    again = await prediction(worker(model, signed), another)
    assert again.images == first.images
    assert again.reused
    assert (model.drawn, len(calls)) == (1, 1)


async def test_another_version_begins_with_the_stored_image_and_pays_nothing(
    lane: Lane, worker: Any, prompt_of: Any
):
    model, prompt = Model(), prompt_of("A fox")
    first = await prediction(worker(model, lambda image: image + b"1"), with_function(prompt))
    second = await prediction(
        worker(model, lambda image: image + b"2", "2"),
        dataclasses.replace(with_function(prompt, "2"), origin="another"),
    )
    plain = await prediction(worker(model, None), prompt)
    assert model.drawn == 1
    assert second.reused
    assert [content(lane, each.images[0])[-1:] for each in (first, second, plain)] == [
        b"1",
        b"2",
        png()[-1:],
    ]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (lambda _: 1 / 0, "raised ZeroDivisionError"),
        (lambda _: None, "returned NoneType"),
        (lambda _: b"GIF89a", "that are not a PNG, JPEG or WebP image"),
    ],
)
async def test_a_function_that_fails_costs_no_second_image(
    worker: Any, prompt_of: Any, bad: Any, said: str
):
    model, prompt = Model(), with_function(prompt_of("A fox"))
    failed = await failure(worker(model, bad), prompt)
    assert (failed.reason, failed.retryable) == (Reason.CUSTOM_FUNCTION_FAILED, True)
    assert said in failed.detail
    assert failed.detail.endswith("the image is kept, and is not paid for again")
    assert failed.work.images == 1
    replayed = await prediction(worker(model, lambda image: image + b"mended"), prompt)
    assert model.drawn == 1
    assert replayed.work.images == 0


async def test_a_function_that_hangs_fails_its_prompt_and_holds_no_other(
    worker: Any, prompt_of: Any
):
    import threading

    released = threading.Event()

    def sometimes(image: bytes) -> bytes:
        if b"drawn\x001" in image:
            released.wait(30.0)
        return image

    generator = worker(Model(), sometimes)
    hung = await failure(generator, with_function(prompt_of("A fox")))
    assert "did not return within 0.3 s" in hung.detail
    await prediction(generator, with_function(prompt_of("An owl")))
    released.set()


async def test_a_refused_image_is_a_dead_letter_and_the_others_are_published(
    worker: Any, prompt_of: Any
):
    def no_first(image: bytes) -> Any:
        return Refusal("shows a face") if b"drawn\x001" in image else image

    model = Model()
    refused = await failure(worker(model, no_first), with_function(prompt_of("A fox")))
    assert (refused.reason, refused.retryable) == (Reason.BLOCKED, False)
    assert refused.detail == "image refused by --postprocess m:f: shows a face"
    model.drawn = 0
    some = await prediction(worker(model, no_first), with_function(prompt_of("A cat", images=3)))
    assert len(some.images) == 2


async def test_what_another_model_has_drawn_is_changed_too(worker: Any, prompt_of: Any):
    model = Model(version="gemini-nano-banana-2.1")
    prompt = with_function(prompt_of("A fox"))
    found = await prediction(worker(model, lambda image: image + b"signed"), prompt)
    assert (found.requested_model, found.model) == (GEMINI, "gemini-nano-banana-2.1")
    assert found.digest != prompt.digest
    assert found.digest in found.images[0]
    assert model.drawn == 1


async def test_what_the_model_refuses_stays_refused(worker: Any, prompt_of: Any):
    model = Model(blocked_error("prompt refused"))
    refused = await failure(worker(model, bytes), with_function(prompt_of("A fox")))
    assert (refused.reason, refused.detail) == (Reason.BLOCKED, "prompt refused")


async def test_an_image_says_its_own_digest_in_its_metadata(
    lane: Lane, worker: Any, prompt_of: Any
):
    prompt = with_function(prompt_of("A fox"))
    generator = worker(Model(), bytes, metadata=ImageMetadata.ON)
    (path,) = (await prediction(generator, prompt)).images
    blob = lane.storage.bucket(BUCKET).get_blob(path.removeprefix(f"gs://{BUCKET}/"))
    assert blob.metadata["digest"] == prompt.digest
    assert blob.metadata["cost-usd"] == "0.000000"


async def test_only_what_is_published_gets_a_thumbnail(
    lane: Lane, session: Any, worker: Any, prompt_of: Any
):
    added: list[str] = []

    class Noted:
        def add(self, digest: str, index: int, name: str) -> None:
            added.append(digest)

    prompt = with_function(prompt_of("A fox"))
    store = ImageStore(session, Location.parse(lane.images_location), Noted())  # type: ignore[arg-type]
    await prediction(worker(Model(), bytes, store=store), prompt)
    assert added == [prompt.digest]
