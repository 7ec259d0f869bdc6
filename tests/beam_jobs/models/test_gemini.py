"""The Gemini adapter, with google-genai, against the local cloud and malformed answers."""

import asyncio
import base64
import json

import aiohttp
import pytest
from aiohttp import web

from beam_jobs.catalog import Tier
from beam_jobs.models.answer_memory import SlottedResponse
from beam_jobs.models.base import MAX_DETAIL_CHARS, CallError, Retry
from beam_jobs.models.gemini import REFUSALS, GeminiModel, answer_of
from beam_jobs.outcomes import Reason
from tests.pictures import encoded, png

PNG = png(b"picture")
JPEG = encoded("JPEG")


def image_of(body: str | bytes) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    (image,) = answer_of(content, "gemini-3.1-flash-image").images
    return image.data


def model_at(
    session,
    *,
    timeout_s=10.0,
    name="gemini-3.1-flash-image",
    location="global",
    tier=Tier.STANDARD,
) -> GeminiModel:
    return GeminiModel(
        session,
        model=name,
        project="demo-project",
        location=location,
        timeout_s=timeout_s,
        tier=tier,
    )


@pytest.fixture
def model(cloud, session):
    return model_at(session)


@pytest.fixture
def model_of(cloud, session, serve, monkeypatch):
    """Return the adapter for a model that answers with `handler`."""

    async def make(handler, **settings):
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", await serve(handler))
        return model_at(session, **settings)

    return make


async def error_of(model, prompt) -> CallError:
    with pytest.raises(CallError) as caught:
        await model.generate(prompt, first=0, count=1)
    return caught.value


def answering(body, status=200, **others):
    async def handler(_):
        if isinstance(body, dict):
            return web.json_response(body, status=status, **others)
        return web.Response(body=body, status=status, **others)

    return handler


def part(data, mime_type="image/png", **others):
    return {"inlineData": {"mimeType": mime_type, "data": base64.b64encode(data).decode()}} | others


def answer(*parts, **others):
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": "STOP", **others}]}


@pytest.mark.asyncio
async def test_one_call_makes_one_picture(cloud, model, prompt_of):
    before = cloud.models()
    (image,) = (await model.generate(prompt_of("a fox"), first=0, count=1)).images
    assert (image.extension, image.mime_type) == ("png", "image/png")
    assert len(image.data) >= 2000
    after = cloud.models()
    assert (after["calls"] - before["calls"], after["images"] - before["images"]) == (1, 1)


@pytest.mark.asyncio
async def test_the_request_says_what_the_prompt_says(model_of, prompt_of):
    seen = []

    async def handler(request):
        seen.append((request.path, request.headers, await request.json()))
        return web.json_response(answer(part(PNG)))

    model = await model_of(handler)
    prompt = prompt_of("a fox", aspect_ratio="16:9", image_size="2K", seed=7, images=3)
    await model.generate(prompt, first=2, count=1)
    await model.generate(prompt_of("a fox", seed=2**31 - 1, images=2), first=1, count=1)
    await model.generate(prompt_of("a fox"), first=0, count=1)
    path, headers, body = seen[0]
    assert path.endswith(
        "projects/demo-project/locations/global/publishers/google/models/"
        "gemini-3.1-flash-image:generateContent"
    )
    assert headers["Authorization"].startswith("Bearer ")
    assert "X-Vertex-AI-LLM-Shared-Request-Type" not in headers
    assert body["contents"][0]["parts"] == [{"text": "a fox"}]
    config = body["generationConfig"]
    assert config["responseModalities"] == ["IMAGE"]
    assert config["imageConfig"] == {"aspectRatio": "16:9", "imageSize": "2K"}
    assert config["seed"] == 9, "the third image of a seeded prompt would be its first again"
    assert seen[1][2]["generationConfig"]["seed"] == 0
    plain = seen[2][2]["generationConfig"]
    assert "seed" not in plain
    assert not plain.get("imageConfig")


@pytest.mark.asyncio
async def test_an_answer_that_is_too_large_is_asked_for_once(serve, monkeypatch, prompt_of, cloud):
    monkeypatch.setattr("beam_jobs.models.answer_memory.MAX_ANSWER_BYTES", 1000)
    asked = []

    async def handler(request):
        asked.append(request.path)
        return web.json_response(answer(part(PNG * 1000)))

    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", await serve(handler))
    async with aiohttp.ClientSession(response_class=SlottedResponse) as session:
        error = await error_of(model_at(session), prompt_of("a fox"))
    assert (error.reason, error.retry, error.retryable) == (Reason.NO_IMAGE, Retry.NEVER, True)
    assert "more than 1,000 bytes" in error.detail
    assert len(asked) == 1


