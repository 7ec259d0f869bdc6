"""Limits how many bytes of models' answers are in memory at once; the others wait in their sockets.

An answer takes about twice its size while it is read, and its image takes memory until it is
stored. Without a limit, answers that arrive together are all in memory together: with 1,024 calls
in flight and 1.5 MB per image, 2 GB. (The bound is in bytes: a share of the calls in flight would
be as much again with twice the calls, or with images of twice the size.)

Room is taken where the answer's body is read, deep inside a client library, and given back once the
image is stored. A context variable of the task connects the two.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from typing_extensions import override

if TYPE_CHECKING:
    from aiohttp.connector import Connection

# Bytes of answers that are read and whose images are not stored yet. A window of 1,024 calls that
# take 10 s makes 100 images a second, each of which is here for the 0.2 s of its upload: at 1.5 MB,
# 30 MB. With more, a burst is stored no sooner, as storage gets 16 images at once. With less, the
# largest answer (27 MB) could not be read beside an upload of the largest image (20 MB).
MAX_BYTES = 48_000_000
# What the first answer counts that does not say how long it is: as base64, an image of 1.5 MB.
# Later ones count what the one before had.
UNKNOWN_BYTES = 2_000_000
# What is left of a call's timeout when an answer is read without room, because it is paid for, and
# would be lost. Only while storage hangs does an answer wait this long.
READ_BEFORE_TIMEOUT_S = 30.0
# An answer waits at least so long, however short the timeout is.
MIN_WAIT_S = 10.0
# An image of 4096 x 4096 pixels, the largest that a model generates, takes about 20 MB as PNG.
MAX_ANSWER_BYTES = 40_000_000
# Of each answer that waits, asyncio reads so many bytes at first, and then no more. By default it
# reads 256 KiB at a time: of a thousand answers that wait, 256 MB.
FIRST_READ_BYTES = 1 << 14
# Of an answer that has its room, so many bytes at a time.
READ_BYTES = 1 << 18


class AnswerTooLargeError(aiohttp.ClientPayloadError):
    """An answer is larger than any image."""


class AnswerSlot:
    """The room of one model call's answer, taken when the answer can be read.

    Args:
        memory: of the process.
    """

    def __init__(self, memory: "AnswerMemory") -> None:
        self._memory = memory
        self._held = 0
        self._read_by = float("inf")

    def acquire_now(self, size: int | None) -> bool:
        """Take room for an answer if there is some now; return whether it has room.

        Args:
            size: of the answer, in bytes; None if it does not say.
        """
        if not self._held:
            size = size or self._memory.usual_bytes
            self._held = size if self._memory.take_now(size) else 0
        return self._held > 0

    async def acquire(self, size: int | None) -> None:
        """Take room for an answer, unless it has some. After a long wait, this returns without.

        Args:
            size: of the answer, in bytes; None if it does not say.
        """
        if not self.acquire_now(size):
            size = size or self._memory.usual_bytes
            wait_s = max(MIN_WAIT_S, self._read_by - time.monotonic())
            self._held = size if await self._memory.take(size, wait_s) else 0

    def was_read(self, size: int) -> None:
        """Note how many bytes an answer had in truth."""
        self._memory.usual_bytes = size
        self.hold(size)

    def hold(self, size: int) -> None:
        """Note how many bytes an answer takes now, such as those of its images, if it has room."""
        if self._held:
            before, self._held = self._held, max(1, size)
            self._memory.give_back(before - self._held)

    def release(self) -> None:
        """Give back the room, if there is any."""
        held, self._held = self._held, 0
        if held:
            self._memory.give_back(held)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Make answers that are read inside the block wait for this room.

        Use it for model calls only. If an answer of an upload waited, it would wait for room that
        is taken until that upload finishes.
        """
        self._read_by = time.monotonic() + self._memory.call_timeout_s - READ_BEFORE_TIMEOUT_S
        token = _slot.set(self)
        try:
            yield
        finally:
            _slot.reset(token)


_slot: ContextVar[AnswerSlot | None] = ContextVar("answer_slot", default=None)


