"""Lets a custom function change images before they are published: sign, encode, or refuse."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from beam_jobs.custom.function import CustomFunction, Refusal
from beam_jobs.custom.guarded import TIMEOUT_S, GuardedCalls, WrongResultError
from beam_jobs.models.base import Image
from beam_jobs.models.pictures import NotAPictureError, picture_format

# Each holds two images, and most of them compute.
AT_ONCE = 8
# A PNG of 4096 by 4096 pixels of noise has 50 MB.
MAX_BYTES = 64 << 20
_MAX_DETAIL_CHARS = 300


class Postprocess:
    """Calls a job's postprocess function.

    Args:
        function: the function.
        timeout_s: seconds after which a call is abandoned.

    Attributes:
        function: the function.
        pool: the threads that wait for it, which are as many as run at once.
    """

    def __init__(self, function: CustomFunction, *, timeout_s: float = TIMEOUT_S) -> None:
        self.function = function
        self.pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="imagen-postprocess")
        self._call = GuardedCalls[bytes, Image | Refusal](
            function, give=bytes, check=self._checked, timeout_s=timeout_s
        )

    def image(self, data: bytes) -> Image | Refusal:
        """Return what the function makes of an encoded image.

        Raises:
            CustomFunctionError: it makes no image of it.
        """
        return self._call(data)

    def _checked(self, data: bytes, returned: Any) -> Image | Refusal:
        del data
        if isinstance(returned, Refusal):
            if not isinstance(returned.detail, str):
                raise WrongResultError("a Refusal whose detail is no text")
            said = returned.detail[:_MAX_DETAIL_CHARS] or "it says nothing"
            return Refusal(f"image refused by {self.function}: {said}")
        if not isinstance(returned, bytes | bytearray | memoryview):
            raise WrongResultError(f"{type(returned).__name__}; expected bytes, or a Refusal")
        made = bytes(returned)
        if len(made) > MAX_BYTES:
            raise WrongResultError(f"{len(made):,} bytes; the limit is {MAX_BYTES:,}")
        try:
            extension, mime_type = picture_format(made)
        except NotAPictureError as error:
            raise WrongResultError(f"{len(made):,} bytes {error}") from None
        return Image(data=made, extension=extension, mime_type=mime_type)