@pytest.mark.asyncio
async def test_googles_client_makes_no_text_of_an_answer(serve, monkeypatch, prompt_of, cloud):
    texts = []

    class Watched(SlottedResponse):
        async def text(self, *args, **options):
            texts.append(await super().text(*args, **options))
            return texts[-1]

    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", await serve(answering(answer(part(PNG)))))
    async with aiohttp.ClientSession(response_class=Watched) as session:
        (image,) = (await model_at(session).generate(prompt_of("a fox"), first=0, count=1)).images
    assert image.data == PNG
    assert texts == [""]


@pytest.mark.asyncio
async def test_calls_at_once_each_get_their_own_answer(model_of, prompt_of):
    async def handler(request):
        text = (await request.json())["contents"][0]["parts"][0]["text"]
        await asyncio.sleep(0.02 if int(text.split()[1]) % 2 else 0.0)  # one overtakes another
        return web.json_response(answer(part(png(text.encode()))))

    model = await model_of(handler)
    texts = [f"fox {number}" for number in range(50)]
    answers = await asyncio.gather(
        *(model.generate(prompt_of(text), first=0, count=1) for text in texts)
    )
    assert [each.images[0].data for each in answers] == [png(text.encode()) for text in texts]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("tier", "asked"),
    [(Tier.STANDARD, None), (Tier.FLEX, "flex"), (Tier.PRIORITY, "priority")],
)
async def test_the_tier_is_asked_for_in_the_header(model_of, prompt_of, tier, asked):
    headers = []

    async def handler(request):
        headers.append(request.headers.get("X-Vertex-AI-LLM-Shared-Request-Type"))
        return web.json_response(answer(part(PNG)))

    model = await model_of(handler, tier=tier)
    await model.generate(prompt_of("a fox"), first=0, count=1)
    assert headers == [asked]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
    ],
)
async def test_each_location_is_called_at_its_own_host(session, monkeypatch, location, host):
    """The host decides where data is processed; google-genai derives it from the location."""
    monkeypatch.delenv("GOOGLE_VERTEX_BASE_URL", raising=False)
    options = model_at(session, location=location)._http._http_options
    assert options.base_url == f"https://{host}/"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fault", "reason", "retry", "retryable", "says"),
    [
        ("blocked", Reason.BLOCKED, Retry.NEVER, False, "prompt refused: PROHIBITED_CONTENT"),
        ("blocked-image", Reason.BLOCKED, Retry.NEVER, False, "image refused: IMAGE_SAFETY"),
        ("empty", Reason.NO_IMAGE, Retry.LIMITED, True, "an image: STOP; it says: Here you are."),
        ("not-an-image", Reason.NO_IMAGE, Retry.LIMITED, True, "not a PNG, JPEG or WebP"),
        ("garbage", Reason.NO_IMAGE, Retry.LIMITED, True, "cannot read the model's answer"),
        (
            "unavailable",
            Reason.UNAVAILABLE,
            Retry.UNTIL_TIMEOUT,
            True,
            "503: UNAVAILABLE: The service",
        ),
        ("error", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "500: INTERNAL"),
        ("quota", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "429: RESOURCE_EXHAUSTED"),
        ("invalid", Reason.MODEL_ERROR, Retry.NEVER, False, "400: INVALID_ARGUMENT"),
        ("cut", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "cannot be reached"),
        ("cancelled", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "499: CANCELLED"),
        ("aborted", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "409: ABORTED"),
        ("not-enabled", Reason.MODEL_ERROR, Retry.NEVER, True, "400: FAILED_PRECONDITION"),
        ("quota-garbled", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "429: {not JSON"),
        ("cut-image", Reason.NO_IMAGE, Retry.LIMITED, True, "a JPEG image that breaks off"),
    ],
)
async def test_each_fault_becomes_its_error_after_a_single_call(
    cloud, model, prompt_of, fault, reason, retry, retryable, says
):
    before = cloud.models()["calls"]
    error = await error_of(model, prompt_of(f"a fox fault:{fault}"))
    assert cloud.models()["calls"] - before == 1, "there is a hidden retry layer"
    assert (error.reason, error.retry, error.retryable) == (reason, retry, retryable)
    assert says in error.detail
    assert error.over_quota is fault.startswith("quota")
    assert error.overloaded is (fault in ("unavailable", "error", "cut"))


