"""The adapter for models with the `:predict` API, with google-cloud-aiplatform.

It is Imagen's API. Tuned Imagen and open models (FLUX, Stable Diffusion) on a Vertex AI endpoint
have it too. One call returns up to four images.
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
from typing_extensions import override

from beam_jobs.models.base import (
    CallError,
    Image,
    ImageModel,
    blocked_error,
    describe_error,
    error_from_status,
    image_from_bytes,
    no_image_error,
    parse_retry_after,
    unreachable_error,
)
from beam_jobs.prompts.parse import MAX_IMAGES, Prompt

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

# Imagen refuses a prompt with HTTP 400 and one of these words in the message: see "Responsible AI"
# in the Imagen API reference. Any other 400 means a bad request.
_REFUSAL_WORDS = ("responsible ai", "safety", "sensitive", "prohibited", "violat", "blocked")


class PredictModel(ImageModel):
    """A publisher model or a deployed endpoint with the `:predict` API.

    Args:
        resource: `projects/…/locations/…/endpoints/…` or `…/publishers/google/models/…`.
        timeout_s: timeout of one call, in seconds.
        base_url: the API's URL; default: Google's URL for the location.
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

    @override
    async def generate(self, prompt: Prompt, *, first: int, count: int) -> list[Image]:
        request = PredictRequest(
            endpoint=self._resource,
            parameters=_value(parameters(prompt, first=first, count=count)),
        )
        # Not passed to the constructor: proto-plus would read the list as one value of type list.
        request.instances.append(_value({"prompt": prompt.text}))
        try:
            response = await self._client.predict(request=request, timeout=self._timeout_s)
        except (TimeoutError, auth_exceptions.TimeoutError) as error:
            raise unreachable_error("model did not answer within the call timeout") from error
        except (aiohttp.ClientError, OSError, auth_exceptions.TransportError) as error:
            raise unreachable_error(f"model cannot be reached: {describe_error(error)}") from error
        except auth_exceptions.GoogleAuthError as error:
            raise unreachable_error(f"no credentials for the model: {error}") from error
        except (json_format.ParseError, ValueError) as error:
            raise no_image_error(f"cannot read the model's answer: {str(error)[:200]}") from error
        return images(list(response.predictions))


def parameters(prompt: Prompt, *, first: int, count: int) -> dict[str, Any]:
    """Return the `parameters` of a request for `count` images of `prompt`, from index `first`."""
    values: dict[str, Any] = {
        "sampleCount": count,
        "includeRaiReason": True,
        "outputOptions": {"mimeType": "image/png"},
    }
    if prompt.aspect_ratio:
        values["aspectRatio"] = prompt.aspect_ratio
    if prompt.image_size:
        values["sampleImageSize"] = prompt.image_size
    if prompt.negative_prompt:
        values["negativePrompt"] = prompt.negative_prompt
    if prompt.seed is not None:
        # Imagen accepts a seed only with its watermark off.
        values |= {"seed": (prompt.seed + first) % (2**31), "addWatermark": False}
    return values


def images(predictions: list[Any]) -> list[Image]:
    """Return the images of a `:predict` answer.

    Raises:
        CallError: all images were refused, or the answer holds none.
    """
    decoded: list[Image] = []
    refused = ""
    decode_error: CallError | None = None
    for prediction in predictions:
        if not isinstance(prediction, Mapping):
            continue
        data = prediction.get("bytesBase64Encoded")
        if not isinstance(data, str) or not data:
            refused = str(prediction.get("raiFilteredReason") or refused)
            continue
        try:
            decoded.append(image_from_bytes(pybase64.b64decode(data, validate=True)))
        except ValueError as error:  # binascii.Error is one
            decode_error = no_image_error(f"model's answer is not base64: {error}")
        except CallError as error:
            decode_error = error
    if decoded:  # they are paid for, even if the other images failed
        return decoded
    if decode_error:
        raise decode_error
    if refused:
        raise blocked_error(f"image refused: {refused}")
    raise no_image_error(f"model answered {len(predictions)} predictions, none with an image")


def _error(status: int, body: bytes, headers: Mapping[str, str]) -> CallError:
    try:
        message = str(orjson.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError):  # such as an HTML page from a proxy
        message = body[:200].decode("utf-8", "replace")
    if status == 400 and any(word in message.lower() for word in _REFUSAL_WORDS):
        return blocked_error(f"prompt refused: {message}")
    return error_from_status(status, message, parse_retry_after(headers.get("Retry-After")))


def _value(content: dict[str, Any]) -> struct_pb2.Value:
    return json_format.ParseDict(content, struct_pb2.Value())


class _OneAttemptSession(sessions.AsyncAuthorizedSession):
    """A session that does not retry, and raises HTTP errors as `CallError`.

    The client that uses it would parse an error's body as JSON, but a proxy's 502 is an HTML page.
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
        # There is only one attempt, so its timeout is also the total timeout.
        response = await super().request(method, url, data, headers, timeout, timeout, 1, **kwargs)
        if response.status_code >= 400:
            raise _error(response.status_code, await response.read(), response.headers)
        return response


class _OneAttemptTransport(AsyncPredictionServiceRestTransport):
    """A transport with a session that does not retry.

    There is no public way to set the session. It must be set before the methods are wrapped,
    because the wrapped methods are looked up by the objects they are bound to, such as the session.
    """

    def _prep_wrapped_messages(self, client_info: Any) -> None:
        self._session = _OneAttemptSession(self._credentials)
        super()._prep_wrapped_messages(client_info)


class _AdcCredentials(async_credentials.Credentials):
    """Application Default Credentials for google-auth's asynchronous sessions.

    google-auth finds credentials only for synchronous use, so they are refreshed in a thread.
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
    """Return the Vertex AI URL from `GOOGLE_VERTEX_BASE_URL`, which google-genai reads too."""
    return os.environ.get("GOOGLE_VERTEX_BASE_URL") or None
