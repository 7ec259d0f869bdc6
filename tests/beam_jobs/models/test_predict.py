"""The `:predict` adapter, against the local cloud and others."""

import asyncio
import base64

import pytest
from aiohttp import web

from beam_jobs.models.base import CallError, Retry
from beam_jobs.models.predict import base_url_from_environment, parameters
from beam_jobs.outcomes import Reason
from tests.pictures import encoded, png

ENDPOINT = "projects/demo-project/locations/us-central1/endpoints/1234"
PUBLISHED = "projects/demo-project/locations/us-central1/publishers/google/models/imagen-4"
PNG = png(b"picture")
JPEG = encoded("JPEG")


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
        app = web.Application()
        app.router.add_post("/{path:.*}", handler)
        return predict_model(await serve(app), **settings)

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
    made = (await model.generate(flux("a fox", images=4), first=0, count=count)).images
    after = cloud.models()
    assert len(made) == count
    assert {image.extension for image in made} == {"png"}
    assert (after["calls"] - before["calls"], after["images"] - before["images"]) == (1, count)


@pytest.mark.asyncio
async def test_a_seeded_prompt_is_accepted_which_needs_the_watermark_off(model, flux):
    assert len((await model.generate(flux("a fox", seed=7), first=0, count=1)).images) == 1


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
        # Its container may take the text from another field.
        ("invalid", Reason.MODEL_ERROR, Retry.NEVER, True, "400"),
        ("cut", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "cannot be reached"),
        ("cancelled", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "499: CANCELLED"),
        ("aborted", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "409: ABORTED"),
        # Its message has "violated".
        ("not-enabled", Reason.MODEL_ERROR, Retry.NEVER, True, "400: FAILED_PRECONDITION"),
        ("quota-garbled", Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, "429: {not JSON"),
        ("cut-image", Reason.NO_IMAGE, Retry.LIMITED, True, "a JPEG image that breaks off"),
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
    assert error.over_quota is fault.startswith("quota")
    assert error.overloaded is (fault in ("unavailable", "error", "cut"))


@pytest.mark.asyncio
async def test_a_model_that_is_gone_is_a_model_error_to_replay(cloud, predict_model, flux):
    resource = "projects/demo-project/locations/us-central1/publishers/google/models/imagen-4"
    error = await error_of(predict_model(resource=resource), flux("a fox"))
    assert (error.reason, error.retry, error.retryable) == (Reason.MODEL_ERROR, Retry.NEVER, True)
    assert "`imagen-4` was not found" in error.detail


@pytest.mark.slow
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
    assert [(image.data, image.extension) for image in made.images] == [(PNG, "png"), (JPEG, "jpg")]


@pytest.mark.asyncio
async def test_numbers_are_whole_as_strict_containers_want_them(model_of, flux):
    bodies = []

    async def handler(request):
        bodies.append(await request.text())
        return web.json_response({"predictions": [picture()]})

    await (await model_of(handler)).generate(flux("a fox", seed=7, images=4), first=0, count=4)
    assert '"sampleCount":4,' in bodies[0]
    assert '"seed":7,' in bodies[0]


# Containers that are not Imagen's


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("field", "instance"),
    [("text", {"text": "a fox"}), ("inputs", {"inputs": "a fox"}), ("-", "a fox")],
)
async def test_the_prompt_goes_to_the_containers_field_with_diffusers_parameters(
    model_of, flux, field, instance
):
    bodies = []

    async def handler(request):
        bodies.append(await request.json())
        return web.json_response({"predictions": [{"output": picture()["bytesBase64Encoded"]}]})

    model = await model_of(handler, prompt_field=field)
    prompt = flux("a fox", seed=7, aspect_ratio="16:9", negative_prompt="snow", images=4)
    (image,) = (await model.generate(prompt, first=1, count=3)).images
    await model.generate(flux("a fox"), first=0, count=1)
    assert image.data == PNG
    asked = {"negative_prompt": "snow", "seed": 8, "width": 1024, "height": 576}
    assert bodies == [
        {"instances": [instance], "parameters": asked},
        {"instances": [instance], "parameters": {}},
    ]


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, None),
        ({"aspect_ratio": "1:1"}, (1024, 1024)),
        ({"aspect_ratio": "3:4"}, (768, 1024)),
        ({"aspect_ratio": "9:16", "image_size": "2K"}, (1152, 2048)),
        ({"image_size": "2K"}, (2048, 2048)),
    ],
)
def test_shape_and_size_are_pixels_that_diffusers_takes(flux, fields, size):
    asked = parameters(flux("a fox", **fields), first=0, count=1, prompt_field="text")
    assert (asked.get("width"), asked.get("height")) == (size or (None, None))
    assert all(value % 64 == 0 for value in size or ())


