"""What the job wants of an image model, and how a model says that it failed.

The adapters turn each protocol's refusals, empty answers and errors into `CallError`s, so that
`generate` needs to know neither protocol.
"""

import dataclasses
from enum import StrEnum
from typing import Protocol

from beam_jobs.outcomes import Reason
from beam_jobs.prompts.parse import Prompt

# The services' error texts run to kilobytes; a dead letter needs the beginning.
MAX_DETAIL_CHARS = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An encoded picture, and the extension that its own first bytes call for."""

    data: bytes
    extension: str
    mime_type: str


class Retry(StrEnum):
    """What is worth doing about a failed call, in this run."""

    NEVER = "never"
    FEW = "few"  # an answer without an image: another try often has one, but each may be charged
    PATIENT = "patient"  # nothing was made: try until the time for retries is over


class CallError(Exception):
    """A call that gave no image.

    `replayable` says whether the same prompt may succeed another day; `over_quota` (429) and
    `overloaded` (503, no answer) are for the limiter; `retry_after_s` is the service's own word.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        retry: Retry,
        replayable: bool,
        over_quota: bool = False,
        overloaded: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail[:MAX_DETAIL_CHARS])
        self.reason = reason
        self.detail = detail[:MAX_DETAIL_CHARS]
        self.retry = retry
        self.replayable = replayable
        self.over_quota = over_quota
        self.overloaded = overloaded
        self.retry_after_s = retry_after_s


class ImageModel(Protocol):
    """One model behind one protocol. Used from one event loop."""

    # How many images one call can be asked for.
    images_per_call: int

    async def generate(self, prompt: Prompt, *, first: int, count: int) -> list[Image]:
        """Make the images `first` to `first + count - 1` of `prompt` with one call.

        `count` is at most `images_per_call`. May return fewer than asked, but at least one.

        Raises:
            CallError: there is none.
        """


def blocked(detail: str) -> CallError:
    """Return the error of a prompt, or of its image, that the service refuses."""
    return CallError(Reason.BLOCKED, detail, retry=Retry.NEVER, replayable=False)


def no_image(detail: str) -> CallError:
    """Return the error of a good answer that has no image in it."""
    return CallError(Reason.NO_IMAGE, detail, retry=Retry.FEW, replayable=True)


def unreachable(detail: str) -> CallError:
    """Return the error of a service that does not answer: connection refused, cut, timed out."""
    return CallError(
        Reason.UNAVAILABLE, detail, retry=Retry.PATIENT, replayable=True, overloaded=True
    )


def from_status(status: int, detail: str, retry_after_s: float | None = None) -> CallError:
    """Return the error that an HTTP status means, whichever protocol carried it."""
    detail = f"model answered {status}: {detail}"
    if status == 429 or status == 408 or status >= 500:
        return CallError(
            Reason.UNAVAILABLE,
            detail,
            retry=Retry.PATIENT,
            replayable=True,
            over_quota=status == 429,
            overloaded=status != 429,
            retry_after_s=retry_after_s,
        )
    # 401, 403 and 404 are about permissions or a model that is gone: once an operator has mended
    # that, the prompt is as good as ever. Another 4xx is about the prompt.
    return CallError(
        Reason.MODEL_ERROR, detail, retry=Retry.NEVER, replayable=status in (401, 403, 404)
    )


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png", "image/png"),
    (b"\xff\xd8\xff", "jpg", "image/jpeg"),
    (b"RIFF", "webp", "image/webp"),
)


def image_from(data: bytes) -> Image:
    """Return the picture that `data` is, by its signature.

    The service names a type as well, but it is the bytes that a browser will be given.

    Raises:
        CallError: it is no picture.
    """
    for signature, extension, mime_type in _SIGNATURES:
        if data.startswith(signature) and (extension != "webp" or data[8:12] == b"WEBP"):
            return Image(data=data, extension=extension, mime_type=mime_type)
    raise no_image(
        f"model answered {len(data):,} bytes that begin with {data[:8].hex() or 'nothing'}: "
        "not a PNG, JPEG or WebP picture"
    )


def retry_after(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header names, or None.

    The services send seconds; a date, which HTTP also allows, is left to our own backoff.
    """
    try:
        seconds = float(header) if header else 0.0
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
