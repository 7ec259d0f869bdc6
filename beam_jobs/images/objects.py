"""Objects in Cloud Storage: lists, reads, and creates them, and notes whether writes are accepted.

Google's answers are checked here, because what is no answer of Cloud Storage must neither say that
nothing is stored, nor that something is.
"""

import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import aiohttp

from beam_jobs.images.answers import Page, is_resource, shortened
from beam_jobs.images.claim_objects import DatedStorage
from beam_jobs.images.lanes import Lane, Lanes
from beam_jobs.images.location import Location
from beam_jobs.images.refusals import Meaning
from beam_jobs.images.requests import REQUEST_TIMEOUT_S, StoreError, answer_of
from beam_jobs.images.upload_body import UploadBody
from beam_jobs.images.write_gate import WriteGate

_LISTED_FIELDS = "items(name,generation,timeCreated,size),nextPageToken"

T = TypeVar("T")


class Objects:
    """The objects of one bucket. Use it from one event loop only.

    Args:
        session: sends the requests; gcloud-aio-storage adds credentials.
        location: the bucket, and the folder in which it may try to write.
        lanes: pace the requests.

    Attributes:
        storage: the client.
        writes: whether storage accepts writes now.
    """

    def __init__(self, session: aiohttp.ClientSession, location: Location, lanes: Lanes) -> None:
        self.storage = DatedStorage(session=session)
        self._location = location
        self._lanes = lanes
        self.writes = WriteGate(self._try_to_write)

    async def page(self, prefix: str, token: str = "") -> Page:
        """Return a page of a listing.

        Args:
            prefix: that the names begin with.
            token: of the page; empty for the first.

        Raises:
            StoreError: the request failed, or its answer is no listing.
        """
        params = {"prefix": prefix, "fields": _LISTED_FIELDS}
        if token:
            params["pageToken"] = token
        answer = await self._call(
            lambda: self.storage.list_objects(
                self._location.bucket, params=params, timeout=REQUEST_TIMEOUT_S
            )
        )
        try:
            return Page.parse(answer)
        except ValueError as error:
            raise StoreError(str(error), transient=True) from error

    async def read(self, name: str, *, paid: bool = False, large: bool = False) -> bytes:
        """Return the content of an object.

        Args:
            name: of the object.
            paid: whether it is about what is paid for.
            large: whether it takes as long as an upload of an image.

        Raises:
            StoreError: it cannot be read.
        """
        return await self._call(
            lambda: self.storage.download(self._location.bucket, name, timeout=REQUEST_TIMEOUT_S),
            paid=paid,
            lane=self._lanes.uploads if large else None,
        )

    async def resource(self, name: str, *, paid: bool = False) -> dict[str, Any]:
        """Return what storage says of an object.

        Raises:
            StoreError: it does not say.
        """
        return await self._call(
            lambda: self.storage.download_metadata(
                self._location.bucket, name, timeout=REQUEST_TIMEOUT_S
            ),
            paid=paid,
        )

    async def create(
        self,
        name: str,
        data: bytes,
        mime_type: str,
        metadata: Mapping[str, str] | None = None,
        *,
        large: bool = False,
    ) -> bool:
        """Create an object, and return whether it is new; an existing object is kept.

        Args:
            name: of the object.
            data: its content.
            mime_type: of the content.
            metadata: custom metadata of the object.
            large: whether it is an image.

        Raises:
            StoreError: it could not be stored.
        """
        try:
            stored = await self._call(
                lambda: self.storage.upload(
                    self._location.bucket,
                    name,
                    UploadBody(data),
                    content_type=mime_type,
                    parameters={"ifGenerationMatch": "0", "fields": "name,size"},
                    timeout=REQUEST_TIMEOUT_S,
                    # For any size: the client retries a failed resumable upload itself, and sends
                    # the whole body with a range that Cloud Storage refuses (9.6.5).
                    force_resumable_upload=False,
                    # Then the request has two parts, and a second copy of the image.
                    metadata={"metadata": dict(metadata)} if metadata else None,
                ),
                paid=True,
                lane=self._lanes.uploads if large else None,
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
            return is_resource(await self.resource(name), name, size)
        except StoreError:
            return False

    async def _try_to_write(self) -> None:
        """Create an empty object, to see whether storage accepts it, and delete it again."""
        name = f"{self._location.prefix}write-checks/{uuid.uuid4().hex}"
        with contextlib.suppress(StoreError):
            if await self.create(name, b"", "text/plain"):
                await self._call(
                    lambda: self.storage.delete(
                        self._location.bucket, name, timeout=REQUEST_TIMEOUT_S
                    )
                )

    async def _call(
        self,
        request: Callable[[], Awaitable[T]],
        *,
        paid: bool = False,
        lane: Lane | None = None,
    ) -> T:
        lane = lane or self._lanes.lookups
        # What is paid for goes ahead: its prompt holds memory, and could be lost.
        return await lane(
            lambda: answer_of(request(), self._location.bucket, paid=paid), first=paid
        )
