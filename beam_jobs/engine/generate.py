"""The work on one prompt: look up its images, generate and store them, and return the outcome.

Everything runs in one event loop, so plain dictionaries and counters need no locks.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import functools
import logging
import traceback
from collections.abc import Callable, Sequence

from beam_jobs.catalog import Tier
from beam_jobs.config.budgets import MICRO_PER_USD, Amount
from beam_jobs.engine.budget import Purse
from beam_jobs.engine.finished import Finished
from beam_jobs.engine.hold import Gates, HeldError
from beam_jobs.engine.image_set import (
    AnsweredByAnotherModelError,
    ImageSet,
    by_another_model,
    call_ranges,
    raise_deciding,
)
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.model_calls import ModelCalls
from beam_jobs.engine.model_choice import ModelChoice
from beam_jobs.engine.model_gate import ModelGate
from beam_jobs.engine.persist import Persist
from beam_jobs.engine.prompt_usage import PromptUsage
from beam_jobs.engine.routes import RoutedModel
from beam_jobs.images.store import ImageStore, StoreError
from beam_jobs.models.answer_memory import AnswerSlots
from beam_jobs.models.base import CallError, Image, ImageModel
from beam_jobs.models.bill import Bill
from beam_jobs.outcomes import Failure, Outcome, Prediction, Reason, Work
from beam_jobs.prompts.likely_cost import likely_micro_usd
from beam_jobs.prompts.parse import Canary, Parsed, Prompt

_log = logging.getLogger(__name__)

# An answered call holds its images until they are stored. So calls between their start and the end
# of storing may exceed the maximum in flight by this factor, before new calls wait.
ROOM_OVER_IN_FLIGHT = 1.25


class ImageGenerator:
    """Turns prompts into outcomes.

    Args:
        model_of: returns the adapter for a model's name, or the routes to it.
        store: stores the images.
        limiter: paces the model calls of this process that have no routes of their own.
        answer_slots: limits how many model answers are in memory.
        max_in_flight: maximum concurrent model calls, the same as the limiter's ceiling.
        max_retry_s: how many seconds a failing call is retried, counted from its first failure.
        purse: holds the job's budgets.
        tier: of the calls, which decides what they are likely to cost.
        finished: remembers the images of prompts that are done, for equal ones that follow.
        source: the source that outcomes name: `stream` or `backfill:RUN`.
        gates: hold prompts back while a model refuses all of them; name the fallbacks.
    """

    def __init__(
        self,
        *,
        model_of: Callable[[str], ImageModel | RoutedModel],
        store: ImageStore,
        limiter: AdaptiveLimiter,
        answer_slots: AnswerSlots,
        max_in_flight: int,
        max_retry_s: float,
        purse: Purse,
        tier: Tier = Tier.STANDARD,
        finished: Finished,
        source: str,
        gates: Gates,
    ) -> None:
        self._model_of = model_of
        self._store = store
        self._answer_slots = answer_slots
        # One limits prompts, the other calls: a prompt for four images may need four calls.
        max_under_way = int(max_in_flight * ROOM_OVER_IN_FLIGHT) + 1
        self._prompt_semaphore = asyncio.Semaphore(max_under_way)
        self._call_semaphore = asyncio.Semaphore(max_under_way)
        # Held from a call's start to the end of storing if no write was accepted just before. If
        # storage then refuses all of them, no more was paid for than was in flight.
        self._unproven_semaphore = asyncio.Semaphore(max_in_flight)
        self._persist = Persist(store.writes, max_retry_s)
        self._purse = purse
        self._tier = tier
        self._finished = finished
        self._source = source
        self._gates = gates
        self._calls = ModelCalls(limiter, store.writes, max_retry_s)
        self._in_progress: dict[str, asyncio.Future[ImageSet]] = {}
        self._choice = ModelChoice(gates, self._shared)

    async def outcome(self, item: Parsed) -> Outcome:
        """Return the outcome of one prompt; a failure is returned as it is. Never raises."""
        if isinstance(item, Failure):
            return item
        if isinstance(item, Canary):
            return self._prediction(item, Work())
        usage = PromptUsage()
        fail = functools.partial(self._failure, item, usage)
        try:
            found = await self._choice.images(item, usage)
        except CallError as error:
            return fail(reason=error.reason, detail=error.detail, retryable=error.retryable)
        except StoreError as error:
            return fail(reason=Reason.STORAGE_ERROR, detail=str(error), retryable=True)
        except Exception as error:
            # A bug in this package must neither crash the job nor lose the prompt.
            # Without the error's text, which might quote the prompt.
            stack = "".join(traceback.format_tb(error.__traceback__))
            _log.error("unexpected %s on prompt %s\n%s", type(error).__name__, item.digest, stack)
            detail = f"unexpected {type(error).__name__}: {error}"[:500]
            return fail(reason=Reason.MODEL_ERROR, detail=detail, retryable=True)
        return dataclasses.replace(
            self._prediction(item, usage.work()),
            digest=found.digest,
            prompt=item.text,
            images=tuple(found.paths),
            model=found.model,
            requested_model=item.model,
            reused=found.reused,
            model_version=usage.model_version,
            template=item.template or "",
            parameters=item.parameters,
        )

    async def _shared(self, prompt: Prompt, usage: PromptUsage, turn: ModelGate | None) -> ImageSet:
        """Return the images of a prompt by its model; equal prompts in this process share them."""
        if leader := self._in_progress.get(prompt.digest):
            # The same prompt is in progress in this process. Wait for it instead of paying twice.
            usage.start()
            try:
                return (await asyncio.shield(leader))._replace(reused=True)
            finally:
                usage.stop()
        if (known := self._finished.images(prompt.digest)) is not None:
            return ImageSet(list(known), prompt.digest, prompt.model, reused=True)
        future: asyncio.Future[ImageSet] = asyncio.get_running_loop().create_future()
        self._in_progress[prompt.digest] = future
        try:
            images = await self._by_its_model(prompt, usage, turn)
        except BaseException as error:
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # mark it as retrieved, in case no other prompt waits for it
            else:
                future.cancel()
            raise
        finally:
            del self._in_progress[prompt.digest]
        future.set_result(images)
        self._finished.add(prompt.digest, images.paths)
        return images

    async def _by_its_model(
        self, prompt: Prompt, usage: PromptUsage, turn: ModelGate | None
    ) -> ImageSet:
        gate = self._gates.of(prompt.model)
        async with self._prompt_semaphore:
            usage.start()
            try:
                may_call = turn is gate or gate.may_try()
                return await self._find_or_generate(prompt, usage, may_call=may_call)
            finally:
                usage.stop()

    async def _find_or_generate(
        self, prompt: Prompt, usage: PromptUsage, *, may_call: bool
    ) -> ImageSet:
        stored = await self._persist(lambda: self._store.find(prompt.digest), paid=False)
        if stored.record is not None:
            return ImageSet(list(stored.record["images"]), prompt.digest, prompt.model, reused=True)
        paths = {i: path for i, path in stored.images.items() if i < prompt.images}
        missing = [i for i in range(prompt.images) if i not in paths]
        gate = self._gates.of(prompt.model)
        if missing and gate.hold and not may_call:
            raise HeldError(gate.hold)
        model = self._model_of(prompt.model)
        results = await asyncio.gather(
            *(
                self._generate_and_store(model, prompt, group, usage, paths)
                for group in call_ranges(missing, model.images_per_call)
            ),
            return_exceptions=True,
        )
        errors = [result for result in results if result is not None]
        for error in errors:
            if isinstance(error, AnsweredByAnotherModelError):
                raise error
        raise_deciding(errors, stored=len(paths), wanted=prompt.images)
        images = [paths[i] for i in sorted(paths)]
        created_at = _utc_now()
        recorded = await self._persist(lambda: self._store.put_record(prompt, images, created_at))
        return ImageSet(recorded, prompt.digest, prompt.model, reused=not missing)

    async def _generate_and_store(
        self,
        model: ImageModel | RoutedModel,
        prompt: Prompt,
        indices: range,
        usage: PromptUsage,
        paths: dict[int, str],
    ) -> None:
        """Pay for the images `indices` and store them; add their paths by index to `paths`.

        Some models return fewer images than they are asked for. The others are asked for again.
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
        with self._answer_slots.slot() as answer_slot:
            try:
                gate = self._gates.of(prompt.model)
                answer = await self._calls.call(
                    model, gate, prompt, indices, usage, bills, answer_slot
                )
                images = answer.images
            finally:
                # More than was taken if a container returned more than it was asked for.
                charge.settle(Amount(len(images), _paid_micro_usd(bills, likely)))
            usage.add_images(images)
            another = by_another_model(answer.bill.model_version, prompt)
            digest = (another or prompt).digest

            async def store(index: int, image: Image) -> None:
                path = await self._persist(
                    lambda: self._store.put_image(digest, index, image),
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

    def _prediction(self, item: Prompt | Canary, work: Work) -> Prediction:
        """Return the prediction for a canary; for a prompt, `outcome` adds the rest."""
        return Prediction(
            prompt_id=item.prompt_id,
            deduplication_key=item.deduplication_key,
            digest="",
            prompt="",
            images=(),
            model="",
            source=self._source,
            reused=False,
            created_at=_utc_now(),
            latency_ms=work.latency_ms,
            attributes=item.attributes,
            work=work,
        )

    def _failure(
        self, prompt: Prompt, usage: PromptUsage, *, reason: Reason, detail: str, retryable: bool
    ) -> Failure:
        return Failure(
            prompt_id=prompt.prompt_id,
            deduplication_key=prompt.deduplication_key,
            reason=reason,
            detail=detail,
            retryable=retryable,
            attempts=usage.calls,
            body=prompt.body,
            attributes=prompt.attributes,
            source=self._source,
            work=usage.work(),
        )


def _paid_micro_usd(bills: Sequence[Bill], likely: int | None) -> int | None:
    """Return what calls cost in millionths of a US dollar; of one that tells none, what is likely.

    Args:
        bills: of the calls.
        likely: what each was likely to cost; None if nothing is known of it.
    """
    if likely is None:
        return None
    return sum(likely if bill.usd is None else round(bill.usd * MICRO_PER_USD) for bill in bills)


def _utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
