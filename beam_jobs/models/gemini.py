"""The adapter for Gemini image models, with google-genai: one call, one image."""

from typing import Any

import aiohttp
import orjson
import pybase64
from google import genai
from google.auth import exceptions as auth_exceptions
from google.genai import errors, types
from typing_extensions import override

from beam_jobs.models.answer_memory import AnswerTooLargeError
from beam_jobs.models.base import (
    CallError,
    Image,
    ImageModel,
    Retry,
    blocked_error,
    describe_error,
    error_from_status,
    image_from_bytes,
    no_image_error,
    parse_retry_after,
    unreachable_error,
)
from beam_jobs.outcomes import Reason
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

# Half the price, but slower: https://cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo
FLEX_HEADERS = {"X-Vertex-AI-LLM-Shared-Request-Type": "flex"}


class GeminiModel(ImageModel):
    """A Gemini model on Vertex AI.

    google-genai adds the address and the credentials. Its retries are off, because
    `beam_jobs.engine.generate` counts and paces all retries.

    The calls bypass `models.generate_content`, which converts requests and answers with pydantic,
    field by field. For a request, that takes a quarter of all CPU time of a prompt with a small
    image; for a 2 MB answer, more than everything else that is done with it.

    Args:
        session: sends the calls.
        model: the model's name.
        project: the Google Cloud project that pays.
        location: where to call the model, such as `global`.
        timeout_s: timeout of one call, in seconds.
        flex: whether to use the cheaper, slower flex tier.
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
        flex: bool = False,
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
                headers=dict(FLEX_HEADERS) if flex else None,
            ),
        )
        self._http = client._api_client

    @override
    async def generate(self, prompt: Prompt, *, first: int, count: int) -> list[Image]:
        assert count == 1
        try:
            response = await self._http.async_request("post", self._path, _request(prompt, first))
        except errors.APIError as error:
            raise error_from_status(
                error.code,
                f"{error.status}: {error.message}",
                _retry_after(error),
            ) from error
        except TimeoutError as error:
            raise unreachable_error("model did not answer within the call timeout") from error
        except AnswerTooLargeError as error:
            # Each such answer may be charged.
            raise CallError(
                Reason.NO_IMAGE, str(error), retry=Retry.NEVER, retryable=True
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable_error(f"model cannot be reached: {describe_error(error)}") from error
        except auth_exceptions.GoogleAuthError as error:
            raise unreachable_error(f"no credentials for the model: {error}") from error
        except ValueError as error:  # the answer is not text, or an error is not JSON
            raise no_image_error(f"cannot read the model's answer: {str(error)[:200]}") from error
        return [image_from_bytes(image_bytes(response.body or ""))]


def _request(prompt: Prompt, index: int) -> dict[str, object]:
    """Return the body of a `:generateContent` call for one image of `prompt`.

    https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
    """
    wanted = {"aspectRatio": prompt.aspect_ratio, "imageSize": prompt.image_size}
    config: dict[str, object] = {
        "responseModalities": ["IMAGE"],
        "imageConfig": {name: value for name, value in wanted.items() if value is not None},
    }
    if prompt.seed is not None:
        # With the same seed, all images of a prompt would be the same.
        config["seed"] = (prompt.seed + index) % (2**31)
    contents = [{"role": "user", "parts": [{"text": prompt.text}]}]
    return {"contents": contents, "generationConfig": config}


def image_bytes(body: str | bytes) -> bytes:
    """Return the first image of a `:generateContent` answer.

    Raises:
        CallError: the prompt or image was refused, or the answer holds no image.
    """
    try:
        answer: dict[str, Any] = orjson.loads(body)
        candidates = answer.get("candidates") or []
        for candidate in candidates:
            for part in (candidate.get("content") or {}).get("parts") or []:
                inline = part.get("inlineData")  # skips text parts and thoughts
                if inline and not part.get("thought"):
                    # Validating is also the fast path: 0.15 ms for 1.5 MB.
                    return pybase64.b64decode(inline["data"], validate=True)
        raise _error_without_image(answer, candidates)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise no_image_error(f"cannot read the model's answer: {describe_error(error)}") from error


def _error_without_image(answer: dict[str, Any], candidates: list[dict[str, Any]]) -> CallError:
    feedback = answer.get("promptFeedback") or {}
    if feedback.get("blockReason"):
        return blocked_error(
            f"prompt refused: {feedback['blockReason']} {feedback.get('blockReasonMessage', '')}"
        )
    reasons = [candidate.get("finishReason", "") for candidate in candidates]
    if REFUSALS.intersection(reasons):
        message = candidates[0].get("finishMessage", "")
        return blocked_error(f"image refused: {', '.join(reasons)} {message}")
    return no_image_error(
        f"model answered without an image: {', '.join(reasons) or 'no candidates'}"
    )


def _retry_after(error: errors.APIError) -> float | None:
    headers = getattr(error.response, "headers", None) or {}
    if seconds := parse_retry_after(headers.get("Retry-After")):
        return seconds
    # google.rpc.RetryInfo, e.g. {"retryDelay": "3.5s"}
    status = error.details.get("error") if isinstance(error.details, dict) else None
    for detail in (status.get("details") if isinstance(status, dict) else None) or []:
        if isinstance(detail, dict) and "retryDelay" in detail:
            return parse_retry_after(str(detail["retryDelay"]).removesuffix("s"))
    return None
