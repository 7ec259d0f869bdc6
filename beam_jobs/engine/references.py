"""Looks reference images up in Cloud Storage, before anything is paid for what they are shown in.

A prompt's digest covers what they hold. A model reads them by their path, where another picture may
be by then, so they are looked at again once it has answered. Use it from one event loop only.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp
from gcloud.aio.storage import Storage

from beam_jobs.images.requests import REQUEST_TIMEOUT_S, StoreError, answer_of
from beam_jobs.models.base import CallError, Retry
from beam_jobs.models.pictures import reference_type
from beam_jobs.outcomes import Reason
from beam_jobs.prompts.identity import digest_of, made_id
from beam_jobs.prompts.parse import Prompt
from beam_jobs.prompts.references import Reference, content_of

# https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding: the largest
# file from Cloud Storage, and the types.
MAX_BYTES = 30_000_000
TYPES = frozenset(f"image/{kind}" for kind in ("png", "jpeg", "webp", "heic", "heif"))
# What uploads have that state none.
_NO_TYPES = frozenset({"", "application/octet-stream"})
# For so long, a reference is not looked up again. Many prompts in a row show the same.
REFRESH_S = 10.0
MAX_KNOWN = 10_000
# Prompts are looked up as they come, before there is a limit to how many are under way.
LOOKUPS_AT_ONCE = 32
_FIRST_BYTES = {"Range": "bytes=0-31"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    content: str
    mime_type: str


class References:
    """What is known of the references of this process's prompts.

    Args:
        session: sends the requests; gcloud-aio-storage adds credentials.
        clock: seconds that only go forward.
        refresh_s: for how many seconds a reference is not looked up again.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        clock: Callable[[], float] = time.monotonic,
        *,
        refresh_s: float = REFRESH_S,
    ) -> None:
        self._storage = Storage(session=session)
        self._clock = clock
        self._refresh_s = refresh_s
        self._semaphore = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        # By path: when it was looked up, and what came or comes of it.
        self._known: dict[str, tuple[float, asyncio.Task[_Found]]] = {}

    async def resolved(self, prompt: Prompt) -> Prompt:
        """Return `prompt` with what its references hold, and the digest that covers it.

        Raises:
            CallError: a reference is not there, or no picture that a model takes.
            StoreError: it cannot be looked up.
        """
        found = await asyncio.gather(*(self._find(each) for each in prompt.references))
        references = tuple(
            dataclasses.replace(each, content=known.content, mime_type=known.mime_type)
            for each, known in zip(prompt.references, found, strict=True)
        )
        other = dataclasses.replace(prompt, references=references)
        digest = digest_of(other.digested, fresh=prompt.fresh)
        given = prompt.prompt_id != made_id(prompt.digest)
        return dataclasses.replace(
            other, digest=digest, prompt_id=prompt.prompt_id if given else made_id(digest)
        )

    async def check_unchanged(self, prompt: Prompt) -> None:
        """Check that the references of a prompt hold what they held when it was resolved.

        Raises:
            CallError: one was replaced or deleted. What the model has seen is not known.
            StoreError: it cannot be looked up.
        """
        for reference in prompt.references:
            self._known.pop(reference.path, None)
        if changed := await self.changed(prompt.references):
            number, reference = changed
            raise _refused(
                f"reference {number}, {reference.path}, was replaced or deleted while the "
                "model looked at it; the image was not stored: replay the prompt, which then "
                "shows what is there",
                retryable=True,
            )

    async def changed(self, references: Iterable[Reference]) -> tuple[int, Reference] | None:
        """Return the first of some references, with its number, that holds something else now.

        Args:
            references: with what they held before.

        Raises:
            StoreError: one cannot be looked up.
        """
        references = list(references)
        found = await asyncio.gather(
            *(self._find(each) for each in references), return_exceptions=True
        )
        for number, (reference, now) in enumerate(zip(references, found, strict=True), 1):
            if isinstance(now, StoreError):
                raise now
            if isinstance(now, BaseException) or now.content != reference.content:
                return number, reference
        return None

    async def _find(self, reference: Reference) -> _Found:
        path, now = reference.path, self._clock()
        known = self._known.get(path)
        if known is None or now - known[0] > self._refresh_s:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            task = asyncio.create_task(self._look_up(path))
            self._known[path] = known = (now, task)
        try:
            return await asyncio.shield(known[1])
        except StoreError:
            if self._known.get(path) is known:
                del self._known[path]
            raise

    async def _look_up(self, path: str) -> _Found:
        bucket, _, name = path.removeprefix("gs://").partition("/")
        async with self._semaphore:
            try:
                resource = await answer_of(
                    self._storage.download_metadata(bucket, name, timeout=REQUEST_TIMEOUT_S), bucket
                )
                content = _content_of(path, resource)
                first = await answer_of(
                    self._storage.download(
                        bucket, name, headers=_FIRST_BYTES, timeout=REQUEST_TIMEOUT_S
                    ),
                    bucket,
                )
            except StoreError as error:
                if error.status == 404:
                    raise _refused(
                        f"reference {path} is not there; put it there, and replay the prompt",
                        retryable=True,
                    ) from error
                raise
        mime_type = reference_type(first)
        if mime_type is None:
            raise _refused(f"reference {path} does not begin as {_TYPES_IN_WORDS} does")
        return _Found(content, mime_type)


_TYPES_IN_WORDS = "a PNG, JPEG, WebP, HEIC or HEIF picture"


def _content_of(path: str, resource: dict[str, Any]) -> str:
    """Return what the bytes of an object are told by.

    Raises:
        CallError: it is no picture that a model takes, by what its metadata says.
        StoreError: the answer is not that of Cloud Storage.
    """
    try:
        size, generation = int(resource["size"]), int(resource["generation"])
        md5, crc32c = resource.get("md5Hash"), resource["crc32c"]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"cannot read storage's answer for {path}: {type(error).__name__}", transient=True
        ) from error
    content_type = str(resource.get("contentType") or "").partition(";")[0].strip().lower()
    if content_type not in TYPES | _NO_TYPES:
        raise _refused(
            f"reference {path} has the type {content_type[:80]!r}; expected {_TYPES_IN_WORDS}"
        )
    if resource.get("contentEncoding") not in (None, "", "identity"):
        raise _refused(f"reference {path} is stored compressed; expected {_TYPES_IN_WORDS} itself")
    if not 0 < size <= MAX_BYTES:
        raise _refused(f"reference {path} has {size:,} bytes; expected 1 to {MAX_BYTES:,}")
    return content_of(path, size=size, md5=md5, crc32c=crc32c, generation=generation)


def _refused(detail: str, *, retryable: bool = False) -> CallError:
    return CallError(Reason.INVALID_PROMPT, detail, retry=Retry.NEVER, retryable=retryable)
