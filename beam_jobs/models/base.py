"""The interface of an image model, and the errors of its calls.

The adapters turn refusals, empty answers and errors of each protocol into `CallError`s, so that
`generate` does not depend on the protocols.
"""

import dataclasses
import datetime
import email.utils
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from beam_jobs.models.bill import FREE, UNKNOWN, Bill
from beam_jobs.models.pictures import NotAPictureError, picture_format
from beam_jobs.models.refusals import (
    Meaning,
    Refusal,
    is_about_fields,
    meaning_of,
    parse_refusal,
)
from beam_jobs.outcomes import Reason
from beam_jobs.prompts.parse import Prompt

# Error texts of the services can take kilobytes. The beginning is enough for a dead letter.
MAX_DETAIL_CHARS = 500
# What a model says in words beside, or instead of, an image. It can be a page of text.
MAX_WORDS_CHARS = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An encoded image.

    Args:
        data: the bytes of a PNG, JPEG or WebP file.
        extension: the file name extension for that format, without a dot.
        mime_type: the MIME type of that format.
    """

    data: bytes
    extension: str
    mime_type: str


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What one call returned: at least one image, and what it cost."""

    images: list[Image]
    bill: Bill


class Retry(StrEnum):
    """Whether to retry a failed call in this run."""

    NEVER = "never"
    # An answer without an image: a retry often returns one, but each answer may be charged.
    LIMITED = "limited"
    # No image was generated, so retries cost nothing until the time for them is over.
    UNTIL_TIMEOUT = "until_timeout"


