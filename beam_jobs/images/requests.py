"""What a request to Cloud Storage answers, or an error that says what its refusal means."""

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from gcloud.aio.storage import Storage

from beam_jobs.images.answers import is_resource, shortened
from beam_jobs.images.refusals import Meaning, Refusal
from beam_jobs.models.base import describe_error, parse_retry_after

# Seconds for one request of a few megabytes. After that the connection counts as dead.
REQUEST_TIMEOUT_S = 60

T = TypeVar("T")


class StoreError(Exception):
    """A storage request failed.

    Args:
        detail: what failed, and why.
        transient: whether a retry may succeed.
        meaning: what it means if storage refused the request; otherwise None.
        retry_after_s: how many seconds the service asks to wait before a retry, if it says so.
        status: the HTTP status of the refusal, if storage answered.
    """

    def __init__(
        self,
        detail: str,
        *,
        transient: bool,
        meaning: Meaning | None = None,
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.transient = transient
        self.meaning = meaning
        self.retry_after_s = retry_after_s
        self.status = status


async def answer_of(request: Awaitable[T], bucket: str, *, paid: bool = False) -> T:
    """Return what a request answers.

    Args:
        request: one request of the client library.
        bucket: that it is about, for the error.
        paid: whether it is about what is paid for. It is then worth waiting for what somebody has
            to mend.

    Raises:
        StoreError: the request was refused or not answered.
    """
    try:
        return await request
    except aiohttp.ClientResponseError as error:
        if error.status < 300 or isinstance(error.__cause__, HttpProcessingError):
            # Not HTTP, or not what it says: aiohttp has the status 400 for that.
            raise StoreError(
                f"storage cannot be reached: {describe_error(error)[:500]}", transient=True
            ) from error
        headers: Any = error.headers or {}
        refusal = Refusal.parse(error.status, error.message)
        raise StoreError(
            f"storage answered {error.status} for gs://{bucket}: {refusal}",
            transient=refusal.meaning is not Meaning.OBJECT
            if paid
            else refusal.meaning is Meaning.TRANSIENT,
            meaning=refusal.meaning,
            retry_after_s=parse_retry_after(headers.get("Retry-After")),
            status=error.status,
        ) from error
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise StoreError(
            f"storage cannot be reached: {describe_error(error)}", transient=True
        ) from error
    except ValueError as error:  # such as a proxy's page instead of JSON
        raise StoreError(f"cannot read storage's answer: {error}", transient=True) from error


async def upload_if(
    storage: Storage,
    bucket: str,
    name: str,
    content: bytes,
    *,
    generation: str,
    content_type: str,
    metadata: Mapping[str, str] | None = None,
    paid: bool = False,
    timeout_s: int = REQUEST_TIMEOUT_S,
) -> dict[str, Any] | None:
    """Upload an object if nobody has written it since; return its resource, None if somebody has.

    Args:
        storage: sends the request.
        bucket: of the object.
        name: of the object.
        content: of the object.
        generation: which one it replaces; "0": there must be none.
        content_type: of the content.
        metadata: custom metadata of the object.
        paid: as for `answer_of`.
        timeout_s: seconds for the request.

    Raises:
        StoreError: it was not written, or it is not known whether it was.
    """
    try:
        stored: Any = await answer_of(
            storage.upload(
                bucket,
                name,
                content,
                content_type=content_type,
                parameters={"ifGenerationMatch": generation, "fields": "name,size,generation"},
                metadata={"metadata": dict(metadata)} if metadata else None,
                timeout=timeout_s,
                force_resumable_upload=False,
            ),
            bucket,
            paid=paid,
        )
    except StoreError as error:
        if error.meaning is Meaning.THERE:
            return None
        raise
    if not is_resource(stored, name, len(content)) or not stored.get("generation"):
        raise StoreError(
            f"storage answered an upload without the object: {shortened(stored)}", transient=True
        )
    return dict(stored)
