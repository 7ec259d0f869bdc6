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
from localcloud.vertex.billing import Ledger, Usage, usage_of
from localcloud.vertex.calls import ApiError, Call, GarbledError
from localcloud.vertex.containers import Container, Prediction
from localcloud.vertex.files import Files, ReadFile, no_files
from localcloud.vertex.models import answering_model, location_of, picture_options, tier_of

# A draft is smaller than any final image.
_DRAFT_BYTES = 600
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_REFUSAL = (
    "The prompt could not be submitted. It contains sensitive words that violate Google's "
    "Responsible AI practices. Try rephrasing the prompt."
)


# The answers that are billed and have no picture.
_WITHOUT_A_PICTURE: dict[Fault | None, dict[str, Any]] = {
    Fault.BLOCKED: {
        "promptFeedback": {
            "blockReason": "PROHIBITED_CONTENT",
            "blockReasonMessage": "The prompt was refused.",
        }
    },
    Fault.BLOCKED_IMAGE: {"candidates": [{"finishReason": "IMAGE_SAFETY"}]},
    Fault.EMPTY: {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "Here you are."}]},
                "finishReason": "STOP",
            }
        ]
    },
}


def vertex_app(behaviour: Behaviour, read: ReadFile = no_files) -> web.Application:
    """Return an app that serves Vertex AI's API, with the faults that `behaviour` decides.

    `read` reads the pictures in Cloud Storage that requests name.

    Beyond Google's routes, `GET /localcloud` returns counts and settings, and a PATCH of it with a
    JSON object changes settings.
    """
    service = _Service(behaviour, Files(read))
    app = web.Application(client_max_size=64 << 20, middlewares=[_errors])
    models = "publishers/google/models/{model}"
    place = "projects/{project}/locations/{location}"
    for version in ("v1", "v1beta1"):
        add = app.router.add_post
        add(f"/{version}/{models}:generateContent", service.generate_content)
        add(f"/{version}/{place}/{models}:generateContent", service.generate_content)
        add(f"/{version}/{place}/{models}:countTokens", service.count_tokens)
        add(f"/{version}/{place}/{models}:predict", service.predict)
        endpoint = f"/{version}/{place}/endpoints/{{endpoint}}"
        add(f"{endpoint}:predict", service.predict)
        app.router.add_get(endpoint, service.get_endpoint)
    add_settings_routes(app, behaviour.settings, service.counts)
    app.on_cleanup.append(service.close)
    return app


