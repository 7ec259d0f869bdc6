"""Uploads over HTTP: media, multipart and resumable, all streamed into a content.

https://cloud.google.com/storage/docs/json_api/v1/objects/insert and
https://cloud.google.com/storage/docs/performing-resumable-uploads.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from localcloud.storage import errors
from localcloud.storage.attributes import DEFAULT_CONTENT_TYPE
from localcloud.storage.behaviour import Settings
from localcloud.storage.bodies import INLINE_BYTES, MultipartRelated, receive
from localcloud.storage.calls import Call, Reply, json_object
from localcloud.storage.preconditions import Preconditions
from localcloud.storage.records import Checksums, StoredObject, check_object_name
from localcloud.storage.resources import object_resource
from localcloud.storage.sessions import UploadRequest, UploadSession
from localcloud.storage.store import ObjectStore

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class Uploads:
    """Answers calls whose path is `upload/storage/v1/b/BUCKET/o`."""

    def __init__(self, store: ObjectStore, executor: Executor, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._executor = executor

    async def handle(self, request: web.Request, call: Call) -> Reply:
        """Answer one upload request.

        Raises:
            StorageError: the request is invalid, or the object was rejected.
        """
        upload_id = call.query.get("upload_id")
        how = call.query.get("uploadType")
        if upload_id is not None:
            return await self._resume(request, call, upload_id)
        if call.method != "POST":
            raise errors.no_such_method(call.method, "an upload without upload_id")
        match how:
            case "media":
                return await self._media(request, call)
            case "multipart":
                return await self._multipart(request, call)
            case "resumable":
                return await self._start(request, call)
        raise errors.invalid(
            f"Invalid value for uploadType: '{how}', expected media, multipart or resumable"
        )

    async def _media(self, request: web.Request, call: Call) -> Reply:
        content_type = request.headers.get("Content-Type", "")
        upload = _upload_request(request, call, {}, content_type)
        return await self._store_body(upload, request.content.iter_any(), call)

    async def _multipart(self, request: web.Request, call: Call) -> Reply:
        content_type = request.headers.get("Content-Type", "")
        body = MultipartRelated(content_type, aiter(request.content.iter_any()))
        metadata, media_type = await body.head()
        upload = _upload_request(request, call, json_object(metadata), media_type)
        return await self._store_body(upload, body.media(), call)

    async def _store_body(
        self, upload: UploadRequest, chunks: AsyncIterator[bytes], call: Call
    ) -> Reply:
        writer = self._store.new_content(md5=self._settings.md5)
        try:
            await receive(chunks, writer.append, self._executor)
        except BaseException:
            writer.discard()
            raise
        stored = self._store.put(
            upload.bucket,
            upload.name,
            writer.finish(),
            upload.fields,
            upload.conditions,
            upload.expected,
        )
        return _stored(stored, call)

    async def _start(self, request: web.Request, call: Call) -> Reply:
        resource = json_object(await request.read())
        content_type = request.headers.get("X-Upload-Content-Type", "")
        upload = _upload_request(request, call, resource, content_type)
        # Fail now rather than after gigabytes were sent. This is checked again at the end.
        self._store.check_upload(upload)
        session = self._store.uploads.start(upload)
        path = f"/upload/storage/v1/b/{upload.bucket}/o"
        location = f"{call.base_url}{path}?uploadType=resumable&upload_id={session.id}"
        return Reply(headers={"Location": location, "X-GUploader-UploadID": session.id})

    async def _resume(self, request: web.Request, call: Call, upload_id: str) -> Reply:
        session = self._store.uploads.get(upload_id)
        if isinstance(session, StoredObject):
            return _stored(session, call)
        if call.method == "DELETE":
            self._store.uploads.cancel(session)
            return Reply(499)
        owner = object()
        received = session.take(owner)
        part = _Part.parse(request)
        if part.start > received:
            raise errors.invalid(
                f"The upload has {received} bytes, but the Content-Range starts at {part.start}."
                " Ask how far it is, and go on from there."
            )
        chunks = _without_first(request.content.iter_any(), received - part.start)
        count = _Counter(chunks)

        await receive(
            aiter(count),
            lambda batch: session.append(owner, batch),
            self._executor,
            keep_partial=True,
        )
        received += count.bytes
        total = received if part.whole_body else part.total
        if total is None or received < total:
            headers = {"Range": f"bytes=0-{received - 1}"} if received else {}
            return Reply(308, headers=headers | {"X-GUploader-UploadID": session.id})
        if received > total:
            self._store.uploads.cancel(session)
            raise errors.invalid(f"The upload has {received} bytes, {total} were announced")
        return _stored(await self._finish(session, owner, _hashes(request.headers)), call)

    async def _finish(
        self, session: UploadSession, owner: object, expected: Checksums
    ) -> StoredObject:
        if session.undigested <= INLINE_BYTES:
            return self._store.finish_upload(session, owner, expected)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._executor, self._store.finish_upload, session, owner, expected
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """The bytes of the object that a request carries: from `start` on, of `total` if known."""

    start: int
    total: int | None
    whole_body: bool = False
    """Without a Content-Range, the body extends from `start` to the end of the object."""

    @classmethod
    def parse(cls, request: web.Request) -> "_Part":
        header = request.headers.get("Content-Range")
        if header is None:
            return cls(0, None, whole_body=True)
        match = _CONTENT_RANGE.fullmatch(header.strip())
        if match is None:
            raise errors.invalid(
                f"Invalid Content-Range: '{header}', expected bytes FIRST-LAST/TOTAL, where"
                " FIRST-LAST or TOTAL may be *"
            )
        first, _, total = match.groups()
        known = None if total == "*" else int(total)
        if first is None and request.body_exists:
            raise errors.invalid("Client sent query request with a non-empty body.")
        return cls(int(first or 0), known)


class _Counter:
    """Passes chunks on and counts their bytes."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.bytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self.bytes += len(chunk)
            yield chunk


async def _without_first(chunks: AsyncIterator[bytes], skip: int) -> AsyncIterator[bytes]:
    """Yield the chunks without the first `skip` bytes, which an earlier request has sent."""
    async for chunk in chunks:
        if skip >= len(chunk):
            skip -= len(chunk)
        elif skip:
            yield chunk[skip:]
            skip = 0
        else:
            yield chunk


def _upload_request(
    request: web.Request, call: Call, resource: Mapping[str, Any], content_type: str
) -> UploadRequest:
    fields = {"contentType": content_type or DEFAULT_CONTENT_TYPE, **resource}
    if encoding := call.query.get("contentEncoding"):
        fields["contentEncoding"] = encoding
    checksums = Checksums(resource.get("crc32c"), resource.get("md5Hash"))
    return UploadRequest(
        call.path[4],
        check_object_name(resource.get("name") or call.query.get("name")),
        fields,
        Preconditions.parse(call.query),
        checksums.overlaid(_hashes(request.headers)),
    )


def _hashes(headers: Mapping[str, str]) -> Checksums:
    """Return the checksums in the header `X-Goog-Hash: crc32c=...,md5=...`."""
    result = Checksums()
    for entry in (headers.get("X-Goog-Hash") or "").split(","):
        kind, _, value = entry.strip().partition("=")
        if kind == "crc32c":
            result = replace(result, crc32c=value)
        elif kind == "md5":
            result = replace(result, md5=value)
    return result


def _stored(stored: StoredObject, call: Call) -> Reply:
    return Reply(body=object_resource(stored, call.base_url), headers={"ETag": stored.etag})
