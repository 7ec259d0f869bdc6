"""The body of an upload, sent with fewer copies than aiohttp makes of an `io.BytesIO`.

aiohttp asks such a stream for its buffer, for which Python copies it, and then reads it in pieces,
each another copy (`findings/aiohttp_bytesio_copies.sh`).
"""

import asyncio
import io
from typing import Any

from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter
from typing_extensions import override

# aiohttp joins the headers with the first piece. Of each other piece, what the socket does not take
# at once is copied.
FIRST_BYTES, PIECE_BYTES = 1 << 12, 1 << 18


class UploadBody(io.BytesIO):
    """A stream, as gcloud-aio wants it, that aiohttp sends as the bytes that it was made of."""


@payload.payload_type(UploadBody)
class UploadPayload(payload.BytesPayload):
    """What aiohttp makes of an `UploadBody`."""

    def __init__(self, body: UploadBody, *args: Any, **options: Any) -> None:
        content = body.getvalue()  # no copy
        # Not of BytesPayload, which warns that a body of this size may occupy the event loop. Here
        # each piece has a turn of its own.
        payload.Payload.__init__(self, content, *args, **options)
        self._size = len(content)

    @override
    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    @override
    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        view = memoryview(self._value)[:content_length]
        await writer.write(view[:FIRST_BYTES])
        for start in range(FIRST_BYTES, len(view), PIECE_BYTES):
            await asyncio.sleep(0)
            await writer.write(view[start : start + PIECE_BYTES])
