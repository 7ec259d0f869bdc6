"""Stores images as `<location>/<digest[:2]>/<digest>-<index>.<ext>`.

A name depends only on the prompt, and no object is ever overwritten (`ifGenerationMatch=0`). So a
retried bundle or a repeated prompt finds the images that are already paid for. The record,
`<digest>.json`, is written last: if it exists, all images exist, unless somebody has deleted some.
"""

import base64
import dataclasses
import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import aiohttp
import orjson

from beam_jobs.images.claim import ClaimListing
from beam_jobs.images.claim_objects import ClaimObjects
from beam_jobs.images.lanes import Lanes
from beam_jobs.images.location import Location
from beam_jobs.images.objects import Objects
from beam_jobs.images.receipt import Receipt
from beam_jobs.images.requests import StoreError
from beam_jobs.images.thumbnails import Thumbnails
from beam_jobs.models.base import Image, describe_error

RECORD_SCHEMA = "imagen.record/1"
# Of an image, and of nothing else beside it.
_AFTER_STEM = re.compile(r"-(\d)\.\w+")


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
        lanes: pace the requests; None: whoever uses it bounds them.

    Attributes:
        writes: whether storage accepts writes now.
        claims: those on prompts that are being made.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        location: Location,
        thumbnails: Thumbnails | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        lanes = lanes or Lanes()
        self._objects = Objects(session, location, lanes)
        self._location = location
        self.claims = ClaimObjects(self._objects.storage, location, lanes.lookups)
        self._thumbnails = thumbnails
        self.writes = self._objects.writes
        self._lanes = lanes

    @property
    def lag_s(self) -> float:
        """For how many seconds images wait until storage may have them."""
        return self._lanes.uploads.lag_s

    async def find(self, digest: str) -> Found:
        """Look up what is stored for `digest`, normally in one or two requests.

        Raises:
            StoreError: a request failed, the record is malformed, or names an image that is gone.
        """
        stem, claim_name = self._location.stem(digest), self._location.claim(digest)
        names: list[str] = []
        claim = None
        token = ""
        while True:
            # Any page may have no items, and still another page after it.
            page = await self._objects.page(stem, token)
            try:
                if claim_name in page.names:
                    claim = ClaimListing.parse(page.resources[page.names.index(claim_name)])
            except ValueError as error:
                raise StoreError(str(error), transient=True) from error
            names += page.names
            token = page.next_token
            if not token:
                break
        images = {
            int(match[1]): self._location.url(name)
            for name in names
            if name.startswith(stem) and (match := _AFTER_STEM.fullmatch(name, len(stem)))
        }
        record = await self._record(digest) if self._location.record(digest) in names else None
        if record is not None:
            self._check_images(digest, record["images"], images)
        return Found(record=record, images=images, claim=claim)

    async def image(self, path: str) -> bytes:
        """Return the bytes of a stored image.

        Raises:
            StoreError: it cannot be read.
        """
        name = path.removeprefix("gs://").partition("/")[2]
        return await self._objects.read(name, paid=True, large=True)

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
        there = await self._objects.resource(name, paid=True)
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
        if await self._objects.create(name, orjson.dumps(record), "application/json"):
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
        is_new = await self._objects.create(name, image.data, image.mime_type, metadata, large=True)
        if self._thumbnails and thumbnail:
            self._thumbnails.add(digest, index, name)
        return name, is_new

    def _check_images(self, digest: str, paths: list[str], images: Mapping[int, str]) -> None:
        """Raise a StoreError if images of a record, beside which they belong, are gone."""
        stem = self._location.url(self._location.stem(digest))
        there = set(images.values())
        gone = [path for path in paths if path.startswith(stem) and path not in there]
        if gone:
            # To publish them would be wrong. To pay for them again is for a person to decide: the
            # record, which is never replaced, would still say what the deleted ones cost.
            raise StoreError(
                f"{gone[0]} was deleted, but {self._location.url(self._location.record(digest))} "
                "still names it; to have it made again, and pay for it, delete the record, then "
                "replay the prompt",
                transient=False,
            )

    async def _record(self, digest: str, *, paid: bool = False) -> dict[str, Any]:
        name = self._location.record(digest)
        try:
            record = orjson.loads(await self._objects.read(name, paid=paid))
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


def _md5(data: bytes) -> str:
    """Return what Cloud Storage's `md5Hash` is for these bytes."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")