class CallError(Exception):
    """A model call that returned no image.

    Args:
        reason: the reason of the prompt's failure.
        detail: what happened; cut off after `MAX_DETAIL_CHARS`.
        retry: whether to retry the call in this run.
        retryable: whether the prompt may succeed when it is replayed later.
        over_quota: the service refused the call for quota (429); for the limiter.
        overloaded: the service was unavailable (such as 503) or did not answer; for the limiter.
        retry_after_s: how many seconds the service asks to wait, if it says so.
        about_fields: the service may have refused the request for its fields.
        of_model: the model may refuse every prompt for this, until somebody mends it.
        bill: what the call cost. An error is free, an answer without an image is not.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        retry: Retry,
        retryable: bool,
        over_quota: bool = False,
        overloaded: bool = False,
        retry_after_s: float | None = None,
        about_fields: bool = False,
        of_model: bool = False,
        bill: Bill = FREE,
    ) -> None:
        super().__init__(detail[:MAX_DETAIL_CHARS])
        self.reason = reason
        self.detail = detail[:MAX_DETAIL_CHARS]
        self.retry = retry
        self.retryable = retryable
        self.over_quota = over_quota
        self.overloaded = overloaded
        self.retry_after_s = retry_after_s
        self.about_fields = about_fields
        self.of_model = of_model
        self.bill = bill


class ImageModel(Protocol):
    """A model behind one protocol. Use it from one event loop only.

    `generate` makes one call for the images `first` to `first + count - 1` of a prompt, where
    `count` is at most `images_per_call`. It returns at least one image, but maybe fewer than
    `count`. If there is none, it raises a `CallError`.
    """

    # The maximum number of images per call.
    images_per_call: int

    async def generate(self, prompt: Prompt, *, first: int, count: int) -> Answer:
        """Generate images of `prompt` with one call.

        Args:
            prompt: the prompt.
            first: index of the first image among the prompt's images.
            count: how many images to generate, at most `images_per_call`.

        Returns:
            At least one image, maybe fewer than `count`, and what they cost.

        Raises:
            CallError: the call returned no image.
        """


def blocked_error(detail: str) -> CallError:
    """Return the error for a prompt or image that the service refuses for its content."""
    return CallError(Reason.BLOCKED, detail, retry=Retry.NEVER, retryable=False)


def no_image_error(detail: str) -> CallError:
    """Return the error for an answer without an image."""
    return CallError(Reason.NO_IMAGE, detail, retry=Retry.LIMITED, retryable=True, bill=UNKNOWN)


def unreachable_error(detail: str) -> CallError:
    """Return the error for a service that does not answer: refused, cut or timed out."""
    return CallError(
        Reason.UNAVAILABLE, detail, retry=Retry.UNTIL_TIMEOUT, retryable=True, overloaded=True
    )


def error_from_status(status: int, detail: str, retry_after_s: float | None = None) -> CallError:
    """Return the error for an HTTP status alone, the same for both protocols.

    Args:
        status: the HTTP status, 300 or above.
        detail: the service's error text.
        retry_after_s: how many seconds the service asks to wait, if it says so.
    """
    return _error_of(Refusal(status, message=detail), retry_after_s)


def error_from_answer(status: int, body: bytes, headers: Mapping[str, str]) -> CallError:
    """Return the error for an answer other than 200, the same for both protocols.

    Args:
        status: the HTTP status; for an error inside an answer of 200, the error's own code.
        body: the answer's body, in any form.
        headers: the answer's headers.
    """
    if status < 300:  # without the body of a 200, and possibly charged
        return no_image_error(f"model answered {status} without an image")
    refusal = parse_refusal(status, body)
    retry_after_s = parse_retry_after(headers.get("Retry-After")) or parse_retry_after(
        # google.rpc.RetryInfo, such as {"retryDelay": "3.5s"}
        refusal.retry_delay.removesuffix("s")
    )
    return _error_of(refusal, retry_after_s)


def _error_of(refusal: Refusal, retry_after_s: float | None) -> CallError:
    said = f"{refusal.status}: {refusal.message}" if refusal.status else refusal.message
    detail = f"model answered {refusal.number}: {said}"
    meaning = meaning_of(refusal)
    if meaning is Meaning.BLOCKED:
        return blocked_error(f"prompt refused: {refusal.message}")
    if meaning in (Meaning.OPERATOR, Meaning.PROMPT):
        # Once an operator has mended what is wrong, the prompt can be replayed.
        about_fields = is_about_fields(refusal)
        return CallError(
            Reason.MODEL_ERROR,
            detail,
            retry=Retry.NEVER,
            retryable=meaning is Meaning.OPERATOR,
            about_fields=about_fields,
            of_model=meaning is Meaning.OPERATOR and not about_fields,
        )
    return CallError(
        Reason.UNAVAILABLE,
        detail,
        retry=Retry.UNTIL_TIMEOUT,
        retryable=True,
        over_quota=meaning is Meaning.OVER_QUOTA,
        overloaded=meaning is Meaning.OVERLOADED,
        retry_after_s=retry_after_s,
    )


def quote_words(*words: object) -> str:
    """Return what a model says, as the end of an error message: on one line, and cut off.

    Args:
        words: texts of an answer, of which some may be missing.
    """
    text = " ".join(" ".join(str(word) for word in words if word).split())
    if not text:
        return ""
    return f"; it says: {text[:MAX_WORDS_CHARS]}{'…' if len(text) > MAX_WORDS_CHARS else ''}"


def describe_error(error: Exception) -> str:
    """Return an exception as an error message quotes it: its type and its text."""
    return f"{type(error).__name__}: {error}"


def image_from_bytes(data: bytes) -> Image:
    """Return `data` as an image, in the format that its bytes show.

    Raises:
        CallError: `data` is not a PNG, JPEG or WebP image, or only the beginning of one.
    """
    try:
        extension, mime_type = picture_format(data)
    except NotAPictureError as error:
        raise no_image_error(f"model answered with {len(data):,} bytes {error}") from error
    return Image(data=data, extension=extension, mime_type=mime_type)


def parse_retry_after(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks to wait; None if it asks for none.

    Args:
        header: seconds, or a date (RFC 9110, 10.2.3).
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(header)
            # "-0000" gives one without a zone. It is UTC all the same (RFC 5322, 3.3).
            until = until if until.tzinfo else until.replace(tzinfo=datetime.UTC)
            seconds = (until - datetime.datetime.now(datetime.UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):  # such as a year or a zone out of range
            return None
    return seconds if 0 < seconds < float("inf") else None