@pytest.mark.asyncio
@pytest.mark.parametrize(("container", "field"), [("flux", "text"), ("stable_diffusion", "prompt")])
async def test_an_open_models_container_gives_its_picture(
    cloud, predict_model, flux, container, field
):
    cloud.models(**{container: True})
    before = cloud.models()["images"]
    model = predict_model(prompt_field=field)
    (image,) = (await model.generate(flux("a fox", images=4), first=0, count=4)).images
    assert (image.extension, cloud.models()["images"] - before) == ("png", 1)


# Dedicated endpoints


@pytest.mark.asyncio
async def test_a_dedicated_endpoint_is_called_at_its_own_host(cloud, predict_model, flux):
    cloud.models(dedicated=True)
    before = cloud.models()
    model = predict_model()
    calls = (model.generate(flux(f"fox {n}"), first=0, count=1) for n in range(5))
    assert [len(made.images) for made in await asyncio.gather(*calls)] == [1] * 5
    after = cloud.models()
    assert after["images"] - before["images"] == 5
    assert after["endpoint_reads"] - before["endpoint_reads"] == 1


@pytest.mark.asyncio
async def test_the_shared_hosts_refusal_of_a_dedicated_endpoint_can_be_replayed(model_of, flux):
    message = "Dedicated Endpoint cannot be accessed through the shared Vertex AI domain"
    body = {"error": {"code": 400, "message": message, "status": "FAILED_PRECONDITION"}}
    error = await error_of(await model_of(answering(body, 400)), flux("a fox"))
    assert (error.reason, error.retry, error.retryable) == (Reason.MODEL_ERROR, Retry.NEVER, True)


@pytest.mark.asyncio
async def test_a_host_that_is_not_there_is_asked_for_again(cloud, serve, predict_model, flux):
    hosts = ["127.0.0.1:9"]

    async def handler(request):
        if request.method == "GET":
            dns = hosts.pop() if hosts else request.host
            return web.json_response({"dedicatedEndpointDns": dns})
        return web.json_response({"predictions": [picture()]})

    model = predict_model(await serve(handler))
    error = await error_of(model, flux("a fox"))
    assert (error.reason, error.retry) == (Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT)
    assert len((await model.generate(flux("a fox"), first=0, count=1)).images) == 1


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
    model = await model_of(answering(body, 400), resource=PUBLISHED)
    error = await error_of(model, flux("a fox"))
    assert (error.reason, error.retryable) == (reason, False)
    assert "--prompt_field" not in error.detail


@pytest.mark.asyncio
@pytest.mark.parametrize("field", ["prompt", "text", "-"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"code": 400, "message": "no prompt", "status": "INVALID_ARGUMENT"}}),
        (200, {"error": {"code": 400, "message": "no prompt", "status": "INVALID_ARGUMENT"}}),
        (400, {"error": "KeyError: 'inputs'"}),
        (400, b"x" * 1000),
        (422, {"detail": [{"loc": ["body", "instances", 0, "inputs"], "msg": "missing" * 99}]}),
    ],
)
async def test_a_container_that_refuses_the_fields_makes_the_advice_prompt_field(
    model_of, flux, status, body, field
):
    model = await model_of(answering(body, status), prompt_field=field)
    error = await error_of(model, flux("a fox"))
    assert (error.reason, error.retry, error.retryable) == (Reason.MODEL_ERROR, Retry.NEVER, True)
    assert error.detail.startswith("model answered 4")
    assert error.detail.endswith(
        f"set --prompt_field (now {field}) to the field that its container takes the text from, "
        "then replay them"
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "not enabled", "status": "FAILED_PRECONDITION"}}),
        (403, {"error": {"message": "no", "status": "PERMISSION_DENIED"}}),
        (404, b""),
        (413, b""),
    ],
)
async def test_no_other_refusal_is_put_down_to_prompt_field(model_of, flux, status, body):
    error = await error_of(await model_of(answering(body, status)), flux("a fox"))
    assert error.reason is Reason.MODEL_ERROR
    assert "--prompt_field" not in error.detail


@pytest.mark.parametrize(
    ("value", "url"), [("http://127.0.0.1:1", "http://127.0.0.1:1"), ("", None), (None, None)]
)
def test_another_place_for_the_api_comes_from_the_environment(monkeypatch, value, url):
    if value is None:
        monkeypatch.delenv("GOOGLE_VERTEX_BASE_URL")
    else:
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", value)
    assert base_url_from_environment() == url
