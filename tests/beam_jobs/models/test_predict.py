"""The `:predict` adapter, with google-cloud-aiplatform, against the local cloud and others."""

import asyncio
import base64

import pytest
from aiohttp import web

from beam_jobs.models.base import CallError, Retry
from beam_jobs.models.predict import (
    base_url_from_environment,
    images,
    parameters,
)
from beam_jobs.outcomes import Reason

ENDPOINT = "projects/demo-project/locations/us-central1/endpoints/1234"
PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
JPEG = b"\xff\xd8\xff\xe0" + b"picture"


@pytest.fixture
def flux(prompt_of):
    def make(text, **fields):
        return prompt_of(text, model="flux-1", **fields)

    return make


@pytest.fixture
def model(cloud, predict_model):
    return predict_model()


@pytest.fixture
def model_of(cloud, serve, predict_model):
    """Return the adapter for an endpoint that answers with `handler`."""

    async def make(handler, **settings):
        return predict_model(await serve(handler), **settings)

    return make


async def error_of(model, prompt, count=1) -> CallError:
    with pytest.raises(CallError) as caught:
        await model.generate(prompt, first=0, count=count)
    return caught.value


def answering(body, status=200, **others):
    async def handler(_):
        if isinstance(body, dict):
            return web.json_response(body, status=status, **others)
        return web.Response(body=body, status=status, **others)

    return handler


def picture(data=PNG):
    return {"bytesBase64Encoded": base64.b64encode(data).decode(), "mimeType": "image/png"}


@pytest.mark.asyncio
@pytest.mark.parametrize("count", [1, 2, 4])
async def test_one_call_makes_as_many_pictures_as_are_asked_for(cloud, model, flux, count):
    before = cloud.models()
    made = await model.generate(flux("a fox", images=4), first=0, count=count)
    after = cloud.models()
    assert len(made) == count
    assert {image.extension for image in made} == {"png"}
    assert (after["calls"] - before["calls"], after["images"] - before["images"]) == (1, count)


@pytest.mark.asyncio
async def test_a_seeded_prompt_is_accepted_which_needs_the_watermark_off(model, flux):
    assert len(await model.generate(flux("a fox", seed=7), first=0, count=1)) == 1


@pytest.mark.asyncio
async def test_the_request_says_what_the_prompt_says(model_of, flux):
    seen = []

    async def handler(request):
        seen.append((request.path, request.headers, await request.json()))
        return web.json_response({"predictions": [picture()]})

    model = await model_of(handler)
    prompt = flux(
        "a fox",
        images=3,
        aspect_ratio="16:9",
        image_size="2K",
        seed=7,
        negative_prompt="snow",
    )
    await model.generate(prompt, first=2, count=1)
    path, headers, body = seen[0]
    assert path.endswith(f"/{ENDPOINT}:predict")
    assert headers["Authorization"].startswith("Bearer ")
    assert body["instances"] == [{"prompt": "a fox"}]
    assert body["parameters"] == {
        "sampleCount": 1,
        "includeRaiReason": True,
        "outputOptions": {"mimeType": "image/png"},
        "aspectRatio": "16:9",
        "sampleImageSize": "2K",
        "negativePrompt": "snow",
        "seed": 9,
        "addWatermark": False,
    }


def test_what_the_prompt_does_not_say_is_left_to_the_model(flux):
    assert parameters(flux("a fox"), first=0, count=2) == {
        "sampleCount": 2,
        "includeRaiReason": True,
        "outputOptions": {"mimeType": "image/png"},
    }


def test_a_seed_of_zero_is_a_seed_and_the_largest_goes_round(flux):
    zero = parameters(flux("a fox", seed=0), first=0, count=1)
    assert (zero["seed"], zero["addWatermark"]) == (0, False)
    assert parameters(flux("a fox", seed=2**31 - 1), first=1, count=1)["seed"] == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fault", "reason", "retry", "retryable", "says"),
    [
        ("blocked", Reason.BLOCKED, Retry.NEVER, False, "prompt refused: The prompt could not"),
        ("blocked-image", Reason.BLOCKED, Retry.NEVER, False, "Support codes: 17301594"),
        ("empty", Reason.NO_IMAGE, Retry.LIMITED, True, "0 predictions, none with an image"),
        ("not-an-image", Reason.NO_IMAGE, Retry.LIMITED, True, "not a PNG, JPEG or WebP"),
        ("garbage", Reason.NO_IMAGE, Retry.LIMITED, True, "cannot read the model's answer"),
        ("unavailable", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "503"),
        ("error", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "500"),
        ("quota", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "429"),
        ("invalid", Reason.MODEL_ERROR, Retry.NEVER, False, "400"),
        ("cut", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "cannot be reached"),
    ],
)
async def test_each_fault_becomes_its_error_after_a_single_call(
    cloud, model, flux, fault, reason, retry, retryable, says
):
    before = cloud.models()["calls"]
    error = await error_of(model, flux(f"a fox fault:{fault}"))
    assert cloud.models()["calls"] - before == 1, "there is a hidden retry layer"
    assert (error.reason, error.retry, error.retryable) == (reason, retry, retryable)
    assert says in error.detail
    assert error.over_quota is (fault == "quota")
    assert error.overloaded is (fault in ("unavailable", "error", "cut"))


