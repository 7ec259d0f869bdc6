"""A model with the `:predict` API is asked for by its resource, which costs nothing."""

import asyncio

import pytest
from aiohttp import web
from google.api_core import exceptions as api_exceptions
from google.auth.credentials import AnonymousCredentials

from beam_jobs.cli.model_check import read_predict_model

ENDPOINT = "projects/p/locations/us-central1/endpoints/1"


@pytest.fixture
def read(serve):
    """Read a resource from a server with one answer; returns what the server was asked."""

    async def call(resource, answer):
        asked = []

        async def handler(request):
            asked.append((request.method, request.path))
            return web.json_response(answer)

        url = await serve(handler)
        await asyncio.to_thread(
            read_predict_model,
            resource,
            url=f"{url}/",
            credentials=AnonymousCredentials(),
            timeout_s=20,
        )
        return asked

    return call


@pytest.mark.asyncio
async def test_an_endpoint_is_read_where_it_is(read):
    asked = await read(ENDPOINT, {"deployedModels": [{"id": "1"}]})
    assert asked == [("GET", f"/v1/{ENDPOINT}")]


@pytest.mark.parametrize("parent", ["", "projects/p/locations/us-central1/"])
@pytest.mark.asyncio
async def test_a_publishers_model_is_no_projects(read, parent):
    asked = await read(f"{parent}publishers/google/models/imagen-4", {"name": "x"})
    assert asked == [("GET", "/v1/publishers/google/models/imagen-4")]


@pytest.mark.asyncio
async def test_an_endpoint_without_a_model_is_wrong(read):
    with pytest.raises(api_exceptions.FailedPrecondition, match="no model is deployed to projects"):
        await read(ENDPOINT, {"name": ENDPOINT})
