"""How much of Gemini's answers may be in memory at once; the rest waits in its sockets.

An answer of megabytes is several of them while it is read, and an image until it is stored. Answers
that arrive together would otherwise all be in memory together: with 64 in flight and 1.5 MB an
image some 60 MB more. (The clients of the `:predict` family read with a session of their own.)

The slot is taken where the answer's body is read, in the depths of a client library, and given back
where its image has been stored. What connects the two is the context that their task runs in.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import aiohttp

# Of the calls in flight: a model takes far longer than reading its answer and storing the image.
SHARE = 1 / 4
MIN_AT_ONCE = 12
# Then an answer is read all the same: it is paid for, and lost when its call's time is up. Nobody
# waits as long but while storage hangs.
MAX_WAIT_S = 10.0
# A picture of 4096 x 4096 pixels, the largest that a model makes, has some 20 MB as PNG.
MAX_ANSWER_BYTES = 40_000_000


class AnswerTooLargeError(aiohttp.ClientPayloadError):
    """An answer is longer than any image."""


class AnswerSlot:
    """One prompt's: not taken until an answer is there to be read."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._semaphore = places
        self._held = False

    async def acquire(self) -> None:
        """Wait for a place, unless there is one already; no longer than `MAX_WAIT_S`."""
        if self._held:
            return
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._semaphore.acquire()
        except TimeoutError:
            return
        self._held = True

    def release(self) -> None:
        """Let somebody else have the place, if it was taken."""
        if self._held:
            self._held = False
            self._semaphore.release()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Have the answers that are read inside wait for this slot.

        Only the model's: one of storage's that waited, in the middle of an upload, would wait for
        those who hold a place until they may upload.
        """
        mark = _slot.set(self)
        try:
            yield
        finally:
            _slot.reset(mark)


_slot: ContextVar[AnswerSlot | None] = ContextVar("answer_slot", default=None)


class AnswerSlots:
    """The places of one process. Used from one event loop.

    Args:
        max_in_flight: most model calls at once.
    """

    def __init__(self, max_in_flight: int) -> None:
        self._semaphore = asyncio.Semaphore(max(MIN_AT_ONCE, int(max_in_flight * SHARE)))

    @contextlib.contextmanager
    def slot(self) -> Iterator[AnswerSlot]:
        """Yield a slot, which is given back at the end, at the latest."""
        slot = AnswerSlot(self._semaphore)
        try:
            yield slot
        finally:
            slot.release()


class SlottedResponse(aiohttp.ClientResponse):
    """A response whose body is bounded, and is read only with a slot where there are slots."""

    async def read(self) -> bytes:
        """Read the body.

        Raises:
            AnswerTooLargeError: it has more than `MAX_ANSWER_BYTES`; no more than that was read.
        """
        if self._body is not None:
            return self._body
        slot = _slot.get()
        # The limiter has to hear of a refusal at once, and it is small.
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
            f"the answer has more than {MAX_ANSWER_BYTES:,} bytes; no image has"
        )
