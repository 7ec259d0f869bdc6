"""Where images are kept, and under which names: `<location>/<digest[:2]>/<digest>-<index>.<ext>`.

The names are decided by the prompt alone, and nothing is ever overwritten (`ifGenerationMatch=0`):
a bundle that runs again, or a prompt that comes again, finds what was paid for. The record,
`<digest>.json`, is written last: where it is, all images are.
"""

import asyncio
import dataclasses
import re
from typing import Any

import aiohttp
import orjson
from gcloud.aio.storage import Storage

from beam_jobs.models.base import Image, retry_after
from beam_jobs.prompts.parse import Prompt

RECORD_SCHEMA = "imagen.record/1"
# One request of a few megabytes; past this the connection is taken for dead.
REQUEST_TIMEOUT_S = 60
# Fewer uploads side by side end sooner each, and let go of their images: 64 at once took 60 MB more
# and were slower. At Cloud Storage's 0.1 to 0.2 s a request this is some 100 images a second.
UPLOADS_AT_ONCE = 16

# What is to be written has been paid for: a right that is given back in time saves it.
_REFUSED = (401, 403, 404)

_LOCATION = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/([^?#*\[\]\r\n]*))?")


class StoreError(Exception):
    """Storage did not do what was asked. `transient` says whether trying again may help."""

    def __init__(self, detail: str, *, transient: bool, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.transient = transient
        self.retry_after_s = retry_after_s


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """A bucket and a folder in it; `prefix` ends with a slash, or is empty."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> "Location":
        """Return the location that `url`, `gs://bucket/folder`, names.

        Raises:
            ValueError: it names none.
        """
        match = _LOCATION.fullmatch(url)
        if not match:
            raise ValueError(f"expected gs://<bucket>/<folder>, got {url!r}")
        folder = (match[2] or "").strip("/")
        return cls(bucket=match[1], prefix=f"{folder}/" if folder else "")

    def url(self, name: str) -> str:
        """Return the `gs://` path of the object `name`."""
        return f"gs://{self.bucket}/{name}"


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What there is already for a digest.

    `record` is there when the set is complete; `images` maps index to path, complete or not.
    """

    record: dict[str, Any] | None
    images: dict[int, str]


class ImageStore:
    """Images and their records in one location of Cloud Storage.

    `session` carries the calls; gcloud-aio-storage adds credentials. Used from one event loop.
    """

    def __init__(self, session: aiohttp.ClientSession, location: Location) -> None:
        self._storage = Storage(session=session)
        self._location = location
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def find(self, digest: str) -> Found:
        """Look up what is stored for `digest`, in one or two requests.

        Raises:
            StoreError: storage cannot tell.
        """
        stem = self._stem(digest)
        listing = await self._call(
            self._storage.list_objects(
                self._location.bucket,
                params={"prefix": stem, "fields": "items(name),nextPageToken"},
                timeout=REQUEST_TIMEOUT_S,
            )
        )
        names = [item["name"] for item in listing.get("items", ())]
        images = {
            int(match[1]): self._location.url(name)
            for name in names
            if (match := re.fullmatch(re.escape(stem) + r"-(\d)\.\w+", name))
        }
        record = await self._record(digest) if f"{stem}.json" in names else None
        return Found(record=record, images=images)

    async def put_image(self, digest: str, index: int, image: Image) -> str:
        """Store one image and return its path; what is there already stays.

        Raises:
            StoreError: it is not stored.
        """
        name = f"{self._stem(digest)}-{index}.{image.extension}"
        async with self._uploads:
            await self._create(name, image.data, image.mime_type)
        return self._location.url(name)

    async def put_record(self, prompt: Prompt, images: list[str], created_at: str) -> list[str]:
        """Complete the set, and return its paths: those of the record that was there first.

        Raises:
            StoreError: it is not stored.
        """
        record = {
            "schema": RECORD_SCHEMA,
            "digest": prompt.digest,
            "prompt": prompt.text,
            "model": prompt.model,
            "images": images,
            "aspect_ratio": prompt.aspect_ratio,
            "image_size": prompt.image_size,
            "seed": prompt.seed,
            "negative_prompt": prompt.negative_prompt,
            "created_at": created_at,
        }
        name = f"{self._stem(prompt.digest)}.json"
        if await self._create(name, orjson.dumps(record), "application/json"):
            return images
        return list((await self._record(prompt.digest))["images"])

    def _stem(self, digest: str) -> str:
        return f"{self._location.prefix}{digest[:2]}/{digest}"

    async def _record(self, digest: str) -> dict[str, Any]:
        name = f"{self._stem(digest)}.json"
        try:
            data = await self._call(
                self._storage.download(self._location.bucket, name, timeout=REQUEST_TIMEOUT_S)
            )
            record = orjson.loads(data)
            images = record["images"]
        except (ValueError, KeyError, TypeError) as error:
            # Somebody wrote there by hand. Paying again would hide it.
            raise StoreError(
                f"{self._location.url(name)} is not a record: {error!r}; remove it to have the "
                "images made again",
                transient=False,
            ) from error
        if not isinstance(images, list) or not all(isinstance(path, str) for path in images):
            raise StoreError(f"{self._location.url(name)} names no images", transient=False)
        return dict(record)

    async def _create(self, name: str, data: bytes, mime_type: str) -> bool:
        """Return whether the object is new; False where there was one already."""
        try:
            await self._call(
                self._storage.upload(
                    self._location.bucket,
                    name,
                    data,
                    content_type=mime_type,
                    parameters={"ifGenerationMatch": "0"},
                    timeout=REQUEST_TIMEOUT_S,
                    # Whatever the size. A resumable upload that fails is repeated by the client
                    # itself, with the whole body under a range that Cloud Storage refuses (9.6.5).
                    force_resumable_upload=False,
                )
            )
        except StoreError as error:
            cause = error.__cause__
            if not isinstance(cause, aiohttp.ClientResponseError):
                raise
            if cause.status == 412:
                return False
            if cause.status in _REFUSED:
                error.transient = True
            raise
        return True

    async def _call(self, request: Any) -> Any:
        try:
            return await request
        except aiohttp.ClientResponseError as error:
            headers: Any = error.headers or {}
            raise StoreError(
                f"storage answered {error.status} for gs://{self._location.bucket}: "
                f"{error.message[:200]}",
                transient=error.status in (408, 429) or error.status >= 500,
                retry_after_s=retry_after(headers.get("Retry-After")),
            ) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise StoreError(f"storage cannot be reached: {error!r}", transient=True) from error
