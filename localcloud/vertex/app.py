"""The HTTP interface of the stand-in for Vertex AI: routes, requests and responses.

Responses follow the public API reference; errors have the form of google.rpc.Status.
"""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from localcloud.tunable_settings import add_settings_routes
from localcloud.vertex.batch import BatchService, add_batch_routes
from localcloud.vertex.behaviour import Behaviour, Fault
from localcloud.vertex.billing import Ledger
from localcloud.vertex.calls import ApiError, Call, GarbledError
from localcloud.vertex.containers import Container, Prediction
from localcloud.vertex.files import Files, ReadFile, no_files
from localcloud.vertex.generator import Asked, Generator
from localcloud.vertex.models import answering_model, location_of, tier_of
from localcloud.vertex.painter import Painter

# So much of a body is written at a time.
_WRITE_BYTES = 1 << 18

_REFUSAL = (
    "The prompt could not be submitted. It contains sensitive words that violate Google's "
    "Responsible AI practices. Try rephrasing the prompt."
)


def vertex_app(
    behaviour: Behaviour,
    read: ReadFile = no_files,
    *,
    storage_url: str = "",
    batch_records: Path | None = None,
) -> web.Application:
    """Return an app that serves Vertex AI's API.

    Beyond Google's routes, `GET /localcloud` returns counts and settings, and a PATCH of it with a
    JSON object changes settings; `/localcloud/batch` does the same for batch jobs.

    Args:
        behaviour: decides on faults.
        read: reads the pictures in Cloud Storage that requests name.
        storage_url: where batch jobs read and write.
        batch_records: the file in which batch jobs are kept; None keeps none.
    """
    painter, ledger = Painter(behaviour.settings), Ledger()
    service = _Service(behaviour, Generator(painter, Files(read)), painter, ledger)
    batches = BatchService(
        behaviour, painter=painter, ledger=ledger, storage_url=storage_url, records=batch_records
    )
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
    add_batch_routes(app, batches, behaviour)
    app.on_cleanup.append(service.close)
    return app


class _Service:
    def __init__(
        self, behaviour: Behaviour, generator: Generator, painter: Painter, ledger: Ledger
    ) -> None:
        self._behaviour = behaviour
        self._generator = generator
        self._painter = painter
        self._ledger = ledger

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
        asked = Asked.parse(await _json(request), model)
        async with Call(self._behaviour, asked.prompt, location_of(request)) as fault:
            answer = await self._generator.answer(asked, tier, fault=fault)
        self._behaviour.counts.images += answer.images
        self._ledger.add(answer.usage)
        return await _sent(request, answer.pieces)

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
                await self._painter.picture(
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
        predictions = b",".join(map(asked.container.answer, encoded))
        return await _sent(request, (b'{"predictions":[', predictions, b"]}"))

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

    async def close(self, _: web.Application) -> None:
        self._painter.close()


def _own_host(request: web.Request) -> str:
    """Return the host of dedicated endpoints: another name for this machine, told by its header.

    On Vertex AI, it is `ENDPOINT.LOCATION-PROJECT_NUMBER.prediction.vertexai.goog`.
    """
    return f"localhost:{request.host.rpartition(':')[2]}"


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


async def _sent(request: web.Request, pieces: Sequence[bytes]) -> web.StreamResponse:
    """Send a body of JSON as fast as the client takes it, and copy no more of it than a piece."""
    response = web.StreamResponse()
    response.content_type, response.charset = "application/json", "utf-8"
    response.content_length = sum(map(len, pieces))
    with contextlib.suppress(ConnectionError):  # of a client that has gone
        await response.prepare(request)
        for piece in pieces:
            view = memoryview(piece)
            for start in range(0, len(view), _WRITE_BYTES):
                await response.write(view[start : start + _WRITE_BYTES])
        await response.write_eof()
    return response


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise ApiError(400, "Invalid JSON payload received.") from None
    if not isinstance(body, dict):
        raise ApiError(400, "Invalid JSON payload received: expected an object.")
    return body
