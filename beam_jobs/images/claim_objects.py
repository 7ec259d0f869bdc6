"""The requests about claims: create, take over, renew, read, delete.

None of them is about what is paid for, so none opens or closes the gate for writes: who may not
write claims may still write images.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

from gcloud.aio.storage import Storage

from beam_jobs.images.answers import is_resource, shortened
from beam_jobs.images.claim import MAX_BYTES, UNKNOWN, Claim, Claimant, ClaimListing, age_s
from beam_jobs.images.lanes import AT_ONCE, Lane
from beam_jobs.images.location import Location
from beam_jobs.images.refusals import Meaning
from beam_jobs.images.requests import REQUEST_TIMEOUT_S, StoreError, answer_of

T = TypeVar("T")


class DatedStorage(Storage):
    """The client library's storage, with the `Date` of an answer, which it does not return."""

    async def download_dated(
        self, bucket: str, name: str, *, generation: str, max_bytes: int
    ) -> tuple[bytes, str | None]:
        """Return the beginning of an object, and the answer's `Date` header.

        Args:
            bucket: the bucket.
            name: of the object.
            generation: of the object.
            max_bytes: how much of it to read; it must not be empty.
        """
        blob_url = f"{self._api_root_read}/{bucket}/o/{quote(name, safe='')}"
        headers = await self._headers()
        answer = await self.session.get(
            blob_url,
            headers={**headers, "Range": f"bytes=0-{max_bytes - 1}"},
            params={"alt": "media", "generation": generation},
            timeout=REQUEST_TIMEOUT_S,
        )
        # Whatever answers may ignore the range.
        content = await answer.content.read(max_bytes)
        answer.release()
        return content, answer.headers.get("Date")


class ClaimObjects:
    """The claims in one location. Use it from one event loop only.

    Args:
        storage: sends the requests.
        location: the bucket and folder.
        lane: paces the requests.
    """

    def __init__(self, storage: DatedStorage, location: Location, lane: Lane = AT_ONCE) -> None:
        self._storage = storage
        self._location = location
        self._lane = lane

    def url(self, digest: str) -> str:
        """Return the `gs://` path of a claim, for people."""
        return self._location.url(self._location.claim(digest))

    async def read(self, digest: str, listed: ClaimListing) -> Claim | None:
        """Return a claim that was listed; None if it is gone, or another one, meanwhile.

        Raises:
            StoreError: it cannot be read.
        """
        if not listed.size:  # of which no range can be read
            return Claim(listed.generation, UNKNOWN, None)
        try:
            content, date = await self._call(
                lambda: self._storage.download_dated(
                    self._location.bucket,
                    self._location.claim(digest),
                    generation=listed.generation,
                    max_bytes=MAX_BYTES,
                )
            )
        except StoreError as error:
            if error.status == 404:
                return None
            raise
        whole = content if listed.size <= MAX_BYTES else b""
        return Claim(listed.generation, Claimant.parse(whole), age_s(listed.created_at, date))

    async def write(self, digest: str, by: Claimant, generation: str) -> str | None:
        """Write a claim, and return its generation; None if somebody else was faster.

        Args:
            digest: of the prompt.
            by: who claims it.
            generation: which one this replaces; "0": there must be none.

        Raises:
            StoreError: it was not written, or it is not known whether it was.
        """
        name, content = self._location.claim(digest), by.to_json()
        try:
            stored: Any = await self._call(
                lambda: self._storage.upload(
                    self._location.bucket,
                    name,
                    content,
                    content_type="application/json",
                    parameters={
                        "ifGenerationMatch": generation,
                        "fields": "name,size,generation",
                    },
                    timeout=REQUEST_TIMEOUT_S,
                    force_resumable_upload=False,
                )
            )
        except StoreError as error:
            if error.meaning is Meaning.THERE or (
                error.meaning is Meaning.UNCLEAR and generation == "0" and await self._exists(name)
            ):
                return None
            raise
        if not is_resource(stored, name, len(content)) or not stored.get("generation"):
            raise StoreError(
                f"storage answered an upload without the object: {shortened(stored)}",
                transient=True,
            )
        return str(stored["generation"])

    async def delete(self, digest: str, generation: str) -> None:
        """Delete a claim, unless it is another one meanwhile. Who may not delete it leaves it."""
        with contextlib.suppress(StoreError):
            await self._call(
                lambda: self._storage.delete(
                    self._location.bucket,
                    self._location.claim(digest),
                    params={"ifGenerationMatch": generation},
                    timeout=REQUEST_TIMEOUT_S,
                )
            )

    async def _exists(self, name: str) -> bool:
        with contextlib.suppress(StoreError):
            found = await self._call(
                lambda: self._storage.download_metadata(
                    self._location.bucket, name, timeout=REQUEST_TIMEOUT_S
                )
            )
            return is_resource(found, name)
        return False

    async def _call(self, request: Callable[[], Awaitable[T]]) -> T:
        # Ahead of look-ups: a claim is the last step before the call, and is renewed in time.
        return await self._lane(lambda: answer_of(request(), self._location.bucket), first=True)
