"""Makes the pictures of answers: drawn for the prompt, prepared, or broken on request."""

import asyncio
import base64
import binascii
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from localcloud.vertex import pictures
from localcloud.vertex.behaviour import Fault, Settings
from localcloud.vertex.calls import ApiError

# A draft is smaller than any final image.
_DRAFT_BYTES = 600
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Painter:
    """Makes pictures, and draws them in threads of its own.

    Args:
        settings: `canned_bytes` is read for each picture.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="painter")

    def close(self) -> None:
        """End its threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def draft(self) -> bytes:
        """Return a draft in base64."""
        return _canned(_DRAFT_BYTES)

    async def picture(self, fault: Fault | None, prompt: str, **options: Any) -> bytes:
        """Return a picture in base64, with the fault if it is one of pictures.

        Args:
            fault: of the call.
            prompt: what to draw.
            options: those of `pictures.draw`.

        Raises:
            ApiError: 400; there are no pictures with such options.
        """
        if fault is Fault.NOT_AN_IMAGE:
            return base64.b64encode(b"This is no picture.")
        if fault is Fault.CUT_IMAGE:
            return base64.b64encode(pictures.cut_jpeg())
        data = await self._whole_picture(prompt, **options)
        if fault is Fault.URL_SAFE:
            return data.translate(_URL_SAFE).rstrip(b"=")
        return data

    async def _whole_picture(self, prompt: str, **options: Any) -> bytes:
        if size := self._settings.canned_bytes:
            return _canned(size)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._threads, functools.partial(_drawn, prompt, **options)
            )
        except (ValueError, ZeroDivisionError):
            raise ApiError(400, f"Image options are not supported: {options}") from None


@functools.lru_cache(maxsize=4)
def _canned(size: int) -> bytes:
    return binascii.b2a_base64(pictures.canned(size), newline=False)


@functools.lru_cache(maxsize=64)
def _drawn(prompt: str, **options: Any) -> bytes:
    return binascii.b2a_base64(pictures.draw(prompt, **options), newline=False)
