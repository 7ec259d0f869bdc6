"""Limits how many of Gemini's answers are in memory at once; the others wait in their sockets.

An answer takes several times its size while it is read, and its image takes memory until it is
stored. Without a limit, answers that arrive together are all in memory together: with 64 calls in
flight and 1.5 MB per image, that takes about 60 MB more. (The client of the `:predict` API reads
with a session of its own.)

A slot is acquired where the answer's body is read, deep inside a client library, and released once
the image is stored. A context variable of the task connects the two.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import aiohttp

# Slots per call in flight. Few are enough, because a model takes far longer than reading its answer
# and storing the image.
SLOTS_PER_CALL = 1 / 4
MIN_SLOTS = 12
# After this many seconds, an answer is read without a slot: it is paid for, and would be lost at
# its call's timeout. Only while storage hangs does an answer wait this long.
MAX_WAIT_S = 10.0
# An image of 4096 x 4096 pixels, the largest that a model generates, takes about 20 MB as PNG.
MAX_ANSWER_BYTES = 40_000_000


class AnswerTooLargeError(aiohttp.ClientPayloadError):
    """An answer is larger than any image."""


class AnswerSlot:
    """The slot of one model call, acquired when its answer can be read.

    Args:
        semaphore: counts the free slots of the process.
    """

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore = semaphore
        self._held = False

    async def acquire(self) -> None:
        """Acquire the slot, unless it is held. Gives up after `MAX_WAIT_S` and then returns too."""
        if self._held:
            return
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._semaphore.acquire()
        except TimeoutError:
            return
        self._held = True

    def release(self) -> None:
        """Release the slot, if it is held."""
        if self._held:
            self._held = False
            self._semaphore.release()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Make answers that are read inside the block wait for this slot.

        Use it for model calls only. If an answer of an upload waited, it would wait for slots that
        are held until their uploads finish.
        """
        token = _slot.set(self)
        try:
            yield
        finally:
            _slot.reset(token)


_slot: ContextVar[AnswerSlot | None] = ContextVar("answer_slot", default=None)


class AnswerSlots:
    """The slots of one process. Use them from one event loop only.

    Args:
        max_in_flight: maximum concurrent model calls.
    """

    def __init__(self, max_in_flight: int) -> None:
        self._semaphore = asyncio.Semaphore(max(MIN_SLOTS, int(max_in_flight * SLOTS_PER_CALL)))

    @contextlib.contextmanager
    def slot(self) -> Iterator[AnswerSlot]:
        """Yield a slot for one model call; it is released at the end of the block at the latest."""
        slot = AnswerSlot(self._semaphore)
        try:
            yield slot
        finally:
            slot.release()


class SlottedResponse(aiohttp.ClientResponse):
    """A response of limited size. Inside `AnswerSlot.reading`, reading it waits for the slot."""

    async def read(self) -> bytes:
        """Read the body.

        Raises:
            AnswerTooLargeError: the body has more than `MAX_ANSWER_BYTES`. Reading stops there.
        """
        if self._body is not None:
            return self._body
        slot = _slot.get()
        # The limiter must learn of a refusal at once, and a refusal is small.
        if slot is not None and self.ok:
            await slot.acquire()
        if (self.content_length or 0) > MAX_ANSWER_BYTES:
            raise self._too_large()
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
        return self._body

    def _too_large(self) -> AnswerTooLargeError:
        self.close()
        return AnswerTooLargeError(
            f"the answer has more than {MAX_ANSWER_BYTES:,} bytes; no image is that large"
        )
