"""The HTTP interface of batch jobs: create, get, list, cancel, delete.

As google-genai's `client.batches` and google-cloud-aiplatform's JobServiceClient call it over REST.
"""

import dataclasses
import secrets
from typing import Any

from aiohttp import web

from localcloud import rest
from localcloud.rest import ApiError
from localcloud.tunable_settings import add_settings_routes
from localcloud.vertex.batch.filters import parse_filter
from localcloud.vertex.batch.orders import parse_order
from localcloud.vertex.batch.service import BatchService
from localcloud.vertex.behaviour import Behaviour

_LARGEST_PAGE = 100


def add_batch_routes(app: web.Application, service: BatchService, behaviour: Behaviour) -> None:
    """Add the API to an app, and its settings as `/localcloud/batch`.

    Args:
        app: the app of the stand-in for Vertex AI.
        service: the jobs. The app starts and stops them.
        behaviour: of the models: which are gone, and whether all is down.
    """
    routes = _Routes(service, behaviour)
    jobs = "/{version:v1|v1beta1}/projects/{project}/locations/{location}/batchPredictionJobs"
    one = jobs + "/{job:[^/:]+}"
    add = app.router.add_route
    for http_method, path, method, handler in (
        ("POST", jobs, "create", routes.create),
        ("GET", jobs, "list", routes.list),
        ("GET", one, "get", routes.get),
        ("POST", one + ":cancel", "cancel", routes.cancel),
        ("DELETE", one, "delete", routes.delete),
    ):
        add(http_method, path, routes.method(method, handler))
    add_settings_routes(app, service.settings, routes.counts, "/localcloud/batch")

    async def start(_: web.Application) -> None:
        await service.start()

    async def stop(_: web.Application) -> None:
        await service.stop()

    app.on_startup.append(start)
    app.on_shutdown.append(stop)


class _Routes:
    def __init__(self, service: BatchService, behaviour: Behaviour) -> None:
        self._service = service
        self._models = behaviour.settings
        self._faults = rest.Faults(service.settings)

    def counts(self) -> dict[str, Any]:
        """Return the counters of jobs, and of calls by method."""
        calls = {f"{method}_calls": count for method, count in self._faults.counts.items()}
        return dataclasses.asdict(self._service.counts()) | calls

    def method(self, name: str, handler: rest.Handler) -> rest.Handler:
        """Return a handler with authentication, faults, and errors as Google's APIs have them."""
        faulty = self._faults.wrap(name, handler)

        async def call(request: web.Request) -> web.StreamResponse:
            return await rest.errors(request, faulty)

        return call

    async def create(self, request: web.Request) -> web.Response:
        self._check_up()
        parent, location = _parent(request), request.match_info["location"]
        if self._service.settings.forbidden:
            raise ApiError(
                403,
                "Permission 'aiplatform.batchPredictionJobs.create' denied on resource "
                f"'//aiplatform.googleapis.com/{parent}' (or it may not exist).",
            )
        order = parse_order(
            await rest.json_object(request),
            location,
            retired=self._models.retired_models,
            unserved=self._service.settings.unserved_models,
        )
        return web.json_response(self._service.create(parent, order).resource())

    async def get(self, request: web.Request) -> web.Response:
        self._check_up()
        return web.json_response(self._service.get(_name(request)).resource())

    async def list(self, request: web.Request) -> web.Response:
        self._check_up()
        wanted = parse_filter(request.query.get("filter", ""))
        jobs = [job for job in self._service.listed(_parent(request)) if wanted(job)]
        page, more = rest.paginate(jobs, request.query, largest=_LARGEST_PAGE)
        answer: dict[str, Any] = {}
        # Proto's JSON leaves out what is empty.
        if page:
            answer["batchPredictionJobs"] = [job.resource() for job in page]
        if more:
            answer["nextPageToken"] = more
        return web.json_response(answer)

    async def cancel(self, request: web.Request) -> web.Response:
        self._check_up()
        self._service.cancel(_name(request))
        return web.json_response({})

    async def delete(self, request: web.Request) -> web.Response:
        self._check_up()
        self._service.delete(_name(request))
        # An operation that has ended: the real service's ends within seconds.
        api = "type.googleapis.com/google.cloud.aiplatform.v1"
        return web.json_response(
            {
                "name": f"{_parent(request)}/operations/{secrets.randbelow(10**18)}",
                "metadata": {"@type": f"{api}.DeleteOperationMetadata"},
                "done": True,
                "response": {"@type": "type.googleapis.com/google.protobuf.Empty"},
            }
        )

    def _check_up(self) -> None:
        if self._models.down:
            raise ApiError(503, "The service is currently unavailable.")


def _parent(request: web.Request) -> str:
    place = request.match_info
    return f"projects/{place['project']}/locations/{place['location']}"


def _name(request: web.Request) -> str:
    return f"{_parent(request)}/batchPredictionJobs/{request.match_info['job']}"
