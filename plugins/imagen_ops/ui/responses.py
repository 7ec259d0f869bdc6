"""The page's answers, and what becomes of them when the client goes away or is slow."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import IO, Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse

from imagen_ops.ui.lazy import Receive, Scope, Send
from imagen_ops.ui.sharing import Answer
from imagen_ops.ui.turns import RETRY_AFTER_S, Busy

_CHUNK_BYTES = 256 << 10
# A client that takes longer than this to receive an image loses the connection.
SEND_TIMEOUT_S = 60.0

_T = TypeVar("_T")


class ClientGoneError(Exception):
    """The client closed its connection: nobody reads the answer."""


class AsciiJson(JSONResponse):
    """JSON in ASCII: prompts may contain what UTF-8 cannot encode, such as half of an emoji."""

    def render(self, content: Any) -> bytes:
        """Return the bytes to send."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def panel(answer: Answer) -> AsciiJson:
    """Return a panel's answer, with the time that it is from."""
    now = datetime.now(UTC).isoformat()
    return AsciiJson({"at": now, "data": answer.data, "error": answer.error, "cause": answer.cause})


def not_found() -> AsciiJson:
    """Return that there is nothing at an address."""
    return AsciiJson({"detail": "not found"}, status_code=404)


def busy(reason: Busy) -> AsciiJson:
    """Return the refusal of a request for which there is no place."""
    headers = {"Retry-After": str(RETRY_AFTER_S), "Cache-Control": "no-store"}
    return AsciiJson({"detail": str(reason)}, 503, headers)


class ImageResponse(StreamingResponse):
    """An image from a file, which is closed when the response ends, however it ends.

    Args:
        file: positioned at its end.
        media_type: of the image.
        headers: to send with it.
        ended: called at the end.
    """

    def __init__(
        self, file: IO[bytes], media_type: str, headers: Mapping[str, str], ended: Callable[[], Any]
    ) -> None:
        size = file.tell()
        file.seek(0)
        with_length = {**headers, "Content-Length": str(size)}
        super().__init__(_chunks(file), media_type=media_type, headers=with_length)
        self._file = file
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the image."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await super().__call__(scope, receive, send)
        finally:
            self._file.close()
            self._ended()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


async def while_connected(request: Request, answer: Awaitable[_T]) -> _T:
    """Await `answer`, and cancel it if the client goes away meanwhile.

    Raises:
        ClientGoneError: it did.
    """
    async with (
        _cancelled_at_the_end(answer) as answering,
        _cancelled_at_the_end(_disconnection(request)) as gone,
    ):
        both: set[asyncio.Future[Any]] = {answering, gone}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
    raise ClientGoneError


@contextlib.asynccontextmanager
async def _cancelled_at_the_end(work: Awaitable[_T]) -> AsyncIterator["asyncio.Future[_T]"]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        if task.cancel():
            await asyncio.wait({task})


async def _disconnection(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
