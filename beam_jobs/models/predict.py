"""The adapter for models with the `:predict` API.

It is Imagen's API. Tuned Imagen and open models (FLUX, Stable Diffusion and others) on a Vertex AI
endpoint have it too. One call asks for up to four images.

What containers want and answer is in `beam_jobs.models.predictions`.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import aiohttp
import google.auth
import google.auth.transport.requests
import orjson
from google.auth import exceptions as auth_exceptions
from typing_extensions import override

from beam_jobs.catalog import MAX_IMAGES, NO_PROMPT_FIELD, PROMPT_FIELD
from beam_jobs.models.answer_body import read_answer, unread_error
from beam_jobs.models.answer_json import decode
from beam_jobs.models.base import (
    MAX_DETAIL_CHARS,
    Answer,
    CallError,
    ImageModel,
    Retry,
    error_from_answer,
    no_image_error,
    unreachable_error,
)
from beam_jobs.models.bill import UNKNOWN
from beam_jobs.models.endpoint_host import EndpointHost
from beam_jobs.models.predictions import images
from beam_jobs.models.refusals import code_of, error_in
from beam_jobs.outcomes import Reason
from beam_jobs.prompts.parse import Prompt

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
# Pixels of the longer side.
_LONG_SIDE = {"1K": 1024, "2K": 2048}


class PredictModel(ImageModel):
    """A publisher model or a deployed endpoint with the `:predict` API.

    Args:
        session: sends the calls.
        resource: `projects/…/locations/…/endpoints/…` or `…/publishers/google/models/…`.
        timeout_s: timeout of one call, in seconds.
        base_url: the API's URL; default: Google's URL for the location.
        prompt_field: the field of an instance that takes the prompt's text, or `NO_PROMPT_FIELD`.
    """

    images_per_call = MAX_IMAGES

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        resource: str,
        timeout_s: float,
        base_url: str | None = None,
        prompt_field: str = PROMPT_FIELD,
    ) -> None:
        location = resource.split("/")[3]
        region = "" if location == "global" else f"{location}-"
        shared_url = base_url or f"https://{region}aiplatform.googleapis.com"
        self._session = session
        self._host = EndpointHost(shared_url.rstrip("/"), resource)
        self._credentials = _Credentials()
        self._resource = resource
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._prompt_field = prompt_field
        self._deployed = "/endpoints/" in resource

    @override
    async def generate(self, prompt: Prompt, *, first: int, count: int) -> Answer:
        field = self._prompt_field
        body = {
            "instances": [prompt.text if field == NO_PROMPT_FIELD else {field: prompt.text}],
            "parameters": parameters(prompt, first=first, count=count, prompt_field=field),
        }
        host = await self._host.url(self._endpoint)
        url = f"{host}/v1/{self._resource}:predict"
        try:
            answer = await self._send("POST", url, orjson.dumps(body))
            decoded = decode(answer)
            if inside := error_in(decoded):
                raise error_from_answer(code_of(inside), answer, {})
        except ValueError as error:
            raise no_image_error(f"cannot read the model's answer: {str(error)[:200]}") from error
        except CallError as error:
            if error.about_fields and self._deployed:
                raise self._fields_error(error.detail) from error
            raise
        predictions = decoded.get("predictions") if isinstance(decoded, Mapping) else None
        # What an endpoint's machine costs, or what Google charges for its image, no answer tells.
        return Answer(images(predictions), UNKNOWN)

    def _fields_error(self, detail: str) -> CallError:
        """Return the error for a request that a container refuses, maybe for its fields.

        The job cannot know which fields a container takes. Once an operator has set them right, the
        prompt can be replayed.
        """
        advice = (
            f"; if all prompts of the endpoint fail, set --prompt_field (now {self._prompt_field}) "
            "to the field that its container takes the text from, then replay them"
        )
        return CallError(
            Reason.MODEL_ERROR,
            detail[: MAX_DETAIL_CHARS - len(advice)] + advice,
            retry=Retry.NEVER,
            retryable=True,
        )

    async def _endpoint(self, url: str) -> bytes:
        return await self._send("GET", url, None)

    async def _send(self, method: str, url: str, body: bytes | None) -> bytes:
        """Send one request, once.

        Raises:
            CallError: it was refused or not answered.
        """
        try:
            headers = {
                "Authorization": f"Bearer {await self._credentials.token()}",
                "Content-Type": "application/json",
            }
            async with self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=self._timeout,
                # An API's host sends none. Another host would get the prompt.
                allow_redirects=False,
            ) as response:
                return await read_answer(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError):
                self._host.forget()
            raise unread_error(error) from error
        except auth_exceptions.GoogleAuthError as error:
            raise unreachable_error(f"no credentials for the model: {error}") from error


def parameters(
    prompt: Prompt, *, first: int, count: int, prompt_field: str = PROMPT_FIELD
) -> dict[str, Any]:
    """Return the `parameters` of a request for `count` images of `prompt`, from index `first`.

    For any other prompt field than Imagen's, they have Diffusers' names. Containers such as Hugging
    Face's pass them on to the pipeline, which refuses those of Imagen.
    """
    seed = None if prompt.seed is None else (prompt.seed + first) % (2**31)
    if prompt_field != PROMPT_FIELD:
        diffusers = {"negative_prompt": prompt.negative_prompt, "seed": seed, **_size(prompt)}
        return {name: value for name, value in diffusers.items() if value is not None}
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
    if seed is not None:
        # Imagen accepts a seed only with its watermark off.
        values |= {"seed": seed, "addWatermark": False}
    return values


def _size(prompt: Prompt) -> dict[str, int]:
    """Return width and height in pixels, each a multiple of 64; nothing if the prompt has none."""
    if not (prompt.aspect_ratio or prompt.image_size):
        return {}
    across, down = (int(part) for part in (prompt.aspect_ratio or "1:1").split(":"))
    scale = _LONG_SIDE.get(prompt.image_size or "1K", 1024) / max(across, down)
    return {"width": int(across * scale), "height": int(down * scale)}


class _Credentials:
    """Application Default Credentials; google-auth finds and refreshes them in a thread."""

    def __init__(self) -> None:
        self._adc: Any = None
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """Return a valid access token.

        Raises:
            GoogleAuthError: there are no credentials, or they cannot be refreshed.
        """
        async with self._lock:
            if self._adc is None or not self._adc.valid:
                await asyncio.to_thread(self._refresh)
        return str(self._adc.token)

    def _refresh(self) -> None:
        if self._adc is None:
            self._adc, _ = google.auth.default(scopes=SCOPES)
        self._adc.refresh(google.auth.transport.requests.Request())


def base_url_from_environment() -> str | None:
    """Return the Vertex AI URL from `GOOGLE_VERTEX_BASE_URL`, which google-genai reads too."""
    return os.environ.get("GOOGLE_VERTEX_BASE_URL") or None
