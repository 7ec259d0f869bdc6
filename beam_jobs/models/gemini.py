"""The adapter for Gemini image models, with google-genai: one call, one image."""

import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import aiohttp
import orjson
from google import genai
from google.auth import exceptions as auth_exceptions
from google.genai import types
from typing_extensions import override

from beam_jobs.catalog import Tier
from beam_jobs.models.answer_body import read_answer, unread_error
from beam_jobs.models.answer_json import decode_around_pictures
from beam_jobs.models.answer_memory import SlottedResponse
from beam_jobs.models.base import (
    Answer,
    CallError,
    ImageModel,
    blocked_error,
    describe_error,
    error_from_answer,
    image_from_bytes,
    no_image_error,
    quote_words,
    unreachable_error,
)
from beam_jobs.models.bill import bill_of
from beam_jobs.models.gemini_request import request_of
from beam_jobs.models.pictures import decode_base64
from beam_jobs.models.refusals import code_of, error_in
from beam_jobs.prompts.parse import Prompt

# https://ai.google.dev/api/generate-content#FinishReason: with these, the same prompt will be
# refused again. With the others (NO_IMAGE, IMAGE_OTHER, OTHER, STOP without an image), a retry may
# succeed.
REFUSALS = frozenset(
    {
        "SAFETY",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    }
)

# What an error says that is about a file which the request names, and not about the model:
# https://github.com/googleapis/js-genai/issues/666 (403), and 404 "A valid object was not found at
# the specified URL" of https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors
_OF_A_FILE = re.compile(r"gs://|\b(input |image )?file\b|\bobject\b|cloud storage", re.IGNORECASE)

# https://cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo
# https://docs.cloud.google.com/vertex-ai/generative-ai/docs/priority-paygo
TIER_HEADER = "X-Vertex-AI-LLM-Shared-Request-Type"

# Where a call's middleware leaves the body of its answer.
_bodies: ContextVar[list[bytes]] = ContextVar("bodies")


class GeminiModel(ImageModel):
    """A Gemini model on Vertex AI.

    google-genai adds the address and the credentials. Its retries are off, because
    `beam_jobs.engine.generate` counts and paces all retries. Without retry options, it would send a
    call again after a broken connection, and pay twice (`_async_request_once` in its
    `_api_client`, 2.34). Its reading of errors is off too, as it raises a JSONDecodeError without
    the status for an error that says it is JSON and is not
    (`findings/genai_error_that_is_no_json.sh`).

    The calls bypass `models.generate_content`, which converts requests and answers with pydantic,
    field by field. For a request, that takes a quarter of all CPU time of a prompt with a small
    image; for a 2 MB answer, more than everything else that is done with it. And the body of an
    answer bypasses google-genai, which would make a text of it, another copy.

    Args:
        session: sends the calls.
        model: the model's name.
        project: the Google Cloud project that pays.
        location: where to call the model: `global`, a multi-region such as `us`, or a region.
            google-genai derives the host from it.
        timeout_s: timeout of one call, in seconds.
        tier: what to ask for; standard without a header, as calls are by default.
    """

    images_per_call = 1

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        model: str,
        project: str,
        location: str,
        timeout_s: float,
        tier: Tier = Tier.STANDARD,
    ) -> None:
        self._path = f"publishers/google/models/{model}:generateContent"
        client = genai.Client(
            vertexai=True,
            project=project,
            location=location,
            http_options=types.HttpOptions(
                aiohttp_client=session,
                timeout=int(timeout_s * 1000),
                retry_options=types.HttpRetryOptions(attempts=1),
                headers=None if tier is Tier.STANDARD else {TIER_HEADER: tier.value},
                # Passed on to aiohttp with each call.
                async_client_args={"middlewares": (_take_body,)},
            ),
        )
        self._http = client._api_client

    @override
    async def generate(self, prompt: Prompt, *, first: int, count: int) -> Answer:
        assert count == 1
        bodies: list[bytes] = []
        token = _bodies.set(bodies)
        try:
            await self._http.async_request("post", self._path, request_of(prompt, first))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise unread_error(error) from error
        except auth_exceptions.GoogleAuthError as error:
            raise unreachable_error(f"no credentials for the model: {error}") from error
        except CallError as error:
            if prompt.references and _OF_A_FILE.search(error.detail):
                # The model would answer other prompts.
                error.of_model = False
            raise
        finally:
            _bodies.reset(token)
        return answer_of(bodies.pop(), prompt.model)


