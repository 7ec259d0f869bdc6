"""Looks reference images up in Cloud Storage, before anything is paid for what they are shown in.

A prompt's digest covers what they hold. A model reads them by their path, where another picture may
be by then, so they are looked at again once it has answered. Use it from one event loop only.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

import aiohttp
from gcloud.aio.storage import Storage

from beam_jobs.images.requests import REQUEST_TIMEOUT_S, StoreError, answer_of
from beam_jobs.models.base import CallError, Retry
from beam_jobs.outcomes import Reason
from beam_jobs.prompts.body import InvalidPromptError
from beam_jobs.prompts.parse import Prompt
from beam_jobs.prompts.reference_file import (
    FIRST_BYTES,
    ReferenceFile,
    ResourceError,
    content_in,
    type_in,
    with_files,
)
from beam_jobs.prompts.references import Reference

# For so long, a reference is not looked up again. Many prompts in a row show the same.
REFRESH_S = 10.0
MAX_KNOWN = 10_000
# Prompts are looked up as they come, before there is a limit to how many are under way.
LOOKUPS_AT_ONCE = 32
_FIRST_BYTES = {"Range": f"bytes=0-{FIRST_BYTES - 1}"}


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
        self._known: dict[str, tuple[float, asyncio.Task[ReferenceFile]]] = {}

    async def resolved(self, prompt: Prompt) -> Prompt:
        """Return `prompt` with what its references hold, and the digest that covers it.

        Raises:
            CallError: a reference is not there, or no picture that a model takes.
            StoreError: it cannot be looked up.
        """
        found = await asyncio.gather(*(self._find(each) for each in prompt.references))
        return with_files(prompt, found)

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

    async def _find(self, reference: Reference) -> ReferenceFile:
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

    async def _look_up(self, path: str) -> ReferenceFile:
        bucket, _, name = path.removeprefix("gs://").partition("/")
        async with self._semaphore:
            try:
                resource = await answer_of(
                    self._storage.download_metadata(bucket, name, timeout=REQUEST_TIMEOUT_S), bucket
                )
                content = content_in(path, resource)
                first = await answer_of(
                    self._storage.download(
                        bucket, name, headers=_FIRST_BYTES, timeout=REQUEST_TIMEOUT_S
                    ),
                    bucket,
                )
                found = ReferenceFile(content, type_in(path, first))
            except StoreError as error:
                if error.status == 404:
                    raise _refused(
                        f"reference {path} is not there; put it there, and replay the prompt",
                        retryable=True,
                    ) from error
                raise
            except ResourceError as error:
                raise StoreError(str(error), transient=True) from error
            except InvalidPromptError as error:
                raise _refused(str(error)) from error
        return found


def _refused(detail: str, *, retryable: bool = False) -> CallError:
    return CallError(Reason.INVALID_PROMPT, detail, retry=Retry.NEVER, retryable=retryable)