class AnswerMemory:
    """The memory for answers of one process. Use it from one event loop only.

    Args:
        max_bytes: how many bytes of answers may be in memory; one answer always may.
        call_timeout_s: timeout of a model call, in seconds.

    Attributes:
        usual_bytes: what an answer counts that does not say how long it is.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, *, call_timeout_s: float = 0.0) -> None:
        self.call_timeout_s = call_timeout_s
        self.usual_bytes = UNKNOWN_BYTES
        self._max_bytes = max_bytes
        self._taken = 0
        # Since when they wait, for how many bytes.
        self._waiters: deque[tuple[float, int, asyncio.Future[None]]] = deque()

    @property
    def taken(self) -> int:
        """How many bytes are taken now."""
        return self._taken

    @property
    def lag_s(self) -> float:
        """How many seconds the first of the answers that wait has waited; 0: none waits."""
        return time.monotonic() - self._waiters[0][0] if self._waiters else 0.0

    @contextlib.contextmanager
    def slot(self) -> Iterator[AnswerSlot]:
        """Yield the slot of one model call; its room is given back at the block's end at last."""
        slot = AnswerSlot(self)
        try:
            yield slot
        finally:
            slot.release()

    def take_now(self, size: int) -> bool:
        """Take room, unless there is none or others wait for it; return whether it was taken."""
        if self._waiters or not self._fits(size):
            return False
        self._taken += size
        return True

    async def take(self, size: int, wait_s: float) -> bool:
        """Take room, in order of arrival; return False if there is none within `wait_s` seconds."""
        if self.take_now(size):
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((time.monotonic(), size, waiter))
        try:
            async with asyncio.timeout(wait_s):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():  # the room was taken for it already
                self.give_back(size)
            waiter.cancel()
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def give_back(self, size: int) -> None:
        """Give room back, and let those read that wait for it."""
        self._taken -= size
        while self._waiters and (self._waiters[0][2].done() or self._fits(self._waiters[0][1])):
            _, waiting, waiter = self._waiters.popleft()
            if not waiter.done():
                self._taken += waiting
                waiter.set_result(None)

    def _fits(self, size: int) -> bool:
        return self._taken + size <= self._max_bytes or not self._taken


class SlottedResponse(aiohttp.ClientResponse):
    """A response of limited size. Inside `AnswerSlot.reading`, reading it waits for room."""

    @override
    def start(self, connection: "Connection") -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        if _slot.get() is not None:
            _read_at_once(connection.transport, FIRST_READ_BYTES)
        return super().start(connection)

    @override
    async def json(self, *, content_type: str | None = "application/json", **options: Any) -> Any:
        """Decode the body, as aiohttp does, but faster where Google's client asks for no check.

        Raises:
            ValueError: the body is no JSON.
        """
        if content_type is not None or options:
            return await super().json(content_type=content_type, **options)
        return orjson.loads(body) if (body := await self.read()).strip() else None

    @override
    async def read(self) -> bytes:
        """Read the body.

        Raises:
            AnswerTooLargeError: the body has more than `MAX_ANSWER_BYTES`. Reading stops there.
        """
        if self._body is not None:
            return self._body
        if (self.content_length or 0) > MAX_ANSWER_BYTES:
            raise self._too_large()
        slot = _slot.get()
        # The limiter must learn of a refusal at once, and a refusal is small.
        if slot is not None and self.ok:
            await self._wait_for_room(slot)
        read, parts = 0, []
        try:
            while part := await self.content.readany():
                parts.append(part)
                read += len(part)
                if read > MAX_ANSWER_BYTES:
                    raise self._too_large()
        except BaseException:
            self.close()
            raise
        self._body = b"".join(parts)
        if slot is not None and self.ok:
            slot.was_read(read)
        return self._body

    def forget(self) -> None:
        """Keep nothing of the body, which was read: `text` and `json` find it empty from now on."""
        self._body = b""

    async def _wait_for_room(self, slot: AnswerSlot) -> None:
        # None once the whole body is here.
        transport = self.connection.transport if self.connection else None
        if slot.acquire_now(self.content_length) or transport is None:
            _read_at_once(transport, READ_BYTES)
            return
        # If aiohttp has stopped it, with enough to read, it also starts it again. Started by
        # anybody else, it would bring what aiohttp keeps aside, and waits for in vain.
        stops = transport.is_reading()
        if stops:
            transport.pause_reading()
        try:
            await slot.acquire(self.content_length)
        except BaseException:
            self.close()
            raise
        _read_at_once(transport, READ_BYTES)
        if stops:
            transport.resume_reading()

    def _too_large(self) -> AnswerTooLargeError:
        self.close()
        return AnswerTooLargeError(
            f"the answer has more than {MAX_ANSWER_BYTES:,} bytes; no image is that large"
        )


def _read_at_once(transport: asyncio.BaseTransport | None, size: int) -> None:
    """Let a transport read up to `size` bytes at a time, if it is one of asyncio's own.

    Over TLS, this bounds what it reads while nobody takes it; `process_memory` bounds one read.
    """
    if not isinstance(transport, asyncio.Transport):
        return
    if hasattr(transport, "set_read_buffer_limits"):  # TLS; asyncio documents no such method
        transport.set_read_buffer_limits(high=size)
    elif hasattr(transport, "max_size"):
        transport.max_size = size
