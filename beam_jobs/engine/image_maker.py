"""Pays for the images of prompts, and stores them."""

import asyncio
import contextlib
from collections.abc import Sequence

from beam_jobs.catalog import Tier
from beam_jobs.config.budgets import MICRO_PER_USD, Amount
from beam_jobs.engine.hold import Gates
from beam_jobs.engine.image_set import AnsweredByAnotherModelError, by_another_model
from beam_jobs.engine.model_calls import ModelCalls
from beam_jobs.engine.persist import Persist
from beam_jobs.engine.prompt_usage import PromptUsage
from beam_jobs.engine.purse import Purse
from beam_jobs.engine.references import References
from beam_jobs.engine.routes import RoutedModel
from beam_jobs.images.object_metadata import ImageMetadata, metadata_of
from beam_jobs.images.store import ImageStore
from beam_jobs.models.answer_memory import AnswerMemory
from beam_jobs.models.base import Image, ImageModel
from beam_jobs.models.bill import Bill
from beam_jobs.prompts.likely_cost import likely_micro_usd
from beam_jobs.prompts.parse import Prompt

# An answered call holds its images until they are stored. So calls between their start and the end
# of storing may exceed the maximum in flight by this factor, before new calls wait.
ROOM_OVER_IN_FLIGHT = 1.25
# While answers or images have waited for storage for so many seconds, no prompt is begun. A burst
# of 1,024 answers is stored in 5 s. Without this, all that are under way would wait when storage
# becomes slow, and the renewals of their claims alone, 64 a second, can be more than it serves.
MAX_LAG_S = 10.0
RECHECK_S = 0.1


class ImageMaker:
    """Makes images that are not stored yet. Use it from one event loop only.

    Args:
        store: stores the images.
        persist: sends the requests to it.
        calls: calls the models.
        answer_memory: limits how much of the models' answers is in memory.
        max_in_flight: maximum concurrent model calls.
        purse: holds the job's budgets.
        tier: of the calls, which decides what they are likely to cost.
        gates: are told whether the models take prompts.
        references: tells whether the pictures that the model was shown are still the same.
        metadata: what the objects of images say of them.
        published: whether its images are; if not, a custom function changes them first.
    """

    def __init__(
        self,
        *,
        store: ImageStore,
        persist: Persist,
        calls: ModelCalls,
        answer_memory: AnswerMemory,
        max_in_flight: int,
        purse: Purse,
        tier: Tier,
        gates: Gates,
        references: References,
        metadata: ImageMetadata = ImageMetadata.OFF,
        published: bool = True,
    ) -> None:
        self._store = store
        self._persist = persist
        self._calls = calls
        self._answer_memory = answer_memory
        self._call_semaphore = asyncio.Semaphore(int(max_in_flight * ROOM_OVER_IN_FLIGHT) + 1)
        # Held from a call's start to the end of storing if no write was accepted just before. If
        # storage then refuses all of them, no more was paid for than was in flight.
        self._unproven_semaphore = asyncio.Semaphore(max_in_flight)
        self._purse = purse
        self._tier = tier
        self._gates = gates
        self._references = references
        self._metadata = metadata
        self._published = published
        self._order = asyncio.Lock()

    async def ready(self) -> None:
        """Wait until storage keeps up with the images that are made, in order of arrival."""
        if self._lags() or self._order.locked():
            async with self._order:  # only the first looks
                while self._lags():  # noqa: ASYNC110 - a clock, no event
                    await asyncio.sleep(RECHECK_S)

    def _lags(self) -> bool:
        return max(self._answer_memory.lag_s, self._store.lag_s) > MAX_LAG_S

    async def make(
        self,
        model: ImageModel | RoutedModel,
        prompt: Prompt,
        indices: range,
        usage: PromptUsage,
        paths: dict[int, str],
    ) -> None:
        """Pay for images of a prompt and store them.

        Some models return fewer images than they are asked for. The others are asked for again.

        Args:
            model: the adapter, or the routes to the model.
            prompt: the prompt.
            indices: which of the prompt's images to make, with one call if possible.
            usage: adds up what they cost.
            paths: gets the path of each image by its index.

        Raises:
            AnsweredByAnotherModelError: the images are stored as those of another model.
            CallError: the model makes no image.
            StoreError: an image could not be stored.
        """
        async with self._call_semaphore, self._proof():
            while indices:
                count = await self._call_and_store(model, prompt, indices, usage, paths)
                indices = indices[count:]

    def _proof(self) -> contextlib.AbstractAsyncContextManager[None]:
        proven = self._store.writes.proven
        return contextlib.nullcontext() if proven else self._unproven_semaphore

    async def _call_and_store(
        self,
        model: ImageModel | RoutedModel,
        prompt: Prompt,
        indices: range,
        usage: PromptUsage,
        paths: dict[int, str],
    ) -> int:
        """Pay for one call and store its images; return how many of `indices` they are."""
        likely = likely_micro_usd(prompt, self._tier, images=len(indices))
        charge = await self._purse.spend(Amount(len(indices), likely))
        images: list[Image] = []
        bills: list[Bill] = []
        with self._answer_memory.slot() as answer_slot:
            try:
                gate = self._gates.of(prompt.model)
                answer = await self._calls.call(
                    model, gate, prompt, indices, usage, bills, answer_slot
                )
                images = answer.images
            finally:
                # More than was taken if a container returned more than it was asked for.
                charge.settle(Amount(len(images), _paid_micro_usd(bills, likely)))
            answer_slot.hold(sum(len(image.data) for image in images))
            usage.add_images(images)
            if prompt.references:
                await self._persist(
                    lambda: self._references.check_unchanged(prompt), failed=answer_slot.release
                )
            another = by_another_model(answer.bill.model_version, prompt)
            made = another or prompt
            usd = None if answer.bill.usd is None else answer.bill.usd / len(images)
            metadata = metadata_of(made, usd, self._metadata)

            async def store(index: int, image: Image) -> None:
                path = await self._persist(
                    lambda: self._store.put_image(
                        made.digest, index, image, metadata, thumbnail=self._published
                    ),
                    paid=True,
                    # If storage fails, let other answers be read meanwhile: they are paid for, and
                    # would be lost with their connections.
                    failed=answer_slot.release,
                )
                if not another:
                    paths[index] = path

            results = await asyncio.gather(
                # A container may return more than it was asked for.
                *(store(index, image) for index, image in zip(indices, images, strict=False)),
                return_exceptions=True,
            )
        for error in results:
            if error is not None:
                raise error
        if another:
            raise AnsweredByAnotherModelError(another)
        return len(results)


def _paid_micro_usd(bills: Sequence[Bill], likely: int | None) -> int | None:
    """Return what calls cost in millionths of a US dollar; of one that tells none, what is likely.

    Args:
        bills: of the calls.
        likely: what each was likely to cost; None if nothing is known of it.
    """
    if likely is None:
        return None
    return sum(likely if bill.usd is None else round(bill.usd * MICRO_PER_USD) for bill in bills)
