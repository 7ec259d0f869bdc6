"""Answers whose body or status is odd mean the same for both protocols."""

import base64
import codecs
import json

import pytest
from aiohttp import web

from beam_jobs.models.base import CallError, Retry
from beam_jobs.models.gemini import GeminiModel
from beam_jobs.outcomes import Reason
from tests.pictures import png

PNG = png(b"picture")
DATA = base64.b64encode(PNG).decode()
GOOD = {
    "candidates": [{"content": {"parts": [{"inlineData": {"data": DATA}}]}}],
    "predictions": [{"bytesBase64Encoded": DATA}],
}


@pytest.fixture(params=["gemini", "predict"])
def model_of(request, cloud, session, serve, monkeypatch, predict_model):
    """Return an adapter for a model that answers calls with `handler`, and the list of calls."""

    async def make(handler):
        calls = []

        async def counted(asked):
            if asked.method == "GET" and "endpoints/1234" in asked.path:
                return web.json_response({})
            calls.append(asked.path)
            return await handler(asked)

        url = await serve(counted)
        if request.param == "predict":
            return predict_model(url), calls
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", url)
        model = GeminiModel(
            session, model="gemini-x", project="demo-project", location="global", timeout_s=10.0
        )
        return model, calls

    return make


def answering(status, body, **headers):
    async def handler(_):
        return web.Response(
            status=status,
            body=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    return handler


def cut_off(status):
    async def handler(request):
        response = web.StreamResponse(status=status, headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"slow down")
        request.transport.close()
        return response

    return handler


@pytest.fixture
def error_of(model_of, prompt_of):
    async def call(handler) -> CallError:
        model, calls = await model_of(handler)
        with pytest.raises(CallError) as caught:
            await model.generate(prompt_of("a fox"), first=0, count=1)
        assert len(calls) == 1
        return caught.value

    return call


@pytest.mark.asyncio
@pytest.mark.parametrize("broken", [answering, cut_off], ids=["encoding", "cut"])
async def test_a_status_counts_even_if_its_body_cannot_be_read(error_of, broken):
    def of(status):
        if broken is cut_off:
            return cut_off(status)
        return answering(status, b"slow down", Content_Encoding="gzip")

    error = await error_of(of(429))
    assert (error.reason, error.over_quota) == (Reason.UNAVAILABLE, True)
    assert error.detail.startswith("model answered 429: (its body cannot be read: ClientPayload")
    for status in (403, 404):
        error = await error_of(of(status))
        assert (error.reason, error.retry, error.retryable) == (
            Reason.MODEL_ERROR,
            Retry.NEVER,
            True,
        )


@pytest.mark.asyncio
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_an_answer_that_cannot_be_decoded_is_one_without_an_image(error_of, encoding):
    # It may be charged.
    error = await error_of(answering(200, b"no such encoding", Content_Encoding=encoding))
    assert (error.reason, error.retry, error.retryable) == (Reason.NO_IMAGE, Retry.LIMITED, True)
    assert "cannot read the model's answer" in error.detail


@pytest.mark.asyncio
async def test_a_good_answer_that_breaks_off_is_asked_for_again(error_of):
    error = await error_of(cut_off(200))
    assert (error.reason, error.retry) == (Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT)


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(error_of, status):
    error = await error_of(answering(status, b"", Location="/elsewhere"))
    assert (error.reason, error.retry, error.retryable) == (Reason.MODEL_ERROR, Retry.NEVER, True)
    assert error.detail.startswith(f"model answered {status}")


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"])
async def test_a_byte_order_mark_costs_no_image(model_of, prompt_of, kind):
    body = codecs.BOM_UTF8 + json.dumps(GOOD).encode()
    model, _ = await model_of(answering(200, body, Content_Type=kind))
    (image,) = (await model.generate(prompt_of("a fox"), first=0, count=1)).images
    assert image.data == PNG


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [200, 400])
async def test_a_byte_order_mark_hides_no_error(error_of, status):
    error = {"code": 400, "status": "FAILED_PRECONDITION", "message": "not enabled"}
    body = codecs.BOM_UTF8 + json.dumps({"error": error}).encode()
    error = await error_of(answering(status, body))
    assert (error.reason, error.retry, error.retryable) == (Reason.MODEL_ERROR, Retry.NEVER, True)
    assert error.detail == "model answered 400: FAILED_PRECONDITION: not enabled"
