"""Answers of Cloud Storage with the times that they state: no worker's clock counts for ages.

The client library returns the bodies of answers, and not their headers.
"""

import contextlib
import email.utils
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

import orjson
from gcloud.aio.storage import Storage

from beam_jobs.images.answers import Page
from beam_jobs.images.requests import StoreError, answer_of


async def dated_content(
    storage: Storage, bucket: str, name: str, *, timeout_s: float
) -> tuple[bytes, Mapping[str, str]]:
    """Return an object's content, and the answer's headers.

    Raises:
        StoreError: it cannot be read.
    """
    path = f"/{quote(name, safe='')}"
    return await answer_of(_get(storage, bucket, path, {"alt": "media"}, timeout_s), bucket)


async def dated_page(
    storage: Storage, bucket: str, params: Mapping[str, str], *, timeout_s: float
) -> tuple[Page, datetime]:
    """Return one page of a listing, and when storage answered, by its clock.

    Args:
        storage: sends the request.
        bucket: to list.
        params: of the request, such as `prefix`.
        timeout_s: of the request.

    Raises:
        StoreError: it cannot be listed.
    """
    content, headers = await answer_of(_get(storage, bucket, "", params, timeout_s), bucket)
    try:
        page = Page.parse(orjson.loads(content))
    except ValueError as error:
        raise StoreError(f"cannot read storage's answer: {error}", transient=True) from error
    return page, answered_at(headers)


def answered_at(headers: Mapping[str, str]) -> datetime:
    """Return when storage answered, in whole seconds of its clock.

    Raises:
        StoreError: the answer doesn't say it.
    """
    if date := http_time(headers.get("Date")):
        return date
    raise StoreError("storage answered without a Date", transient=True)


def http_time(text: str | None) -> datetime | None:
    """Return the time in a header; None if there is none."""
    with contextlib.suppress(ValueError, TypeError):
        time = email.utils.parsedate_to_datetime(text or "")
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    return None


def iso_time(text: object) -> datetime | None:
    """Return the time in a field of a resource; None if there is none."""
    with contextlib.suppress(ValueError):
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
        return time if time and time.tzinfo else None
    return None


async def _get(
    storage: Storage, bucket: str, path: str, params: Mapping[str, str], timeout_s: float
) -> tuple[bytes, Mapping[str, str]]:
    answer = await storage.session.get(
        f"{storage._api_root_read}/{bucket}/o{path}",
        headers=await storage._headers(),
        params=params,
        timeout=timeout_s,
    )
    return await answer.read(), answer.headers
