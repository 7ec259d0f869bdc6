"""Publishes images as a custom function has changed them, and keeps what the model made.

What the model made is stored first, under the digest that the prompt has without the function. So
it is paid for once, whatever the function does to it and however often: a prompt that is tried
again, and a new version of the function, begin with the stored image. What the function made is
stored under the digest of the prompt with the function, and its version, and never mixed up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from beam_jobs.custom.function import CustomFunctionError, Refusal
from beam_jobs.custom.postprocess import AT_ONCE, Postprocess
from beam_jobs.engine.image_set import AnsweredByAnotherModelError, ImageSet, raise_deciding
from beam_jobs.engine.persist import Persist
from beam_jobs.engine.prompt_usage import PromptUsage
from beam_jobs.images.object_metadata import ImageMetadata, metadata_of
from beam_jobs.images.receipt import RAW_DIGEST, Receipt, payer_of
from beam_jobs.images.store import ImageStore
from beam_jobs.models.base import CallError, Retry, blocked_error
from beam_jobs.outcomes import Reason, Work
from beam_jobs.prompts.alternative import changed_by
from beam_jobs.prompts.parse import Prompt


class Postprocessing:
    """Changes the images of prompts. Use it from one event loop only.

    Args:
        postprocess: calls the function.
        store: stores what it makes.
        persist: sends the requests to it.
        run: the stream, or the run of a backfill, whose deliveries these are.
        metadata: what the objects of images say of them.
    """

    def __init__(
        self,
        postprocess: Postprocess,
        *,
        store: ImageStore,
        persist: Persist,
        run: str,
        metadata: ImageMetadata,
    ) -> None:
        self._postprocess = postprocess
        self._store = store
        self._persist = persist
        self._run = run
        self._metadata = metadata
        # From reading an image to storing another: so many are in memory.
        self._semaphore = asyncio.Semaphore(AT_ONCE)

    async def images(
        self,
        prompt: Prompt,
        usage: PromptUsage,
        made_by_model: Callable[[Prompt], Awaitable[ImageSet]],
        created_at: Callable[[], str],
    ) -> ImageSet:
        """Return a prompt's images as the function has changed them.

        Args:
            prompt: the prompt, whose digest covers the function.
            usage: adds up what they cost.
            made_by_model: returns what the model makes of a prompt, which may cost something.
            created_at: returns the time for the record, in ISO 8601.

        Raises:
            AnsweredByAnotherModelError: the images are stored as those of another model.
            CallError: there is no image, or the function did not do its work.
            StoreError: storage fails.
        """
        stored = await self._persist(lambda: self._store.find(prompt.digest), paid=False)
        if stored.record is not None:
            receipt = Receipt.parse(stored.record)
            usage.add_receipt(receipt, payer_of(self._run, prompt.origin))
            known = list(stored.record["images"])
            return ImageSet(known, prompt.digest, prompt.model, reused=True, receipt=receipt)
        try:
            raw = await made_by_model(changed_by(prompt, None))
        except AnsweredByAnotherModelError as answer:
            other = changed_by(answer.prompt, prompt.postprocess)
            raise AnsweredByAnotherModelError(other) from None
        metadata = metadata_of(prompt, _usd_per_image(raw), self._metadata)
        results = await asyncio.gather(
            *(self._changed(prompt, index, path, metadata) for index, path in enumerate(raw.paths)),
            return_exceptions=True,
        )
        paths = [path for path in results if isinstance(path, str)]
        errors = [error for error in results if isinstance(error, BaseException)]
        raise_deciding(errors, stored=len(paths), wanted=len(raw.paths))
        receipt = raw.receipt or Receipt("", Work())
        recorded = await self._persist(
            lambda: self._store.put_record(
                prompt.digest,
                paths,
                deciding={**prompt.deciding, RAW_DIGEST: raw.digest},
                created_at=created_at(),
                receipt=receipt,
            )
        )
        return raw._replace(paths=list(recorded["images"]), digest=prompt.digest, receipt=receipt)

    async def _changed(
        self, prompt: Prompt, index: int, path: str, metadata: Mapping[str, str] | None
    ) -> str:
        """Return the path of an image as the function has changed it."""
        loop = asyncio.get_running_loop()
        async with self._semaphore:
            data = await self._persist(lambda: self._store.image(path))
            try:
                made = await loop.run_in_executor(
                    self._postprocess.pool, self._postprocess.image, data
                )
            except CustomFunctionError as error:
                raise CallError(
                    Reason.CUSTOM_FUNCTION_FAILED,
                    f"{error}; the image is kept, and is not paid for again",
                    retry=Retry.NEVER,
                    retryable=True,
                ) from None
            if isinstance(made, Refusal):
                raise blocked_error(made.detail)
            return await self._persist(
                lambda: self._store.put_image(prompt.digest, index, made, metadata)
            )


def _usd_per_image(raw: ImageSet) -> float | None:
    """Return what an image cost; None if that is not known."""
    if raw.receipt is None or raw.receipt.work.unpriced_calls:
        return None
    return raw.receipt.work.cost_usd / len(raw.paths)
