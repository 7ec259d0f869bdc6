"""Stores images as `<location>/<digest[:2]>/<digest>-<index>.<ext>`.

A name depends only on the prompt, and no object is ever overwritten (`ifGenerationMatch=0`). So a
retried bundle or a repeated prompt finds the images that are already paid for. The record,
`<digest>.json`, is written last: if it exists, all images exist.
"""

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import re
import uuid
from collections.abc import Awaitable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import aiohttp
import orjson

from beam_jobs.images.answers import Page, is_resource, shortened
from beam_jobs.images.claim import ClaimListing
from beam_jobs.images.claim_objects import ClaimObjects, DatedStorage
from beam_jobs.images.location import Location
from beam_jobs.images.receipt import Receipt
from beam_jobs.images.refusals import Meaning
from beam_jobs.images.requests import REQUEST_TIMEOUT_S, StoreError, answer_of
from beam_jobs.images.thumbnails import Thumbnails
from beam_jobs.images.write_gate import WriteGate
from beam_jobs.models.base import Image, describe_error

RECORD_SCHEMA = "imagen.record/1"
# With fewer parallel uploads, each finishes sooner and frees its image: 64 at once took 60 MB more
# and were slower. At 0.1 to 0.2 s per request to Cloud Storage, 16 store about 100 images a second.
UPLOADS_AT_ONCE = 16
_LISTED_FIELDS = "items(name,generation,timeCreated,size),nextPageToken"

T = TypeVar("T")


