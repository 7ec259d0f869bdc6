"""The `:predict` family, through google-cloud-aiplatform.

Imagen's protocol, which tuned Imagen and open models (FLUX, Stable Diffusion) on a Vertex AI
endpoint speak as well: one call, up to four images.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import aiohttp
import google.auth
import google.auth.transport.requests
import orjson
import pybase64
from google.auth import exceptions as auth_exceptions
from google.auth.aio import credentials as async_credentials
from google.auth.aio.transport import sessions
from google.cloud.aiplatform_v1 import PredictionServiceAsyncClient
from google.cloud.aiplatform_v1.services.prediction_service.transports.rest_asyncio import (
    AsyncPredictionServiceRestTransport,
)
from google.cloud.aiplatform_v1.types import PredictRequest
from google.protobuf import json_format, struct_pb2

from beam_jobs.models.base import (
    CallError,
    Image,
    blocked,
    from_status,
    image_from,
    no_image,
    retry_after,
    unreachable,
)
from beam_jobs.prompts.parse import MAX_IMAGES, Prompt

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

# Imagen refuses a prompt with HTTP 400 and one of these in the message, see "Responsible AI" in
# the Imagen API reference; another 400 is about the request.
_REFUSAL_WORDS = ("responsible ai", "safety", "sensitive", "prohibited", "violat", "blocked")


class PredictModel:
    """A publisher model or a deployed endpoint that speaks `:predict`.

    Args:
        resource: `projects/…/locations/…/endpoints/…` or `…/publishers/google/models/…`.
        base_url: where the API is, when not at Google's own address for the location.
        timeout_s: how long one call may take.
    """

    images_per_call = MAX_IMAGES

    def __init__(self, *, resource: str, timeout_s: float, base_url: str | None = None) -> None:
        location = resource.split("/")[3]
        region = "" if location == "global" else f"{location}-"
        base_url = base_url or f"https://{region}aiplatform.googleapis.com"
        scheme, _, host = base_url.rstrip("/").partition("://")
        transport = _OneAttemptTransport(
            host=host, url_scheme=scheme, credentials=_AdcCredentials()
        )
        self._client = PredictionServiceAsyncClient(transport=transport)
        self._resource = resource
        self._timeout_s = timeout_s

    async def generate(self, prompt: Prompt, *, first: int, count: int) -> list[Image]:
        """See `ImageModel.generate`."""
        request = PredictRequest(
            endpoint=self._resource,
            parameters=_value(parameters(prompt, first=first, count=count)),
        )
        # Not through the constructor: proto-plus would take the list for one value, a list.
        request.instances.append(_value({"prompt": prompt.text}))
        try:
            response = await self._client.predict(request=request, timeout=self._timeout_s)
        except (TimeoutError, auth_exceptions.TimeoutError) as error:
            raise unreachable("model did not answer within the call time-out") from error
        except (aiohttp.ClientError, OSError, auth_exceptions.TransportError) as error:
            raise unreachable(f"model cannot be reached: {error!r}") from error
        except auth_exceptions.GoogleAuthError as error:
            raise unreachable(f"no credentials for the model: {error}") from error
        except (json_format.ParseError, ValueError) as error:
            raise no_image(f"model's answer is not understood: {str(error)[:200]}") from error
        return images(list(response.predictions))


def parameters(prompt: Prompt, *, first: int, count: int) -> dict[str, Any]:
    """Return the `parameters` of the request, only those that the prompt decides."""
    wanted: dict[str, Any] = {
        "sampleCount": count,
        "includeRaiReason": True,
        "outputOptions": {"mimeType": "image/png"},
    }
    if prompt.aspect_ratio:
        wanted["aspectRatio"] = prompt.aspect_ratio
    if prompt.image_size:
        wanted["sampleImageSize"] = prompt.image_size
    if prompt.negative_prompt:
        wanted["negativePrompt"] = prompt.negative_prompt
    if prompt.seed is not None:
        # Imagen takes a seed only without its watermark.
        wanted |= {"seed": (prompt.seed + first) % (2**31), "addWatermark": False}
    return wanted


def images(predictions: list[Any]) -> list[Image]:
    """Return the pictures of a `:predict` answer.

    Raises:
        CallError: all were refused, or there are none.
    """
    found: list[Image] = []
    refused = ""
    wrong: CallError | None = None
    for prediction in predictions:
        if not isinstance(prediction, Mapping):
            continue
        data = prediction.get("bytesBase64Encoded")
        if not isinstance(data, str) or not data:
            refused = str(prediction.get("raiFilteredReason") or refused)
            continue
        try:
            found.append(image_from(pybase64.b64decode(data, validate=True)))
        except ValueError as error:  # binascii.Error is one
            wrong = no_image(f"model's answer is not base64: {error}")
        except CallError as error:
            wrong = error
    if found:  # paid for, whatever became of the others
        return found
    if wrong:
        raise wrong
    if refused:
        raise blocked(f"image refused: {refused}")
    raise no_image(f"model answered {len(predictions)} predictions, none with an image")


def _error(status: int, body: bytes, headers: Mapping[str, str]) -> CallError:
    try:
        message = str(orjson.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError):  # a proxy's page
        message = body[:200].decode("utf-8", "replace")
    if status == 400 and any(word in message.lower() for word in _REFUSAL_WORDS):
        return blocked(f"prompt refused: {message}")
    return from_status(status, message, retry_after(headers.get("Retry-After")))


def _value(content: dict[str, Any]) -> struct_pb2.Value:
    return json_format.ParseDict(content, struct_pb2.Value())


class _OneAttemptSession(sessions.AsyncAuthorizedSession):
    """A session that leaves retries to `generate`, and raises errors as `CallError`.

    The client above it reads an error's body as JSON, and a 502 from a proxy is a page.
    """

    async def request(
        self,
        method: str,
        url: str,
        data: bytes | None = None,
        headers: Any = None,
        max_allowed_time: float | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - google-auth's signature
        total_attempts: int = 1,
        **kwargs: Any,
    ) -> Any:
        # The time for one attempt is the time for all of them, and one it is.
        response = await super().request(method, url, data, headers, timeout, timeout, 1, **kwargs)
        if response.status_code >= 400:
            raise _error(response.status_code, await response.read(), response.headers)
        return response


class _OneAttemptTransport(AsyncPredictionServiceRestTransport):
    """The transport, with a session that does not repeat calls on its own account.

    There is no public way to hand it one. It has to be there before the methods are wrapped: they
    are looked up by what they are bound to, the session among it.
    """

    def _prep_wrapped_messages(self, client_info: Any) -> None:
        self._session = _OneAttemptSession(self._credentials)
        super()._prep_wrapped_messages(client_info)


class _AdcCredentials(async_credentials.Credentials):
    """Application default credentials for google-auth's asynchronous sessions.

    google-auth finds credentials only for synchronous use; these are refreshed in a thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._adc: Any = None
        self._lock = asyncio.Lock()

    async def before_request(self, request: Any, method: str, url: str, headers: Any) -> None:
        async with self._lock:
            if self._adc is None or not self._adc.valid:
                await asyncio.to_thread(self._refresh)
        headers["authorization"] = f"Bearer {self._adc.token}"

    def _refresh(self) -> None:
        if self._adc is None:
            self._adc, _ = google.auth.default(scopes=SCOPES)
        self._adc.refresh(google.auth.transport.requests.Request())


def base_url_from_environment() -> str | None:
    """Return another place for Vertex AI, from the variable that google-genai reads too."""
    return os.environ.get("GOOGLE_VERTEX_BASE_URL") or None