@pytest.mark.asyncio
async def test_a_model_that_is_gone_is_a_model_error_to_replay(cloud, predict_model, flux):
    resource = "projects/demo-project/locations/us-central1/publishers/google/models/imagen-4"
    error = await error_of(predict_model(resource=resource), flux("a fox"))
    assert (error.reason, error.retry, error.retryable) == (Reason.MODEL_ERROR, Retry.NEVER, True)
    assert "`imagen-4` was not found" in error.detail


@pytest.mark.asyncio
async def test_a_model_that_hangs_is_unavailable_after_the_call_timeout(model_of, flux):
    calls = []

    async def hang(request):
        calls.append(request)
        await asyncio.sleep(3600)

    error = await error_of(await model_of(hang, timeout_s=1.0), flux("a fox"))
    assert (error.reason, error.retry) == (Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT)
    assert error.detail == "model did not answer within the call timeout"
    assert error.overloaded
    assert len(calls) == 1


@pytest.mark.asyncio
async def test_a_service_that_is_not_there_is_unavailable(cloud, predict_model, flux):
    error = await error_of(predict_model("http://127.0.0.1:9"), flux("a fox"))
    assert (error.reason, error.retry) == (Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT)
    assert "cannot be reached" in error.detail


@pytest.mark.asyncio
async def test_the_services_retry_after_is_passed_on(cloud, model, flux):
    cloud.models(retry_after_s=7.0)
    assert (await error_of(model, flux("a fox fault:quota"))).retry_after_s == 7.0


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"code": 503, "message": "odd", "details": [RETRY_INFO]}}, 503),
        ({"error": "odd"}, 503),
        (b"<html>bad gateway</html>", 502),
        (b"", 503),
        (b"{", 503),
        (b"\xff\xfe\xfa", 500),
    ],
)
async def test_an_error_in_any_form_is_unavailable(model_of, flux, body, status):
    error = await error_of(await model_of(answering(body, status)), flux("a fox"))
    assert (error.reason, error.retry) == (Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe\xfa",
        {"predictions": "x"},
        {"predictions": ["x"]},
        {"predictions": [1.5]},
        {"predictions": [[1]]},
        {"predictions": [None]},
        {"predictions": [{"bytesBase64Encoded": "a"}]},
        {"predictions": [{"bytesBase64Encoded": 7}]},
        {"something": "else"},
    ],
)
async def test_an_answer_of_any_other_shape_is_no_image_and_no_crash(model_of, flux, body):
    error = await error_of(await model_of(answering(body)), flux("a fox"))
    assert (error.reason, error.retry) == (Reason.NO_IMAGE, Retry.LIMITED)


@pytest.mark.asyncio
async def test_fewer_pictures_than_asked_for_are_what_there_is(model_of, flux):
    body = {"predictions": [picture(), {"raiFilteredReason": "withheld"}, picture(JPEG)]}
    made = await (await model_of(answering(body))).generate(
        flux("a fox", images=4), first=0, count=4
    )
    assert [(image.data, image.extension) for image in made] == [(PNG, "png"), (JPEG, "jpg")]


def test_a_picture_that_is_none_costs_the_prompt_no_good_one():
    broken = {"bytesBase64Encoded": "!"}
    assert [image.data for image in images([picture(b"no picture"), picture(), broken])] == [PNG]


@pytest.mark.parametrize(
    "predictions",
    [[{"raiFilteredReason": "withheld"}], [{"raiFilteredReason": "withheld"}, {}, {"x": 1}]],
)
def test_when_all_is_withheld_the_reason_is_told(predictions):
    with pytest.raises(CallError) as caught:
        images(predictions)
    assert (caught.value.reason, caught.value.detail) == (Reason.BLOCKED, "image refused: withheld")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("violates Google's Responsible AI practices", Reason.BLOCKED),
        ("The image was blocked by safety filters", Reason.BLOCKED),
        ("Aspect ratio 2:1 is not supported", Reason.MODEL_ERROR),
    ],
)
async def test_a_400_is_a_refusal_only_where_it_speaks_of_one(model_of, flux, message, reason):
    body = {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
    error = await error_of(await model_of(answering(body, 400)), flux("a fox"))
    assert (error.reason, error.retryable) == (reason, False)


@pytest.mark.parametrize(
    ("value", "url"), [("http://127.0.0.1:1", "http://127.0.0.1:1"), ("", None), (None, None)]
)
def test_another_place_for_the_api_comes_from_the_environment(monkeypatch, value, url):
    if value is None:
        monkeypatch.delenv("GOOGLE_VERTEX_BASE_URL")
    else:
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", value)
    assert base_url_from_environment() == url