class _Service:
    def __init__(self, behaviour: Behaviour, files: Files) -> None:
        self._behaviour = behaviour
        self._files = files
        # Without a seed, a model draws a different picture each time for the same prompt.
        self._times_drawn: Counter[int] = Counter()
        self._painters = ThreadPoolExecutor(2, thread_name_prefix="painter")
        self._ledger = Ledger()

    def counts(self) -> dict[str, Any]:
        """Return the counters, and what has been billed."""
        self._behaviour.counts.billed_usd = self._ledger.usd()
        return dataclasses.asdict(self._behaviour.counts)

    async def generate_content(self, request: web.Request) -> web.StreamResponse:
        _authenticate(request)
        try:
            model = answering_model(request.match_info["model"], self._behaviour.settings)
        except ApiError:
            self._behaviour.counts.calls += 1
            raise
        tier = tier_of(request, model)
        body = await _json(request)
        options = picture_options(body, model)
        try:
            parts = [part for content in body["contents"] for part in content["parts"]]
            prompt = "\n".join(part["text"] for part in parts if "fileData" not in part)
        except (KeyError, TypeError, AttributeError):
            raise ApiError(400, "contents: expected a list of contents with text parts.") from None
        async with Call(self._behaviour, prompt, location_of(request)) as fault:
            usage = functools.partial(
                usage_of,
                model,
                tier,
                request=body,
                size=options.size,
                level=options.thinking_level,
            )
            if fault in _WITHOUT_A_PICTURE:
                return self._billed(_WITHOUT_A_PICTURE[fault], usage(images=0))
            data = await self._picture(
                fault,
                prompt,
                references=self._files.shown_by(parts),
                model=model,
                index=self._next_index(prompt),
                seed=options.seed,
                aspect_ratio=options.aspect_ratio,
                image_size=options.size,
            )
        self._behaviour.counts.images += 1
        images = [_part(data, thought=fault is Fault.THOUGHT_IMAGE)]
        if fault is Fault.DRAFTS:
            images.insert(0, _part(_canned(_DRAFT_BYTES)))
        billed = usage(images=1)
        self._ledger.add(billed)
        return web.Response(
            body=b'{"candidates":[{"content":{"role":"model","parts":['
            + b",".join(images)
            + b']},"finishReason":"STOP"}],'
            + json.dumps({"usageMetadata": billed.metadata(), "modelVersion": model})[1:].encode(),
            content_type="application/json",
            charset="utf-8",
        )

    def _billed(self, answer: dict[str, Any], usage: Usage) -> web.Response:
        """Bill an answer without a picture, and return it."""
        self._ledger.add(usage)
        return web.json_response(
            {**answer, "usageMetadata": usage.metadata(), "modelVersion": usage.model}
        )

    async def count_tokens(self, request: web.Request) -> web.StreamResponse:
        """Count words instead of tokens. It is no model call: the real service charges nothing."""
        _authenticate(request)
        if self._behaviour.settings.down:
            raise ApiError(503, "The service is currently unavailable.")
        answering_model(request.match_info["model"], self._behaviour.settings)
        words = len(json.dumps((await _json(request)).get("contents")).split())
        return web.json_response({"totalTokens": words})

    async def predict(self, request: web.Request) -> web.StreamResponse:
        _authenticate(request)
        if model := request.match_info.get("model"):
            raise ApiError(404, f"Publisher Model `{model}` was not found.")
        endpoint = request.match_info["endpoint"]
        if self._behaviour.settings.dedicated and request.host != _own_host(request):
            raise ApiError(
                400,
                "Dedicated Endpoint cannot be accessed through the shared Vertex AI domain "
                f"{request.host}. Please access the endpoint using its dedicated domain name "
                f"'{_own_host(request)}'",
                code="FAILED_PRECONDITION",
            )
        asked = Prediction.parse(await _json(request), self._container)
        async with Call(self._behaviour, asked.prompt, location_of(request)) as fault:
            if fault is Fault.BLOCKED:
                raise ApiError(400, _REFUSAL)
            if fault is Fault.BLOCKED_IMAGE:
                return web.json_response(
                    {"predictions": [{"raiFilteredReason": f"{_REFUSAL} Support codes: 17301594"}]}
                )
            if fault is Fault.EMPTY:
                return web.json_response({"predictions": []})
            encoded = [
                await self._picture(
                    fault,
                    asked.prompt,
                    model=f"endpoint {endpoint}",
                    index=index,
                    seed=None if asked.seed is None else asked.seed + index,
                    aspect_ratio=asked.aspect_ratio,
                    image_size=asked.image_size,
                )
                for index in range(asked.count)
            ]
        self._behaviour.counts.images += asked.count
        return web.Response(
            body=b'{"predictions":[' + b",".join(map(asked.container.answer, encoded)) + b"]}",
            content_type="application/json",
            charset="utf-8",
        )

    async def get_endpoint(self, request: web.Request) -> web.StreamResponse:
        """Return an endpoint's resource; there is one under every id."""
        _authenticate(request)
        self._behaviour.counts.endpoint_reads += 1
        endpoint: dict[str, Any] = {"name": request.path.split("/", 2)[2], "displayName": "local"}
        if self._behaviour.settings.dedicated:
            endpoint |= {
                "dedicatedEndpointEnabled": True,
                "dedicatedEndpointDns": _own_host(request),
            }
        return web.json_response(endpoint)

    @property
    def _container(self) -> Container:
        if self._behaviour.settings.flux:
            return Container.FLUX
        if self._behaviour.settings.stable_diffusion:
            return Container.STABLE_DIFFUSION
        return Container.IMAGEN

    def _next_index(self, prompt: str) -> int:
        self._times_drawn[hash(prompt)] += 1
        return (self._times_drawn[hash(prompt)] - 1) % 4

    async def close(self, _: web.Application) -> None:
        self._painters.shutdown(wait=False, cancel_futures=True)

    async def _picture(self, fault: Fault | None, prompt: str, **options: Any) -> bytes:
        """Return a picture in base64."""
        if fault is Fault.NOT_AN_IMAGE:
            return base64.b64encode(b"This is no picture.")
        if fault is Fault.CUT_IMAGE:
            return base64.b64encode(pictures.cut_jpeg())
        data = await self._whole_picture(prompt, **options)
        if fault is Fault.URL_SAFE:
            return data.translate(_URL_SAFE).rstrip(b"=")
        return data

    async def _whole_picture(self, prompt: str, **options: Any) -> bytes:
        if size := self._behaviour.settings.canned_bytes:
            return _canned(size)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._painters, functools.partial(_drawn, prompt, **options)
            )
        except (ValueError, ZeroDivisionError):
            raise ApiError(400, f"Image options are not supported: {options}") from None


def _own_host(request: web.Request) -> str:
    """Return the host of dedicated endpoints: another name for this machine, told by its header.

    On Vertex AI, it is `ENDPOINT.LOCATION-PROJECT_NUMBER.prediction.vertexai.goog`.
    """
    return f"localhost:{request.host.rpartition(':')[2]}"


def _part(data: bytes, *, thought: bool = False) -> bytes:
    flag = b'"thought":true,' if thought else b""
    return b"{" + flag + b'"inlineData":{"mimeType":"image/png","data":"' + data + b'"}}'


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except ApiError as error:
        headers = {"Retry-After": f"{error.retry_after_s:g}"} if error.retry_after_s else {}
        return _error(error.status, error.code, str(error), headers)
    except GarbledError as error:
        return web.Response(status=error.args[0], text="{not JSON", content_type="application/json")
    except ConnectionAbortedError:
        if request.transport:
            request.transport.close()
        return web.Response()
    except web.HTTPNotFound:
        return _error(404, "NOT_FOUND", f"No such method: {request.method} {request.path}", {})
    return response


def _error(status: int, code: str, message: str, headers: dict[str, str]) -> web.Response:
    error = {"code": status, "message": message, "status": code}
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
