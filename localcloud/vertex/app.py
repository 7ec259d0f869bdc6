"""The HTTP interface of the stand-in for Vertex AI: routes, requests and responses.

Responses follow the public API reference; errors have the form of google.rpc.Status.
"""

import asyncio
import base64
import binascii
import dataclasses
import functools
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from localcloud.tunable_settings import add_settings_routes
from localcloud.vertex import pictures
from localcloud.vertex.behaviour import Behaviour, Fault
from localcloud.vertex.calls import ApiError, Call

# Google's image models that exist in 2026-11. All Imagen ids have been shut down and answer 404.
MODELS = frozenset(
    {
        "gemini-2.5-flash-image",
        "gemini-3.1-flash-image",
        "gemini-3.1-flash-lite-image",
        "gemini-3-pro-image",
        "gemini-nano-banana-2.1",
    }
)
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_REFUSAL = (
    "The prompt could not be submitted. It contains sensitive words that violate Google's "
    "Responsible AI practices. Try rephrasing the prompt."
)


def vertex_app(behaviour: Behaviour) -> web.Application:
    """Return an app that serves Vertex AI's API, with the faults that `behaviour` decides.

    Beyond Google's routes, `GET /localcloud` returns counts and settings, and a PATCH of it with a
    JSON object changes settings.
    """
    service = _Service(behaviour)
    app = web.Application(client_max_size=64 << 20, middlewares=[_errors])
    models = "publishers/google/models/{model}"
    place = "projects/{project}/locations/{location}"
    for version in ("v1", "v1beta1"):
        add = app.router.add_post
        add(f"/{version}/{models}:generateContent", service.generate_content)
        add(f"/{version}/{place}/{models}:generateContent", service.generate_content)
        add(f"/{version}/{place}/{models}:countTokens", service.count_tokens)
        add(f"/{version}/{place}/{models}:predict", service.predict)
        add(f"/{version}/{place}/endpoints/{{endpoint}}:predict", service.predict)
    add_settings_routes(app, behaviour.settings, lambda: dataclasses.asdict(behaviour.counts))
    app.on_cleanup.append(service.close)
    return app


