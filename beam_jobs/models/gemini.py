"""The Gemini image models, through google-genai: one call, one image."""

from typing import Any

import aiohttp
import orjson
import pybase64
from google import genai
from google.auth import exceptions as auth_exceptions
from google.genai import errors, types

from beam_jobs.models.answer_memory import AnswerTooLargeError
from beam_jobs.models.base import (
    CallError,
    Image,
    Retry,
    blocked,
    from_status,
    image_from,
    no_image,
    retry_after,
    unreachable,
)
from beam_jobs.outcomes import Reason
from beam_jobs.prompts.parse import Prompt

# https://ai.google.dev/api/generate-content#FinishReason: these mean that the same prompt will be
# refused again. The others (NO_IMAGE, IMAGE_OTHER, OTHER, STOP without an image) may go well.
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

# Half the price, slower: https://cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo
FLEX_HEADERS = {"X-Vertex-AI-LLM-Shared-Request-Type": "flex"}


class GeminiModel:
    """A Gemini model on Vertex AI.

    `session` carries the calls; google-genai adds address and credentials, and is told not to
    retry, since retries are counted and paced in one place, `generate`.

    The calls enter google-genai below `models.generate_content`, which takes request and answer
    through pydantic field by field: for a request a quarter of the CPU that a prompt with a small
    image costs in all, and for 2 MB of answer more than everything else that happens to it.
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

    async def generate(self, prompt: Prompt, *, first: int, count: int) -> list[Image]:
        """See `ImageModel.generate`; `count` is 1."""
        assert count == 1
        try:
            response = await self._http.async_request("post", self._path, _request(prompt, first))
        except errors.APIError as error:
            raise from_status(
                error.code,
                f"{error.status}: {error.message}",
                _retry_after(error),
            ) from error
        except TimeoutError as error:
            raise unreachable("model did not answer within the call time-out") from error
        except AnswerTooLargeError as error:
            # Each such answer may be charged.
            raise CallError(
                Reason.NO_IMAGE, str(error), retry=Retry.NEVER, replayable=True
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(f"model cannot be reached: {error!r}") from error
        except auth_exceptions.GoogleAuthError as error:
            raise unreachable(f"no credentials for the model: {error}") from error
        except ValueError as error:  # a body that is no text, or an error's that is no JSON
            raise no_image(f"model's answer is not understood: {str(error)[:200]}") from error
        return [image_from(image_bytes(response.body or ""))]


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
        # The same seed twice would draw the same picture twice.
        config["seed"] = (prompt.seed + index) % (2**31)
    contents = [{"role": "user", "parts": [{"text": prompt.text}]}]
    return {"contents": contents, "generationConfig": config}


def image_bytes(body: str | bytes) -> bytes:
    """Return the first image of a `:generateContent` answer.

    Raises:
        CallError: it was refused, or there is none.
    """
    try:
        answer: dict[str, Any] = orjson.loads(body)
        candidates = answer.get("candidates") or []
        for candidate in candidates:
            for part in (candidate.get("content") or {}).get("parts") or []:
                inline = part.get("inlineData")  # text parts, and thoughts, are passed over
                if inline and not part.get("thought"):
                    # Checked as it goes: that is also the fast way, 0.15 ms for 1.5 MB.
                    return pybase64.b64decode(inline["data"], validate=True)
        raise _why_none(answer, candidates)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise no_image(f"model's answer is not understood: {error!r}") from error


def _why_none(answer: dict[str, Any], candidates: list[dict[str, Any]]) -> CallError:
    feedback = answer.get("promptFeedback") or {}
    if feedback.get("blockReason"):
        return blocked(
            f"prompt refused: {feedback['blockReason']} {feedback.get('blockReasonMessage', '')}"
        )
    reasons = [candidate.get("finishReason", "") for candidate in candidates]
    if REFUSALS.intersection(reasons):
        message = candidates[0].get("finishMessage", "")
        return blocked(f"image refused: {', '.join(reasons)} {message}")
    return no_image(f"model answered without an image: {', '.join(reasons) or 'no candidates'}")


def _retry_after(error: errors.APIError) -> float | None:
    headers = getattr(error.response, "headers", None) or {}
    if seconds := retry_after(headers.get("Retry-After")):
        return seconds
    # google.rpc.RetryInfo, e.g. {"retryDelay": "3.5s"}
    status = error.details.get("error") if isinstance(error.details, dict) else None
    for detail in (status.get("details") if isinstance(status, dict) else None) or []:
        if isinstance(detail, dict) and "retryDelay" in detail:
            return retry_after(str(detail["retryDelay"]).removesuffix("s"))
    return None