@pytest.mark.asyncio
async def test_a_model_that_is_gone_is_a_model_error_to_replay(cloud, session, prompt_of):
    error = await error_of(model_at(session, name="gemini-1-image"), prompt_of("a fox"))
    assert (error.reason, error.retry, error.retryable) == (Reason.MODEL_ERROR, Retry.NEVER, True)
    assert "Publisher Model `gemini-1-image` was not found" in error.detail


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_model_that_hangs_is_unavailable_after_the_call_timeout(model_of, prompt_of):
    calls = []

    async def hang(request):
        calls.append(request)
        await asyncio.sleep(3600)

    error = await error_of(await model_of(hang, timeout_s=1.0), prompt_of("a fox"))
    assert (error.reason, error.retry) == (Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT)
    assert error.detail == "model did not answer within the call timeout"
    assert error.overloaded
    assert len(calls) == 1


@pytest.mark.asyncio
async def test_a_service_that_is_not_there_is_unavailable(cloud, session, monkeypatch, prompt_of):
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "http://127.0.0.1:9")
    error = await error_of(model_at(session), prompt_of("a fox"))
    assert (error.reason, error.retry) == (Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT)
    assert "cannot be reached" in error.detail


@pytest.mark.asyncio
async def test_the_services_retry_after_is_passed_on(cloud, model, prompt_of):
    cloud.models(retry_after_s=7.0)
    assert (await error_of(model, prompt_of("a fox fault:quota"))).retry_after_s == 7.0


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["drafts", "thought-image", "url-safe"])
async def test_an_answer_of_an_odd_shape_gives_the_final_image_with_one_call(
    cloud, model, prompt_of, fault
):
    before = cloud.models()
    (image,) = (await model.generate(prompt_of(f"a fox fault:{fault}"), first=0, count=1)).images
    assert len(image.data) == 2000, "a draft is smaller"
    after = cloud.models()
    assert (after["calls"] - before["calls"], after["images"] - before["images"]) == (1, 1)


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}
QUOTA = {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ({"error": QUOTA}, {}, None),
        ({"error": QUOTA}, {"Retry-After": "2"}, 2.0),
        ({"error": {**QUOTA, "details": [{"@type": "x"}, RETRY_INFO]}}, {}, 3.5),
        ({"error": "slow down"}, {}, None),
        ({"error": {"details": "odd"}}, {}, None),
        (b"<html>slow down</html>", {"Retry-After": "2"}, 2.0),
        (b"", {}, None),
    ],
)
async def test_quota_is_told_from_whatever_form_it_is_refused_in(
    model_of, prompt_of, body, headers, seconds
):
    model = await model_of(answering(body, 429, headers=headers))
    error = await error_of(model, prompt_of("a fox"))
    assert error.over_quota
    assert (error.reason, error.retry) == (Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT)
    assert error.retry_after_s == seconds


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 503), (b"\xff\xfe\xfa", 200), (b"", 200), (b"[]", 200), (b"null", 200)],
)
async def test_no_answer_raises_anything_but_a_call_error(model_of, prompt_of, body, status):
    model = await model_of(answering(body, status, content_type="application/json"))
    error = await error_of(model, prompt_of("a fox"))
    assert error.retryable
    assert error.retry is not Retry.NEVER


@pytest.mark.asyncio
async def test_an_error_in_an_answer_of_200_is_judged_as_that_error(model_of, prompt_of):
    for body in ({"error": QUOTA}, b"[" + json.dumps({"error": QUOTA}).encode() + b"]"):
        error = await error_of(await model_of(answering(body)), prompt_of("a fox"))
        assert error.over_quota


@pytest.mark.asyncio
async def test_a_quota_refusal_that_says_it_is_json_and_is_not_is_one(model_of, prompt_of):
    model = await model_of(answering(b"slow down", 429, content_type="application/json"))
    error = await error_of(model, prompt_of("a fox"))
    assert (error.over_quota, error.detail) == (True, "model answered 429: slow down")


@pytest.mark.asyncio
async def test_a_jpeg_is_stored_as_one_whatever_the_service_calls_it(model_of, prompt_of):
    model = await model_of(answering(answer(part(JPEG, "image/png"))))
    (image,) = (await model.generate(prompt_of("a fox"), first=0, count=1)).images
    assert (image.data, image.extension, image.mime_type) == (JPEG, "jpg", "image/jpeg")


# Reading an answer


DRAFT = encoded("WEBP")


