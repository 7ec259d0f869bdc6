"""Downloads over HTTP: whole or a range, as stored or decompressed, from one generation."""

import asyncio
import contextlib
import re
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Executor
from datetime import datetime
from email.utils import format_datetime
from typing import BinaryIO

from aiohttp import web

from localcloud.storage import errors
from localcloud.storage.attributes import DEFAULT_CONTENT_TYPE
from localcloud.storage.preconditions import Preconditions, integer
from localcloud.storage.records import StoredObject
from localcloud.storage.store import ObjectStore

SENDFILE_BYTES = 128 * 1024
"""From this size on, sendfile is used; below it, one read and one write cost less."""

_CHUNK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
_HEADER_OF_FIELD = {
    "cacheControl": "Cache-Control",
    "contentDisposition": "Content-Disposition",
    "contentEncoding": "Content-Encoding",
    "contentLanguage": "Content-Language",
}


class Downloads:
    """Answers requests with `alt=media`, and public links."""

    def __init__(self, store: ObjectStore, executor: Executor) -> None:
        self._store = store
        self._executor = executor

    async def handle(
        self,
        request: web.Request,
        bucket: str,
        name: str,
        query: Mapping[str, str],
        *,
        xml: bool = False,
    ) -> web.StreamResponse:
        """Send an object's content; for HEAD, send the headers only.

        With `xml`, custom metadata is among the headers, as in the XML API.

        Raises:
            StorageError: the object does not exist, or a condition or range is not satisfied.
        """
        stored, file = self._store.open(
            bucket, name, integer(query, "generation"), Preconditions.parse(query)
        )
        with file:
            _check_etags(request, stored)
            headers = _headers(stored) | (_custom_headers(stored) if xml else {})
            if _must_decompress(request, stored):
                return await self._send_decompressed(request, file, headers)
            return await self._send_stored(request, stored, file, headers)

    async def _send_stored(
        self, request: web.Request, stored: StoredObject, file: BinaryIO, headers: dict[str, str]
    ) -> web.StreamResponse:
        size = stored.content.size
        start, end = _requested_range(request.headers.get("Range"), size)
        status = 200
        if start is not None:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        offset, count = start or 0, end - (start or 0)
        if request.method == "HEAD":
            head = web.StreamResponse(status=status, headers=headers)
            head.content_length = count
            return head
        if count < SENDFILE_BYTES:
            file.seek(offset)
            return web.Response(status=status, headers=headers, body=file.read(count))
        return await _send_file(
            request, web.StreamResponse(status=status, headers=headers), file, offset, count
        )

    async def _send_decompressed(
        self, request: web.Request, file: BinaryIO, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Send the decompressed content, always as a whole: "decompressive transcoding"."""
        chunks = _decompressed(file, self._executor)
        del headers["Content-Encoding"]
        headers["Warning"] = "214 UploadServer gunzipped"
        try:
            first = await anext(chunks, b"")
        except zlib.error as error:
            raise errors.invalid(
                f"The object has contentEncoding gzip, but its content is not gzip ({error})."
                " Ask for it with Accept-Encoding: gzip"
            ) from None
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        with _cut_off_if_it_fails(request):
            if request.method != "HEAD":
                if first:
                    await response.write(first)
                async for chunk in chunks:
                    await response.write(chunk)
        await response.write_eof()
        return response


def media_refusal(error: errors.StorageError) -> web.Response:
    """Return the response for a failed download: plain text, as in the service."""
    if error.status == 304:
        return web.Response(status=304)
    headers = {}
    if isinstance(error, _UnsatisfiableRangeError):
        headers["Content-Range"] = f"bytes */{error.size}"
    return web.Response(status=error.status, text=error.message, headers=headers)


class _UnsatisfiableRangeError(errors.StorageError):
    def __init__(self, size: int) -> None:
        message = f"The requested range cannot be satisfied: the object has {size} bytes."
        super().__init__(416, "requestedRangeNotSatisfiable", message)
        self.size = size


async def _send_file(
    request: web.Request, response: web.StreamResponse, file: BinaryIO, offset: int, count: int
) -> web.StreamResponse:
    response.content_length = count
    await response.prepare(request)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has disconnected")
    with _cut_off_if_it_fails(request):
        try:
            # Not web.FileResponse: it opens the path later, when the object may have been replaced.
            await asyncio.get_running_loop().sendfile(transport, file, offset, count)
        except NotImplementedError:
            file.seek(offset)
            while count and (chunk := file.read(min(_CHUNK_BYTES, count))):
                await response.write(chunk)
                count -= len(chunk)
    await response.write_eof()
    return response


@contextlib.contextmanager
def _cut_off_if_it_fails(request: web.Request) -> Iterator[None]:
    """Close the connection if reading fails: a response that has begun cannot become an error."""
    try:
        yield
    except OSError as error:
        if request.transport is not None:
            request.transport.close()
        raise ConnectionResetError(f"reading failed during the response: {error}") from error


def _requested_range(header: str | None, size: int) -> tuple[int | None, int]:
    """Return the offset of the first requested byte (None: no range) and of the end."""
    match = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if match is None or match.groups() == ("", ""):
        return None, size
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
        if not int(last):
            raise _UnsatisfiableRangeError(size)
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None, size
    if start >= size:
        raise _UnsatisfiableRangeError(size)
    return start, end


def _headers(stored: StoredObject) -> dict[str, str]:
    content = stored.content
    fields = stored.attributes
    hashes = f"crc32c={content.crc32c}" + (f",md5={content.md5}" if content.md5 else "")
    headers = {
        "Content-Type": fields.get("contentType") or DEFAULT_CONTENT_TYPE,
        "ETag": f'"{stored.etag}"',
        "Last-Modified": _http_date(stored.updated),
        "Accept-Ranges": "bytes",
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(stored.metageneration),
        "X-Goog-Hash": hashes,
        "X-Goog-Storage-Class": fields.get("storageClass") or "STANDARD",
        "X-Goog-Stored-Content-Encoding": fields.get("contentEncoding") or "identity",
        "X-Goog-Stored-Content-Length": str(content.size),
    }
    for field, header in _HEADER_OF_FIELD.items():
        if fields.get(field):
            headers[header] = fields[field]
    if "contentEncoding" in fields:
        headers["Vary"] = "Accept-Encoding"
    # Unlike the service, which shows objects in a browser as their metadata says, but on a host
    # that has nothing else. On this machine a page could send requests to all stand-ins.
    if not headers.get("Content-Disposition", "").lower().startswith("attachment"):
        headers["Content-Disposition"] = "attachment"
    headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return headers


def _custom_headers(stored: StoredObject) -> dict[str, str]:
    """https://cloud.google.com/storage/docs/xml-api/reference-headers#xgoogmeta."""
    metadata: dict[str, str] = stored.attributes.get("metadata") or {}
    return {
        f"x-goog-meta-{name}": value
        for name, value in metadata.items()
        if _TOKEN.fullmatch(name) and value.isascii() and value.isprintable()
    }


def _http_date(rfc3339: str) -> str:
    return format_datetime(datetime.fromisoformat(rfc3339), usegmt=True)


def _must_decompress(request: web.Request, stored: StoredObject) -> bool:
    return (
        stored.attributes.get("contentEncoding") == "gzip"
        and "gzip" not in request.headers.get("Accept-Encoding", "")
        and "no-transform" not in (stored.attributes.get("cacheControl") or "")
    )


def _check_etags(request: web.Request, stored: StoredObject) -> None:
    """Check If-Match and If-None-Match, which browsers send for cached objects."""
    if (match := request.headers.get("If-Match")) and not _lists_etag(match, stored.etag):
        raise errors.condition_not_met("If-Match")
    if (none_match := request.headers.get("If-None-Match")) and _lists_etag(
        none_match, stored.etag
    ):
        raise errors.NotModifiedError


def _lists_etag(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return etag in tags or tags == ["*"]


async def _decompressed(file: BinaryIO, executor: Executor) -> AsyncIterator[bytes]:
    """Yield the decompressed content of a gzip file, which can have several members.

    Raises:
        zlib.error: the file is not valid gzip.
    """
    loop = asyncio.get_running_loop()
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    pending = b""
    while True:
        if not pending and not (pending := file.read(_CHUNK_BYTES)):
            return
        if decoder.eof:
            decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
        # The limit keeps a small file that decompresses to gigabytes from filling the memory.
        data = await loop.run_in_executor(executor, decoder.decompress, pending, _CHUNK_BYTES)
        pending = decoder.unconsumed_tail or decoder.unused_data
        if data:
            yield data
