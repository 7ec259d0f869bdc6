"""The interface of an image model, and the errors of its calls.

The adapters turn refusals, empty answers and errors of each protocol into `CallError`s, so that
`generate` does not depend on the protocols.
"""

import dataclasses
from enum import StrEnum
from typing import Protocol

from beam_jobs.outcomes import Reason
from beam_jobs.prompts.parse import Prompt

# Error texts of the services can take kilobytes. The beginning is enough for a dead letter.
MAX_DETAIL_CHARS = 500


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
    ) -> None:
        super().__init__(detail[:MAX_DETAIL_CHARS])
        self.reason = reason
        self.detail = detail[:MAX_DETAIL_CHARS]
        self.retry = retry
        self.retryable = retryable
        self.over_quota = over_quota
        self.overloaded = overloaded
        self.retry_after_s = retry_after_s


class ImageModel(Protocol):
    """A model behind one protocol. Use it from one event loop only.

    `generate` makes one call for the images `first` to `first + count - 1` of a prompt, where
    `count` is at most `images_per_call`. It returns at least one image, but maybe fewer than
    `count`. If there is none, it raises a `CallError`.
    """

    # The maximum number of images per call.
    images_per_call: int

    async def generate(self, prompt: Prompt, *, first: int, count: int) -> list[Image]:
        """Generate images of `prompt` with one call.

        Args:
            prompt: the prompt.
            first: index of the first image among the prompt's images.
            count: how many images to generate, at most `images_per_call`.

        Returns:
            At least one image, maybe fewer than `count`.

        Raises:
            CallError: the call returned no image.
        """


def blocked_error(detail: str) -> CallError:
    """Return the error for a prompt or image that the service refuses for its content."""
    return CallError(Reason.BLOCKED, detail, retry=Retry.NEVER, retryable=False)


def no_image_error(detail: str) -> CallError:
    """Return the error for an answer without an image."""
    return CallError(Reason.NO_IMAGE, detail, retry=Retry.LIMITED, retryable=True)


def unreachable_error(detail: str) -> CallError:
    """Return the error for a service that does not answer: refused, cut or timed out."""
    return CallError(
        Reason.UNAVAILABLE, detail, retry=Retry.UNTIL_TIMEOUT, retryable=True, overloaded=True
    )


def error_from_status(status: int, detail: str, retry_after_s: float | None = None) -> CallError:
    """Return the error for an HTTP status, the same for both protocols.

    Args:
        status: the HTTP status, 400 or above.
        detail: the service's error text.
        retry_after_s: how many seconds the service asks to wait, if it says so.
    """
    detail = f"model answered {status}: {detail}"
    if status == 429 or status == 408 or status >= 500:
        return CallError(
            Reason.UNAVAILABLE,
            detail,
            retry=Retry.UNTIL_TIMEOUT,
            retryable=True,
            over_quota=status == 429,
            overloaded=status != 429,
            retry_after_s=retry_after_s,
        )
    # 401, 403 and 404 mean missing permissions or a missing model. Once an operator has fixed that,
    # the prompt can be replayed. Any other 4xx is about the prompt itself.
    return CallError(
        Reason.MODEL_ERROR, detail, retry=Retry.NEVER, retryable=status in (401, 403, 404)
    )


def describe_error(error: Exception) -> str:
    """Return an exception as an error message quotes it: its type and its text."""
    return f"{type(error).__name__}: {error}"


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png", "image/png"),
    (b"\xff\xd8\xff", "jpg", "image/jpeg"),
    (b"RIFF", "webp", "image/webp"),
)


def image_from_bytes(data: bytes) -> Image:
    """Return `data` as an image, in the format that its first bytes show.

    The service states a format too, but browsers go by the bytes.

    Raises:
        CallError: `data` is not a PNG, JPEG or WebP image.
    """
    for signature, extension, mime_type in _SIGNATURES:
        if data.startswith(signature) and (extension != "webp" or data[8:12] == b"WEBP"):
            return Image(data=data, extension=extension, mime_type=mime_type)
    raise no_image_error(
        f"model answered with {len(data):,} bytes that are not a PNG, JPEG or WebP image; they "
        f"start with {data[:8].hex() or 'nothing'}"
    )


def parse_retry_after(header: str | None) -> float | None:
    """Return the seconds in a Retry-After header; None if there are none.

    The services send seconds. For a date, which HTTP also allows, the normal backoff applies.
    """
    try:
        seconds = float(header) if header else 0.0
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
