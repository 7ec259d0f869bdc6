"""Asks a model whether it is there, without paying for an image.

A Gemini model is asked by the library and the transport that the jobs use. Counting tokens is free,
and a model that does not exist, or that the project may not call, answers it as it answers a call:
https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/get-token-count

A model with the `:predict` API has no such call, so its resource is read.
"""

import aiohttp
from google import genai
from google.api_core import exceptions as api_exceptions
from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession
from google.genai import types

_PROMPT = "a fox"


async def count_tokens(
    model: str, *, project: str, location: str, credentials: Credentials, timeout_s: float
) -> None:
    """Ask a Gemini model to count the tokens of a prompt.

    Raises:
        google.genai.errors.APIError: Vertex AI refused.
        aiohttp.ClientError, OSError: it did not answer.
        google.auth.exceptions.GoogleAuthError: the credentials do not work.
    """
    async with aiohttp.ClientSession() as session:
        client = genai.Client(
            vertexai=True,
            project=project,
            location=location,
            credentials=credentials,
            http_options=types.HttpOptions(
                aiohttp_client=session,
                timeout=int(timeout_s * 1000),
                retry_options=types.HttpRetryOptions(attempts=1),
            ),
        )
        await client.aio.models.count_tokens(model=model, contents=_PROMPT)


def read_predict_model(
    resource: str, *, url: str, credentials: Credentials, timeout_s: float
) -> None:
    """Read the resource of a model that has the `:predict` API.

    Args:
        resource: `projects/…/locations/…/endpoints/…` or `…/publishers/…/models/…`.
        url: the URL of Vertex AI.
        credentials: sent with the request.
        timeout_s: the request's timeout, in seconds.

    Raises:
        google.api_core.exceptions.GoogleAPIError: Vertex AI refused, or the endpoint is empty.
        requests.RequestException: it did not answer.
        google.auth.exceptions.GoogleAuthError: the credentials do not work.
    """
    # Publishers' models do not belong to a project: the method is publishers.models.get.
    _, publishers, model = resource.partition("publishers/")
    with AuthorizedSession(credentials) as session:
        response = session.get(
            f"{url.rstrip('/')}/v1/{publishers + model or resource}",
            timeout=timeout_s,
            max_allowed_time=timeout_s,
        )
        if response.status_code != 200:
            raise api_exceptions.from_http_response(response)
        if not publishers and not response.json().get("deployedModels"):
            raise api_exceptions.FailedPrecondition(f"no model is deployed to {resource}")
