"""Which host takes an endpoint's predictions, and how often that is asked."""

import asyncio
import json

import pytest

from beam_jobs.models.base import CallError, Retry, error_from_status, no_image_error
from beam_jobs.models.endpoint_host import EndpointHost

pytestmark = pytest.mark.asyncio

SHARED = "https://us-central1-aiplatform.googleapis.com"
ENDPOINT = "projects/p/locations/us-central1/endpoints/1234"
DNS = "1234.us-central1-5678.prediction.vertexai.goog"
DEDICATED = json.dumps({"name": ENDPOINT, "dedicatedEndpointDns": DNS}).encode()


class Api:
    """Answers with one answer after another, and the last one again; an exception is raised."""

    def __init__(self, *answers):
        self.asked = []
        self._answers = list(answers)

    async def get(self, url):
        self.asked.append(url)
        await asyncio.sleep(0)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_dedicated_endpoint_is_asked_once_for_its_host_by_however_many_calls():
    api, host = Api(DEDICATED), EndpointHost(SHARED, ENDPOINT)
    urls = await asyncio.gather(*(host.url(api.get) for _ in range(20)))
    assert {*urls, await host.url(api.get)} == {f"https://{DNS}"}
    assert api.asked == [f"{SHARED}/v1/{ENDPOINT}"]


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"name": ENDPOINT}).encode(),
        json.dumps({"dedicatedEndpointDns": ""}).encode(),
        b"[]",
        b"<html>",
        error_from_status(404, "no such endpoint"),
        error_from_status(400, "bad"),
    ],
)
async def test_every_other_endpoint_has_the_shared_host(answer):
    api, host = Api(answer), EndpointHost(SHARED, ENDPOINT)
    assert [await host.url(api.get) for _ in range(3)] == [SHARED] * 3
    assert len(api.asked) == 1


async def test_a_job_that_may_not_ask_says_which_permission_it_lacks(caplog):
    api, host = Api(error_from_status(403, "denied")), EndpointHost(SHARED, ENDPOINT)
    assert await host.url(api.get) == SHARED
    (record,) = caplog.records
    assert "grant aiplatform.endpoints.get" in record.getMessage()


@pytest.mark.parametrize("error", [error_from_status(503, "busy"), no_image_error("odd")])
async def test_an_endpoint_that_cannot_be_asked_now_is_asked_again(error):
    api, host = Api(error, DEDICATED), EndpointHost(SHARED, ENDPOINT)
    with pytest.raises(type(error)):
        await host.url(api.get)
    assert await host.url(api.get) == f"https://{DNS}"


async def test_only_a_host_of_its_own_is_forgotten():
    api, host = Api(DEDICATED, json.dumps({}).encode()), EndpointHost(SHARED, ENDPOINT)
    await host.url(api.get)
    host.forget()
    assert await host.url(api.get) == SHARED
    host.forget()
    assert await host.url(api.get) == SHARED
    assert len(api.asked) == 2


async def test_a_publisher_model_has_no_host_of_its_own():
    model = "projects/p/locations/us-central1/publishers/google/models/imagen-4"
    api = Api(DEDICATED)
    assert await EndpointHost(SHARED, model).url(api.get) == SHARED
    assert api.asked == []


STAND_IN = "http://127.0.0.1:8080"


def named(dns):
    return Api(json.dumps({"dedicatedEndpointDns": dns}).encode())


@pytest.mark.parametrize(
    ("shared", "dns", "url"),
    [
        (SHARED, DNS, f"https://{DNS}"),
        (SHARED, f"https://{DNS}", f"https://{DNS}"),
        (
            SHARED,
            "mg-endpoint-d6a4.us-west1-fasttryout.prediction.vertexai.goog",
            "https://mg-endpoint-d6a4.us-west1-fasttryout.prediction.vertexai.goog",
        ),
        (
            SHARED,
            "1234-us-central1-5678.prediction.p.vertexai.goog",
            "https://1234-us-central1-5678.prediction.p.vertexai.goog",
        ),
        (STAND_IN, "localhost:8080", "http://localhost:8080"),
        (STAND_IN, "127.0.0.2", "http://127.0.0.2"),
        ("http://localhost:8080", "[::1]:8080", "http://[::1]:8080"),
    ],
)
async def test_googles_hosts_are_called_and_this_machine_where_it_stands_in(shared, dns, url):
    assert await EndpointHost(shared, ENDPOINT).url(named(dns).get) == url


@pytest.mark.parametrize(
    ("shared", "dns"),
    [
        (SHARED, "drawn.example"),
        (SHARED, "localhost:8080"),
        (SHARED, f"{DNS}.drawn.example"),
        (SHARED, f"drawn.example/{DNS}"),
        (SHARED, f"drawn.example#.{DNS}"),
        (SHARED, f"user@{DNS}"),
        (SHARED, f"{DNS}:8443"),
        (SHARED, f"{DNS}\n"),
        (SHARED, f"http://{DNS}"),
        (SHARED, "prediction.vertexai.goog"),
        (SHARED, "drawn-prediction.vertexai.goog"),
        (SHARED, 7),
        (STAND_IN, "drawn.example"),
        (STAND_IN, "localhost@drawn.example"),
        (STAND_IN, "drawn.example@localhost"),
        (STAND_IN, "localhost.drawn.example"),
        (STAND_IN, "localhost/elsewhere"),
        (STAND_IN, "10.0.0.1:8080"),
        ("https://gateway.example", "localhost"),
        ("https://gateway.example", "gateway.example"),
    ],
)
async def test_any_other_host_is_refused_before_anything_is_sent_there(shared, dns):
    api, host = named(dns), EndpointHost(shared, ENDPOINT)
    with pytest.raises(CallError, match="which isn't Google's: expected ENDPOINT") as refused:
        await host.url(api.get)
    assert (refused.value.retry, refused.value.retryable) == (Retry.NEVER, True)
    assert "GOOGLE_VERTEX_BASE_URL" in refused.value.detail
    assert api.asked == [f"{shared}/v1/{ENDPOINT}"], "nothing but the endpoint's resource"