async def _take_body(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Take the body of an answer of 200 to the call; raise the error of any other.

    A middleware of aiohttp. It sees a redirect before aiohttp follows it, so that none is followed.
    """
    response = await handler(request)
    _bodies.get().append(await read_answer(response))
    if isinstance(response, SlottedResponse):
        response.forget()
    return response


def answer_of(body: bytes, model: str) -> Answer:
    """Return the image of a `:generateContent` answer, and what it cost.

    Args:
        body: the answer's body.
        model: the model that was asked.

    Raises:
        CallError: as `image_in` says.
    """
    try:
        answer = decode_around_pictures(body)
    except ValueError as error:
        raise no_image_error(f"cannot read the model's answer: {describe_error(error)}") from error
    return image_in(answer, model)


def image_in(answer: Any, model: str, *, batch: bool = False) -> Answer:
    """Return the image of a decoded `:generateContent` answer, and what it cost.

    Args:
        answer: the answer.
        model: the model that was asked.
        batch: whether batch inference made it, which has a price of its own.

    Raises:
        CallError: the prompt or image was refused, or the answer holds no image. Its bill is what
            the answer cost all the same.
    """
    if error := error_in(answer):  # in an answer of 200; it states no cost
        told = orjson.dumps(answer, default=lambda _: None)  # without pictures
        raise error_from_answer(code_of(error), told, {})
    if not isinstance(answer, dict):
        kind = type(answer).__name__
        raise no_image_error(f"cannot read the model's answer: expected an object, got {kind}")
    try:
        image = image_from_bytes(_image_bytes(answer))
    except CallError as without_image:
        without_image.bill = bill_of(answer, model, batch=batch)
        raise
    return Answer([image], bill_of(answer, model, batch=batch))


def _image_bytes(answer: dict[str, Any]) -> bytes:
    """Return the image of a `:generateContent` answer.

    On complex prompts the models answer with up to ten images, of which the last one that is no
    thought is the final one. Some answers hold their only image in a thought.

    Raises:
        CallError: the prompt or image was refused, or the answer holds no image.
    """
    try:
        candidates = answer.get("candidates") or []
        images = [list(_images(candidate)) for candidate in candidates]
        for thought in (False, True):
            for of_candidate in images:
                if found := [data for data, is_thought in of_candidate if is_thought is thought]:
                    return decode_base64(found[-1])
        raise _error_without_image(answer, candidates)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise no_image_error(f"cannot read the model's answer: {describe_error(error)}") from error


def _parts(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    return (candidate.get("content") or {}).get("parts") or []


def _images(candidate: dict[str, Any]) -> Iterator[tuple[str | memoryview, bool]]:
    """Yield the base64 of each image, and whether it is a thought; skip other data and text."""
    for part in _parts(candidate):
        inline = part.get("inlineData") or {}
        if inline.get("data") and str(inline.get("mimeType") or "image/").startswith("image/"):
            yield inline["data"], bool(part.get("thought"))


def _words(candidates: list[dict[str, Any]]) -> str:
    """Return what the model says: its texts; if there are none, those of its thoughts."""
    texts: dict[bool, list[str]] = {False: [], True: []}
    for candidate in candidates:
        for part in _parts(candidate):
            if part.get("text"):
                texts[bool(part.get("thought"))].append(str(part["text"]))
    messages = [str(each["finishMessage"]) for each in candidates if each.get("finishMessage")]
    return quote_words(*messages, *(texts[False] or texts[True]))


def _error_without_image(answer: dict[str, Any], candidates: list[dict[str, Any]]) -> CallError:
    feedback = answer.get("promptFeedback") or {}
    if feedback.get("blockReason"):
        said = quote_words(feedback.get("blockReasonMessage"))
        return blocked_error(f"prompt refused: {feedback['blockReason']}{said}")
    reasons = [str(each["finishReason"]) for each in candidates if each.get("finishReason")]
    named = ", ".join(reasons)
    if REFUSALS.intersection(reasons):
        return blocked_error(f"image refused: {named}{_words(candidates)}")
    ended = named or ("no finish reason" if candidates else "no candidates")
    return no_image_error(f"model answered without an image: {ended}{_words(candidates)}")
