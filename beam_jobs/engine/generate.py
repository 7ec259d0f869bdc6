"""The work on one prompt: look up its images, generate and store them, and return the outcome.

All retries are in this module. Everything runs in one event loop, so plain dictionaries and
counters need no locks.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import logging
import math
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import TypeVar

from beam_jobs.engine.backoff import backoff
from beam_jobs.engine.budget import Purse
from beam_jobs.engine.finished import Finished
from beam_jobs.engine.image_set import call_ranges, raise_deciding
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.prompt_usage import PromptUsage
from beam_jobs.images.refusals import Meaning
from beam_jobs.images.store import ImageStore, StoreError
from beam_jobs.models.answer_memory import AnswerSlot, AnswerSlots
from beam_jobs.models.base import CallError, Image, ImageModel, Retry
from beam_jobs.outcomes import Failure, Outcome, Prediction, Reason, Work
from beam_jobs.prompts.parse import Canary, Parsed, Prompt

_log = logging.getLogger(__name__)

# After this many answers without an image the prompt fails, because each may be charged.
MAX_EMPTY_ANSWERS = 3
# An answered call holds its images until they are stored. So calls between their start and the end
# of storing may exceed the maximum in flight by this factor, before new calls wait.
ROOM_OVER_IN_FLIGHT = 1.25

T = TypeVar("T")


class ImageGenerator:
    """Turns prompts into outcomes.

    Args:
        model_of: returns the adapter for a model's name.
        store: stores the images.
        limiter: paces the model calls of this process.
        answer_slots: limits how many model answers are in memory.
        max_in_flight: maximum concurrent model calls, the same as the limiter's ceiling.
        max_retry_s: how many seconds a failing call is retried, counted from its first failure.
        purse: holds the job's budgets.
        finished: remembers the images of prompts that are done, for equal ones that follow.
        source: the source that outcomes name: `stream` or `backfill:RUN`.
    """

    def __init__(
        self,
        *,
        model_of: Callable[[str], ImageModel],
        store: ImageStore,
        limiter: AdaptiveLimiter,
        answer_slots: AnswerSlots,
        max_in_flight: int,
        max_retry_s: float,
        purse: Purse,
        finished: Finished,
        source: str,
    ) -> None:
        self._model_of = model_of
        self._store = store
        self._limiter = limiter
        self._answer_slots = answer_slots
        # One limits prompts, the other calls: a prompt for four images may need four calls.
        max_under_way = int(max_in_flight * ROOM_OVER_IN_FLIGHT) + 1
        self._prompt_semaphore = asyncio.Semaphore(max_under_way)
        self._call_semaphore = asyncio.Semaphore(max_under_way)
        # Held from a call's start to the end of storing if no write was accepted just before. If
        # storage then refuses all of them, no more was paid for than was in flight.
        self._unproven_semaphore = asyncio.Semaphore(max_in_flight)
        self._max_retry_s = max_retry_s
        self._purse = purse
        self._finished = finished
        self._source = source
        self._in_progress: dict[str, asyncio.Future[list[str]]] = {}

    async def outcome(self, item: Parsed) -> Outcome:
        """Return the outcome of one prompt; a failure is returned as it is. Never raises."""
        if isinstance(item, Failure):
            return item
        if isinstance(item, Canary):
            return self._prediction(item, Work())
        usage = PromptUsage()
        try:
            images, reused = await self._images(item, usage)
        except CallError as error:
            return self._failure(
                item,
                usage,
                reason=error.reason,
                detail=error.detail,
                retryable=error.retryable,
            )
        except StoreError as error:
            return self._failure(
                item, usage, reason=Reason.STORAGE_ERROR, detail=str(error), retryable=True
            )
        except Exception as error:
            # A bug in this package must neither crash the job nor lose the prompt.
            # Without the error's text, which might quote the prompt.
            stack = "".join(traceback.format_tb(error.__traceback__))
            _log.error("unexpected %s on prompt %s\n%s", type(error).__name__, item.digest, stack)
            detail = f"unexpected {type(error).__name__}: {error}"[:500]
            return self._failure(
                item, usage, reason=Reason.MODEL_ERROR, detail=detail, retryable=True
            )
        return dataclasses.replace(
            self._prediction(item, usage.work()),
            digest=item.digest,
            prompt=item.text,
            images=tuple(images),
            model=item.model,
            reused=reused,
            parameters=item.parameters,
        )

    async def _images(self, prompt: Prompt, usage: PromptUsage) -> tuple[list[str], bool]:
        """Return the paths of the images, and whether all of them existed already."""
        if leader := self._in_progress.get(prompt.digest):
            # The same prompt is in progress in this process. Wait for it instead of paying twice.
            return await asyncio.shield(leader), True
        if (known := self._finished.images(prompt.digest)) is not None:
            return list(known), True
        future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._in_progress[prompt.digest] = future
        try:
            async with self._prompt_semaphore:
                usage.start()
                images, reused = await self._find_or_generate(prompt, usage)
                usage.stop()
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
        self._finished.add(prompt.digest, images)
        return images, reused

    async def _find_or_generate(self, prompt: Prompt, usage: PromptUsage) -> tuple[list[str], bool]:
        stored = await self._persist(lambda: self._store.find(prompt.digest), paid=False)
        if stored.record is not None:
            return list(stored.record["images"]), True
        paths = {i: path for i, path in stored.images.items() if i < prompt.images}
        missing = [i for i in range(prompt.images) if i not in paths]
        model = self._model_of(prompt.model)
        results = await asyncio.gather(
            *(
                self._generate_and_store(model, prompt, group, usage, paths)
                for group in call_ranges(missing, model.images_per_call)
            ),
            return_exceptions=True,
        )
        errors = [result for result in results if result is not None]
        raise_deciding(errors, stored=len(paths), wanted=prompt.images)
        images = [paths[i] for i in sorted(paths)]
        created_at = _utc_now()
        return await self._persist(
            lambda: self._store.put_record(prompt, images, created_at)
        ), not missing

    async def _generate_and_store(
        self,
        model: ImageModel,
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
        model: ImageModel,
        prompt: Prompt,
        indices: range,
        usage: PromptUsage,
        paths: dict[int, str],
    ) -> int:
        """Pay for one call and store its images; return how many of `indices` they are."""
        charge = await self._purse.spend(len(indices))
        images: list[Image] = []
        with self._answer_slots.slot() as answer_slot:
            try:
                images = await self._call(model, prompt, indices, usage, answer_slot)
            finally:
                # Below 0 if a container returned more than it was asked for.
                charge.refund(len(indices) - len(images))
            usage.add_images(images)

            async def store(index: int, image: Image) -> None:
                paths[index] = await self._persist(
                    lambda: self._store.put_image(prompt.digest, index, image),
                    paid=True,
                    # If storage fails, let other answers be read meanwhile: they are paid for, and
                    # would be lost with their connections.
                    failed=answer_slot.release,
                )

            results = await asyncio.gather(
                # A container may return more than it was asked for.
                *(store(index, image) for index, image in zip(indices, images, strict=False)),
                return_exceptions=True,
            )
        for error in results:
            if error is not None:
                raise error
        return len(results)

    async def _call(
        self,
        model: ImageModel,
        prompt: Prompt,
        indices: range,
        usage: PromptUsage,
        answer_slot: AnswerSlot,
    ) -> list[Image]:
        """Call the model until it returns an image, refuses, or the time for retries is over."""
        failing_since: float | None = None
        attempts = empty_answers = 0
        while True:
            await self._store.writes.wait()
            error = None
            async with self._limiter.slot() as call_slot:
                if self._store.writes.closed:  # since the wait for the slot began
                    continue
                usage.add_call(call_slot.throttled_s)
                try:
                    with answer_slot.reading():
                        images = await model.generate(
                            prompt, first=indices.start, count=len(indices)
                        )
                except CallError as call_error:
                    error = call_error
            if error is None:
                self._limiter.succeeded()
                return images
            answer_slot.release()
            if error.over_quota:
                usage.add_refusal()
                self._limiter.over_quota(call_slot.started_at, error.retry_after_s)
            elif error.overloaded:
                self._limiter.unavailable(call_slot.started_at, error.retry_after_s)
            elif error.retry is not Retry.UNTIL_TIMEOUT:
                self._limiter.succeeded()
            # Counted from the first failure, because waiting for a slot is not a failure.
            failing_since = failing_since or time.monotonic()
            empty_answers += error.retry is Retry.LIMITED
            if error.retry is Retry.NEVER or empty_answers >= MAX_EMPTY_ANSWERS:
                raise error
            pause = backoff(attempts, error.retry_after_s, self._remaining_s(failing_since))
            if pause is None:
                raise error
            attempts += 1
            if error.over_quota:
                usage.add_throttle(pause)
            await asyncio.sleep(pause)

    async def _persist(
        self,
        request: Callable[[], Awaitable[T]],
        *,
        paid: bool = True,
        failed: Callable[[], None] = lambda: None,
    ) -> T:
        """Retry a storage request until it succeeds or the time for retries is over.

        Args:
            request: sends the request.
            paid: whether it is about images that are paid for. If it is not, there is no limit to
                the time while storage refuses every write: the prompt waits as backlog.
            failed: called before each retry.
        """
        failing_since: float | None = None
        attempts = 0
        while True:
            try:
                return await request()
            except StoreError as error:
                failing_since = failing_since or time.monotonic()
                remaining_s = self._remaining_s(failing_since)
                # What is paid for is tried once more at the end, whatever the service asks for.
                requested_s = min(error.retry_after_s or 0.0, remaining_s if paid else math.inf)
                pause = backoff(attempts, requested_s, remaining_s) if error.transient else None
                if pause is None:
                    passing = error.transient or error.meaning is Meaning.OPERATOR
                    if paid or not passing or not self._store.writes.closed:
                        raise
                    await self._store.writes.wait()
                    failing_since, attempts = None, 0
                    continue
                attempts += 1
                failed()
                await asyncio.sleep(pause)

    def _remaining_s(self, failing_since: float) -> float:
        return failing_since + self._max_retry_s - time.monotonic()

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


def _utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
