"""Reads the body of a model's answer, the same for both protocols."""

import aiohttp

from beam_jobs.models.answer_memory import AnswerTooLargeError
from beam_jobs.models.base import (
    CallError,
    Retry,
    describe_error,
    error_from_answer,
    no_image_error,
    unreachable_error,
)
from beam_jobs.models.bill import UNKNOWN
from beam_jobs.outcomes import Reason


async def read_answer(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer of 200.

    Raises:
        CallError: the answer has another status, which counts even if its body cannot be read.
        TimeoutError: the body of a 200 did not come within the call's timeout.
        aiohttp.ClientError: the body of a 200 cannot be read: see `unread_error`.
    """
    if response.status == 200:
        return await response.read()
    try:
        body = await response.read()
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        body = f"(its body cannot be read: {describe_error(error)})".encode()
    raise error_from_answer(response.status, body, response.headers)


def unread_error(error: Exception) -> CallError:
    """Return the error for an answer that is not there, or cannot be read.

    Args:
        error: a TimeoutError, an OSError or an error of aiohttp.
    """
    if isinstance(error, TimeoutError):
        # The model may have drawn it, and charge for it.
        late = unreachable_error("model did not answer within the call timeout")
        late.bill = UNKNOWN
        return late
    if isinstance(error, AnswerTooLargeError):
        # Each such answer may be charged.
        return CallError(
            Reason.NO_IMAGE, str(error), retry=Retry.NEVER, retryable=True, bill=UNKNOWN
        )
    if "content-encoding" in str(error).lower():
        # It came, and may be charged, but not as its header says; or in an encoding that nobody
        # asked for. Of the latter, aiohttp does not tell the status (`_http_parser` in 3.14).
        return no_image_error(f"cannot read the model's answer: {describe_error(error)}")
    return unreachable_error(f"model cannot be reached: {describe_error(error)}")