class Kept(StrEnum):
    """What is stored under an image's name once somebody has tried to store one."""

    NEW = "new"  # that image, from now on
    SAME = "same"  # that image was there already: another try has stored it
    OTHER = "other"  # another image was there already, and is kept


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What is already stored for a digest.

    Args:
        record: the record; None while images are missing.
        images: the path of each stored image by its index.
        claim: of whoever makes them, or has made them; None if there is none.
    """

    record: dict[str, Any] | None
    images: dict[int, str]
    claim: ClaimListing | None = None


class ImageStore:
    """Images and their records in one Cloud Storage location. Use it from one event loop only.

    Args:
        session: sends the requests; gcloud-aio-storage adds credentials.
        location: the bucket and folder.
        thumbnails: makes those of the images that are stored; None: there are none.

    Attributes:
        writes: whether storage accepts writes now.
        claims: those on prompts that are being made.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        location: Location,
        thumbnails: Thumbnails | None = None,
    ) -> None:
        self._storage = DatedStorage(session=session)
        self._location = location
        self.claims = ClaimObjects(self._storage, location)
        self._thumbnails = thumbnails
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self.writes = WriteGate(self._try_to_write)

    async def find(self, digest: str) -> Found:
        """Look up what is stored for `digest`, normally in one or two requests.

        Raises:
            StoreError: a request failed, or the record is malformed.
        """
        stem, claim_name = self._location.stem(digest), self._location.claim(digest)
        params = {"prefix": stem, "fields": _LISTED_FIELDS}
        names: list[str] = []
        claim = None
        while True:
            # Any page may have no items, and still another page after it.
            answer = await self._call(
                self._storage.list_objects(
                    self._location.bucket, params=params, timeout=REQUEST_TIMEOUT_S
                )
            )
            try:
                page = Page.parse(answer)
                if claim_name in page.names:
                    claim = ClaimListing.parse(page.resources[page.names.index(claim_name)])
            except ValueError as error:
                raise StoreError(str(error), transient=True) from error
            names += page.names
            if not page.next_token:
                break
            params = {**params, "pageToken": page.next_token}
        images = {
            int(match[1]): self._location.url(name)
            for name in names
            if (match := re.fullmatch(re.escape(stem) + r"-(\d)\.\w+", name))
        }
        record = await self._record(digest) if self._location.record(digest) in names else None
        return Found(record=record, images=images, claim=claim)

    async def image(self, path: str) -> bytes:
        """Return the bytes of a stored image.

        Raises:
            StoreError: it cannot be read.
        """
        bucket, _, name = path.removeprefix("gs://").partition("/")
        return await answer_of(
            self._storage.download(bucket, name, timeout=REQUEST_TIMEOUT_S), bucket, paid=True
        )

    async def put_image(
        self,
        digest: str,
        index: int,
        image: Image,
        metadata: Mapping[str, str] | None = None,
        *,
        thumbnail: bool = True,
    ) -> str:
        """Store one image and return its path. An existing image is kept.

        Args:
            digest: of the prompt.
            index: of the image among the prompt's images, from 0.
            image: the encoded picture.
            metadata: custom metadata of the object, if it is new.
            thumbnail: whether people will look at it.

        Raises:
            StoreError: the image could not be stored.
        """
        name, _ = await self._put_image(digest, index, image, metadata, thumbnail=thumbnail)
        return self._location.url(name)

    async def offer_image(
        self, digest: str, index: int, image: Image, metadata: Mapping[str, str] | None = None
    ) -> tuple[str, Kept]:
        """Store one image unless there is one, and return its path and what is there now.

        Args:
            digest: of the prompt.
            index: of the image among the prompt's images, from 0.
            image: the encoded picture.
            metadata: custom metadata of the object, sent with it.

        Raises:
            StoreError: the image could not be stored, or not be compared with the one there.
        """
        name, is_new = await self._put_image(digest, index, image, metadata)
        path = self._location.url(name)
        if is_new:
            return path, Kept.NEW
        there = await self._call(
            self._storage.download_metadata(self._location.bucket, name, timeout=REQUEST_TIMEOUT_S),
            paid=True,
        )
        return path, Kept.SAME if there.get("md5Hash") == _md5(image.data) else Kept.OTHER

    async def put_record(
        self,
        digest: str,
        images: list[str],
        *,
        deciding: Mapping[str, Any],
        created_at: str,
        receipt: Receipt,
    ) -> dict[str, Any]:
        """Store the record of a prompt, and return the one that is stored: the first one.

        Args:
            digest: of the prompt.
            images: the `gs://` paths of its images, by index.
            deciding: what decides the images, as `Prompt.deciding` has it.
            created_at: UTC time in ISO 8601.
            receipt: what was paid for them.

        Raises:
            StoreError: the record could not be stored, or the existing one is malformed.
        """
        record = {
            "schema": RECORD_SCHEMA,
            "digest": digest,
            **deciding,
            # Their paths, which also say how many there are.
            "images": images,
            "created_at": created_at,
            **receipt.to_json(),
        }
        name = self._location.record(digest)
        if await self._create(name, orjson.dumps(record), "application/json"):
            return record
        return await self._record(digest, paid=True)

    async def _put_image(
        self,
        digest: str,
        index: int,
        image: Image,
        metadata: Mapping[str, str] | None,
        *,
        thumbnail: bool = True,
    ) -> tuple[str, bool]:
        """Store one image, and return its name and whether it is new."""
        name = f"{self._location.stem(digest)}-{index}.{image.extension}"
        async with self._uploads:
            is_new = await self._create(name, image.data, image.mime_type, metadata)
        if self._thumbnails and thumbnail:
            self._thumbnails.add(digest, index, name)
        return name, is_new

    async def _record(self, digest: str, *, paid: bool = False) -> dict[str, Any]:
        name = self._location.record(digest)
        try:
            data = await self._call(
                self._storage.download(self._location.bucket, name, timeout=REQUEST_TIMEOUT_S),
                paid=paid,
            )
            record = orjson.loads(data)
            images = record["images"]
        except (ValueError, KeyError, TypeError) as error:
            # Someone has changed the object. Paying for the images again would hide that.
            raise StoreError(
                f"{self._location.url(name)} is not a record ({describe_error(error)}); "
                "delete it, then replay the prompt",
                transient=False,
            ) from error
        if not isinstance(images, list) or not all(isinstance(path, str) for path in images):
            raise StoreError(
                f"{self._location.url(name)} is a record without image paths; delete it, then "
                "replay the prompt",
                transient=False,
            )
        return dict(record)

    async def _create(
        self,
        name: str,
        data: bytes,
        mime_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        """Create an object, and return whether it is new; an existing object is kept."""
        try:
            stored = await self._call(
                self._storage.upload(
                    self._location.bucket,
                    name,
                    data,
                    content_type=mime_type,
                    parameters={"ifGenerationMatch": "0"},
                    timeout=REQUEST_TIMEOUT_S,
                    # For any size: the client retries a failed resumable upload itself, and sends
                    # the whole body with a range that Cloud Storage refuses (9.6.5).
                    force_resumable_upload=False,
                    # Then the request has two parts, and a second copy of the image.
                    metadata={"metadata": dict(metadata)} if metadata else None,
                ),
                paid=True,
            )
            # The client takes a redirect, such as 308 of a broken upload, for success:
            # findings/gcloud_aio_redirects.sh.
            if not is_resource(stored, name, len(data)) and not await self._exists(name, len(data)):
                raise StoreError(
                    f"storage answered an upload without the object: {shortened(stored)}",
                    transient=True,
                )
        except StoreError as error:
            if error.meaning is Meaning.THERE or (
                error.meaning is Meaning.UNCLEAR and await self._exists(name)
            ):
                return False
            if error.meaning is Meaning.OBJECT:
                self.writes.accepted()  # storage takes others
            else:
                self.writes.refused(str(error))
            raise
        self.writes.accepted()
        return True

    async def _exists(self, name: str, size: int | None = None) -> bool:
        """Return whether storage says that an object exists, of `size` bytes if that is given."""
        try:
            found = await self._call(
                self._storage.download_metadata(
                    self._location.bucket, name, timeout=REQUEST_TIMEOUT_S
                )
            )
        except StoreError:
            return False
        return is_resource(found, name, size)

    async def _try_to_write(self) -> None:
        """Create an empty object, to see whether storage accepts it, and delete it again."""
        name = f"{self._location.prefix}write-checks/{uuid.uuid4().hex}"
        with contextlib.suppress(StoreError):
            if await self._create(name, b"", "text/plain"):
                await self._call(
                    self._storage.delete(self._location.bucket, name, timeout=REQUEST_TIMEOUT_S)
                )

    async def _call(self, request: Awaitable[T], *, paid: bool = False) -> T:
        return await answer_of(request, self._location.bucket, paid=paid)


def _md5(data: bytes) -> str:
    """Return what Cloud Storage's `md5Hash` is for these bytes."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")
