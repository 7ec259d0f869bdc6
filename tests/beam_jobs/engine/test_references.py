"""Reference images: what of them is looked up, and that a model was shown what the digest says."""

import asyncio
import dataclasses
import io
import json
from typing import Any

import pytest
from PIL import Image

from beam_jobs.engine.references import REFRESH_S, References
from beam_jobs.models.base import CallError
from beam_jobs.models.gemini import GeminiModel
from beam_jobs.outcomes import Failure, Prediction, Reason
from tests.beam_jobs.engine import test_generate
from tests.conftest import BUCKET

pytestmark = pytest.mark.asyncio
generator, paid = test_generate.generator, test_generate.paid


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def put(lane: Any):
    """Return a function that puts an object into the lane's folder, and returns its path."""

    def put(name: str, data: bytes, content_type: str = "image/png") -> str:
        blob = lane.storage.bucket(BUCKET).blob(f"{lane.name}/references/{name}")
        blob.upload_from_string(data, content_type=content_type)
        return f"gs://{BUCKET}/{blob.name}"

    return put


async def test_the_digest_is_of_what_a_reference_holds_and_not_of_its_name(put, session, prompt_of):
    now_s = 0.0
    references = References(session, clock=lambda: now_s)
    first, same, other = put("a.png", png("red")), put("b", png("red"), ""), put("c", png("blue"))

    async def digest(*paths: str, **fields: Any) -> str:
        return (await references.resolved(prompt_of("x", references=[*paths], **fields))).digest

    red = await digest(first)
    assert red == await digest(same) != await digest(other)
    assert len({red, await digest(first, same), prompt_of("x").digest}) == 3
    assert await digest(first, other) != await digest(other, first), "their order counts"
    with_role = prompt_of("x", references=[{"uri": first, "role": "The style."}])
    assert (await references.resolved(with_role)).digest != red
    put("a.png", png("green"))
    now_s += REFRESH_S + 1
    assert await digest(first) != red
    resolved = await references.resolved(prompt_of("x", references=first))
    assert resolved.prompt_id == f"~{resolved.digest}"
    named = await references.resolved(prompt_of("x", references=first, id="mine"))
    assert named.prompt_id == "mine"


async def test_many_prompts_with_the_same_reference_look_it_up_once(put, session, prompt_of):
    references = References(session)
    asked: list[str] = []
    for name in ("download_metadata", "download"):
        real = getattr(references._storage, name)

        def counting(*args: Any, real: Any = real, name: str = name, **options: Any) -> Any:
            asked.append(name)
            return real(*args, **options)

        setattr(references._storage, name, counting)
    path, gone = put("a.png", png("red")), f"gs://{BUCKET}/no-such.png"
    prompts = [prompt_of(f"x {number}", references=[path]) for number in range(50)]
    await asyncio.gather(*map(references.resolved, prompts))
    assert sorted(asked) == ["download", "download_metadata"]
    asked.clear()
    for _ in range(50):
        with pytest.raises(CallError):
            await references.resolved(prompt_of("x", references=[gone]))
    assert asked == ["download_metadata"]


@pytest.mark.parametrize(
    ("data", "content_type", "says"),
    [
        (None, "", "is not there; put it there, and replay"),
        (b"a text", "text/plain", "has the type 'text/plain'; expected a PNG, JPEG, WebP, HEIC"),
        (b"a text, called a PNG", "image/png", "does not begin as a PNG, JPEG, WebP, HEIC or HEIF"),
        (b"GIF89a" + b"x" * 40, "", "does not begin as"),
        (b"", "image/png", "has 0 bytes; expected 1 to 30,000,000"),
    ],
)
async def test_what_is_no_picture_fails_its_prompt_before_anything_is_paid(
    put,
    generator,
    paid,
    prompt_of,
    data,
    content_type,
    says,
):
    good = put("good.png", png("red"))
    bad = f"{good}-bad" if data is None else put("good.png-bad", data, content_type)
    outcome = await generator().outcome(prompt_of("x", references=[good, bad]))
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.retryable) == (Reason.INVALID_PROMPT, data is None)
    assert outcome.detail.startswith(f"reference {bad} ")
    assert says in outcome.detail
    assert paid() == (0, 0)


async def test_the_model_draws_from_the_references_and_the_same_is_paid_for_once(
    put,
    generator,
    paid,
    prompt_of,
    cloud,
    session,
    lane,
):
    cloud.models(canned_bytes=0)
    red, also_red = put("a.png", png("red")), put("b.png", png("red"))
    red_role = {"uri": red, "role": "The shoe."}
    made = await generator().outcome(prompt_of("a shoe", references=[red_role]))
    assert isinstance(made, Prediction), made
    again = await generator().outcome(
        prompt_of("a shoe", references=[{**red_role, "uri": also_red}], origin="message-2")
    )
    assert isinstance(again, Prediction)
    assert (again.images, again.reused, paid()) == (made.images, True, (1, 1))
    (image,) = [data for name, data in lane.objects("images/").items() if name.endswith(".png")]
    with Image.open(io.BytesIO(image)) as drawn:
        colours = drawn.convert("RGB").getcolors(1 << 24)
    reds = sum(count for count, colour in colours or () if colour == (255, 0, 0))
    assert reds > 1_000
    assert made.parameters["references"] == red
    (record,) = [data for name, data in lane.objects("images/").items() if name.endswith(".json")]
    (shown,) = json.loads(record)["references"]
    assert (shown["uri"], shown["role"], shown["content"][:4]) == (red, "The shoe.", "md5:")


async def test_an_image_is_not_stored_if_a_reference_changed_while_it_was_made(
    put,
    generator,
    prompt_of,
    session,
    lane,
):
    path = put("a.png", png("red"))

    class Slow(GeminiModel):
        async def generate(self, prompt: Any, *, first: int, count: int) -> Any:
            answer = await super().generate(prompt, first=first, count=count)
            await asyncio.to_thread(put, "a.png", png("blue"))
            return answer

    model = Slow(
        session, model="gemini-3.1-flash-image", project="p", location="global", timeout_s=60
    )
    outcome = await generator(model).outcome(prompt_of("a shoe", references=[path]))
    assert isinstance(outcome, Failure)
    assert f"reference 1, {path}, was replaced or deleted" in outcome.detail
    assert (outcome.reason, outcome.retryable) == (Reason.INVALID_PROMPT, True)
    assert outcome.work.cost_usd > 0, "the call is paid for all the same"
    assert lane.objects("images/") == {}


async def test_a_refusal_for_a_file_is_not_taken_for_one_of_the_model(prompt_of, session):
    model = GeminiModel(
        session, model="gemini-3.1-flash-image", project="p", location="global", timeout_s=60
    )
    prompt = prompt_of("x", references=[f"gs://{BUCKET}/no-such.png"])
    seen = dataclasses.replace(
        prompt, references=(dataclasses.replace(prompt.references[0], mime_type="image/png"),)
    )
    with pytest.raises(CallError, match="404: NOT_FOUND") as caught:
        await model.generate(seen, first=0, count=1)
    assert not caught.value.of_model
