"""Streams request bodies into contents, with back-pressure and without blocking the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor

from localcloud.storage import errors

BATCH_BYTES = 2 * 1024 * 1024
"""How much is collected before a thread writes and hashes it. A typical image is one batch: MD5 of
1.5 MB takes 2 ms, while switching to a thread and back takes 0.1 ms."""

INLINE_BYTES = 64 * 1024
"""Up to this size, writing and hashing costs less than switching to a thread."""

MAX_HEAD_BYTES = 1024 * 1024
"""Maximum size of what precedes the media in a multipart upload: headers and metadata."""


async def receive(
    chunks: AsyncIterator[bytes],
    append: Callable[[Sequence[bytes]], None],
    executor: Executor,
    *,
    keep_partial: bool = False,
) -> None:
    """Append all chunks of a body.

    Args:
        chunks: the body.
        append: writes chunks; blocks.
        executor: runs `append` for large batches.
        keep_partial: if the connection breaks, append what has arrived before raising.
    """
    loop = asyncio.get_running_loop()
    batch: list[bytes] = []
    size = 0
    try:
        async for chunk in chunks:
            batch.append(chunk)
            size += len(chunk)
            if size >= BATCH_BYTES:
                full, batch, size = batch, [], 0
                await loop.run_in_executor(executor, append, full)
    except Exception:
        if keep_partial and batch:
            append(batch)
        raise
    if size > INLINE_BYTES:
        await loop.run_in_executor(executor, append, batch)
    elif batch:
        append(batch)


class MultipartRelated:
    """A `multipart/related` upload: one part of JSON metadata, then one of media.

    The media is streamed. Only as much as could be the closing boundary is held back.
    """

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        self._delimiter = b"\r\n--" + _boundary(content_type)
        self._chunks = chunks
        # The first boundary has no line break before it, so one is added here.
        self._buffer = b"\r\n"

    async def head(self) -> tuple[bytes, str]:
        """Return the metadata's JSON, and the media part's content type (`""` if it has none).

        Raises:
            StorageError: 400; the body is malformed.
        """
        await self._through(self._delimiter)
        await self._through(b"\r\n\r\n")
        metadata = await self._through(self._delimiter)
        # The media's headers end at an empty line, which can directly follow the boundary.
        headers = await self._through(b"\r\n\r\n")
        for line in headers.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-type":
                return metadata, value.strip().decode("latin-1")
        return metadata, ""

    async def media(self) -> AsyncIterator[bytes]:
        """Yield the media.

        Raises:
            StorageError: 400; the closing boundary is missing.
        """
        held = self._buffer
        overlap = len(self._delimiter) - 1
        while True:
            end = held.find(self._delimiter)
            if end >= 0:
                yield held[:end]
                async for _ in self._chunks:
                    pass
                return
            if len(held) > overlap:
                yield held[:-overlap]
                held = held[-overlap:]
            chunk = await anext(self._chunks, None)
            if chunk is None:
                raise _malformed("the closing boundary is missing")
            # Most chunks are far larger than what is held back.
            held += chunk

    async def _through(self, mark: bytes) -> bytes:
        """Consume everything up to and including `mark`; return what came before it."""
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise _malformed(f"no metadata within {MAX_HEAD_BYTES} bytes")
            chunk = await anext(self._chunks, None)
            if chunk is None:
                raise _malformed("it ends early")
            self._buffer += chunk
        before, self._buffer = self._buffer[:at], self._buffer[at + len(mark) :]
        return before


def _boundary(content_type: str) -> bytes:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        boundary = value.strip().strip("\"'")
        if name.strip().lower() == "boundary" and boundary:
            return boundary.encode()
    raise _malformed(f"the content type names no boundary: '{content_type}'")


def _malformed(why: str) -> errors.StorageError:
    return errors.invalid(f"Malformed multipart body: {why}")