class _Service:
    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        # Without a seed, a model draws a different picture each time for the same prompt.
        self._times_drawn: Counter[int] = Counter()
        self._painters = ThreadPoolExecutor(2, thread_name_prefix="painter")

    async def generate_content(self, request: web.Request) -> web.StreamResponse:
        _authenticate(request)
        model = request.match_info["model"]
        if model not in MODELS:
            raise ApiError(404, f"Publisher Model `{model}` was not found.")
        body = await _json(request)
        try:
            prompt = "\n".join(
                part["text"] for content in body["contents"] for part in content["parts"]
            )
            config = body.get("generationConfig") or {}
            image_config = config.get("imageConfig") or {}
        except (KeyError, TypeError, AttributeError):
            raise ApiError(400, "contents: expected a list of contents with text parts.") from None
        async with Call(self._behaviour, prompt) as fault:
            if fault is Fault.BLOCKED:
                return web.json_response(
                    {
                        "promptFeedback": {
                            "blockReason": "PROHIBITED_CONTENT",
                            "blockReasonMessage": "The prompt was refused.",
                        }
                    }
                )
            if fault is Fault.BLOCKED_IMAGE:
                return web.json_response({"candidates": [{"finishReason": "IMAGE_SAFETY"}]})
            if fault is Fault.EMPTY:
                return web.json_response(
                    {
                        "candidates": [
                            {
                                "content": {"role": "model", "parts": [{"text": "Here you are."}]},
                                "finishReason": "STOP",
                            }
                        ]
                    }
                )
            data = await self._picture(
                fault,
                prompt,
                model=model,
                index=self._next_index(prompt),
                seed=config.get("seed"),
                aspect_ratio=image_config.get("aspectRatio") or "1:1",
                image_size=image_config.get("imageSize") or "1K",
            )
        self._behaviour.counts.images += 1
        return web.Response(
            body=b'{"candidates":[{"content":{"role":"model","parts":[{"inlineData":'
            b'{"mimeType":"image/png","data":"'
            + data
            + b'"}}]},"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":1290},'
            b'"modelVersion":' + json.dumps(model).encode() + b"}",
            content_type="application/json",
            charset="utf-8",
        )

    async def count_tokens(self, request: web.Request) -> web.StreamResponse:
        """Count words instead of tokens. It is no model call: the real service charges nothing."""
        _authenticate(request)
        if self._behaviour.settings.down:
            raise ApiError(503, "The service is currently unavailable.")
        if (model := request.match_info["model"]) not in MODELS:
            raise ApiError(404, f"Publisher Model `{model}` was not found.")
        words = len(json.dumps((await _json(request)).get("contents")).split())
        return web.json_response({"totalTokens": words})

    async def predict(self, request: web.Request) -> web.StreamResponse:
        _authenticate(request)
        if model := request.match_info.get("model"):
            raise ApiError(404, f"Publisher Model `{model}` was not found.")
        body = await _json(request)
        try:
            prompt = body["instances"][0]["prompt"]
            parameters = body.get("parameters") or {}
            count = int(parameters.get("sampleCount") or 1)
            if not isinstance(prompt, str) or not 1 <= count <= 4:
                raise ValueError
        except (KeyError, IndexError, TypeError, ValueError):
            raise ApiError(
                400, "Expected instances[0].prompt and a sampleCount of 1 to 4."
            ) from None
        if "seed" in parameters and parameters.get("addWatermark", True):
            raise ApiError(400, "Seed is not supported when watermark is enabled.")
        async with Call(self._behaviour, prompt) as fault:
            if fault is Fault.BLOCKED:
                raise ApiError(400, _REFUSAL)
            if fault is Fault.BLOCKED_IMAGE:
                return web.json_response(
                    {"predictions": [{"raiFilteredReason": f"{_REFUSAL} Support codes: 17301594"}]}
                )
            if fault is Fault.EMPTY:
                return web.json_response({"predictions": []})
            seed = parameters.get("seed")
            encoded = [
                await self._picture(
                    fault,
                    prompt,
                    model=f"endpoint {request.match_info['endpoint']}",
                    index=index,
                    seed=None if seed is None else int(seed) + index,
                    aspect_ratio=parameters.get("aspectRatio") or "1:1",
                    image_size=parameters.get("sampleImageSize") or "1K",
                )
                for index in range(count)
            ]
        self._behaviour.counts.images += count
        start = b'{"mimeType":"image/png","bytesBase64Encoded":"'
        return web.Response(
            body=b'{"predictions":[' + b",".join(start + data + b'"}' for data in encoded) + b"]}",
            content_type="application/json",
            charset="utf-8",
        )

    def _next_index(self, prompt: str) -> int:
        self._times_drawn[hash(prompt)] += 1
        return (self._times_drawn[hash(prompt)] - 1) % 4

    async def close(self, _: web.Application) -> None:
        self._painters.shutdown(wait=False, cancel_futures=True)

    async def _picture(self, fault: Fault | None, prompt: str, **options: Any) -> bytes:
        """Return a picture in base64."""
        if fault is Fault.NOT_AN_IMAGE:
            return base64.b64encode(b"This is no picture.")
        if size := self._behaviour.settings.canned_bytes:
            return _canned(size)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._painters, functools.partial(_drawn, prompt, **options)
            )
        except (ValueError, ZeroDivisionError):
            raise ApiError(400, f"Image options are not supported: {options}") from None


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except ApiError as error:
        headers = {"Retry-After": f"{error.retry_after_s:g}"} if error.retry_after_s else {}
        return _error(error.status, str(error), headers)
    except ConnectionAbortedError:
        if request.transport:
            request.transport.close()
        return web.Response()
    except web.HTTPNotFound:
        return _error(404, f"No such method: {request.method} {request.path}", {})
    return response


def _error(status: int, message: str, headers: dict[str, str]) -> web.Response:
    error = {"code": status, "message": message, "status": _STATUSES[status]}
    return web.json_response({"error": error}, status=status, headers=headers)


def _authenticate(request: web.Request) -> None:
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        raise ApiError(401, "Request is missing required authentication credential.")


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise ApiError(400, "Invalid JSON payload received.") from None
    if not isinstance(body, dict):
        raise ApiError(400, "Invalid JSON payload received: expected an object.")
    return body


@functools.lru_cache(maxsize=4)
def _canned(size: int) -> bytes:
    return binascii.b2a_base64(pictures.canned(size), newline=False)


@functools.lru_cache(maxsize=64)
def _drawn(prompt: str, **options: Any) -> bytes:
    return binascii.b2a_base64(pictures.draw(prompt, **options), newline=False)