@pytest.mark.parametrize(
    "content",
    [
        answer(part(PNG)),
        answer({"text": "Here you are."}, part(PNG)),
        answer({"text": "hm", "thought": True}, part(b"a draft", thought=True), part(PNG)),
        # The last is the final one.
        answer(part(DRAFT), part(PNG)),
        answer(*[part(DRAFT)] * 9, {"text": "and now"}, part(PNG), {"text": "Done."}),
        answer(part(PNG), part(DRAFT, thought=True)),
        # Without any other, the last thought.
        answer(part(PNG, thought=True)),
        answer(part(DRAFT, thought=True), part(PNG, thought=True), {"text": "Here."}),
        # What is no image, or has no data.
        answer(part(PNG), part(b"{}", "application/json"), part(b"", "image/png")),
        answer(part(PNG), {"inlineData": {"mimeType": "image/png"}}, {"inlineData": None}),
        answer({"inlineData": {"data": base64.b64encode(PNG).decode()}}),
        {"candidates": [{"finishReason": "STOP"}, *answer(part(PNG))["candidates"]]},
        {
            "candidates": [
                *answer(part(DRAFT, thought=True))["candidates"],
                *answer(part(PNG))["candidates"],
            ]
        },
        answer(part(PNG), finishReason="MAX_TOKENS"),
        answer(part(PNG)) | {"promptFeedback": {}, "usageMetadata": {"totalTokenCount": 1}},
    ],
)
def test_the_final_picture_is_taken(content):
    assert image_of(json.dumps(content)) == PNG


def test_a_picture_in_the_url_safe_alphabet_without_padding_is_read():
    data = base64.urlsafe_b64encode(JPEG).decode().rstrip("=")
    inline = {"inlineData": {"mimeType": "image/jpeg", "data": data}}
    assert image_of(json.dumps(answer(inline))) == JPEG


@pytest.mark.parametrize("reason", sorted(REFUSALS))
def test_each_refusal_is_blocked_for_good(reason):
    body = json.dumps({"candidates": [{"finishReason": reason, "finishMessage": "because"}]})
    with pytest.raises(CallError) as caught:
        image_of(body)
    assert (caught.value.reason, caught.value.retry) == (Reason.BLOCKED, Retry.NEVER)
    assert caught.value.detail == f"image refused: {reason}; it says: because"


@pytest.mark.parametrize("reason", ["STOP", "NO_IMAGE", "IMAGE_OTHER", "OTHER", "MAX_TOKENS"])
def test_each_other_end_without_a_picture_is_worth_another_try(reason):
    with pytest.raises(CallError) as caught:
        image_of(json.dumps({"candidates": [{"finishReason": reason}]}))
    assert (caught.value.reason, caught.value.retry) == (Reason.NO_IMAGE, Retry.LIMITED)
    assert reason in caught.value.detail


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (answer({"text": "I cannot\ndraw that."}), "STOP; it says: I cannot draw that."),
        (
            answer({"text": "hm", "thought": True}, {"text": "No."}),
            "STOP; it says: No.",
        ),
        (answer({"text": "hm", "thought": True}), "STOP; it says: hm"),
        (
            answer({"text": "No."}, finishReason="NO_IMAGE", finishMessage="Try again."),
            "NO_IMAGE; it says: Try again. No.",
        ),
        (answer({"text": "x" * 5000}), "xx…"),
        ({"candidates": []}, "no candidates"),
        ({}, "no candidates"),
        ({"candidates": [{}]}, "no finish reason"),
        (answer(part(b"{}", "application/json")), "STOP"),
    ],
)
def test_the_models_words_say_why_there_is_no_picture(content, says):
    with pytest.raises(CallError) as caught:
        image_of(json.dumps(content))
    assert (caught.value.reason, caught.value.retry) == (Reason.NO_IMAGE, Retry.LIMITED)
    assert caught.value.detail.startswith("model answered without an image: ")
    assert caught.value.detail.endswith(says)
    assert len(caught.value.detail) < MAX_DETAIL_CHARS


def test_a_blocked_prompt_is_told_in_the_services_words():
    feedback = {"blockReason": "OTHER", "blockReasonMessage": "Not allowed."}
    with pytest.raises(CallError) as caught:
        image_of(json.dumps({"promptFeedback": feedback}))
    assert caught.value.detail == "prompt refused: OTHER; it says: Not allowed."


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "[]",
        "1",
        "{}",
        '{"candidates": 1}',
        '{"candidates": [1]}',
        '{"candidates": [{"content": []}]}',
        '{"candidates": [{"content": {"parts": [{"inlineData": {}}]}}]}',
        '{"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png"}}]}}]}',
        '{"candidates": [{"content": {"parts": [{"inlineData": {"data": "a"}}]}}]}',
        '{"candidates": [{"content": {"parts": [{"inlineData": {"data": 1}}]}}]}',
        '{"candidates": [{"finishReason": null}]}',
        '{"candidates": [], "promptFeedback": "no"}',
    ],
)
def test_an_answer_of_any_other_shape_is_no_image_and_no_crash(body):
    with pytest.raises(CallError) as caught:
        image_of(body)
    assert (caught.value.reason, caught.value.retry) == (Reason.NO_IMAGE, Retry.LIMITED)
