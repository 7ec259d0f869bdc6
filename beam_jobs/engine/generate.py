"""The work on one prompt: look up, generate, store; one coroutine each, and no exception leaves.

Retries live here and nowhere else. Everything runs on one event loop, so plain dictionaries and
counters need no locks.
"""

import asyncio
import datetime
import functools
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.prompt_usage import PromptUsage
from beam_jobs.images.store import ImageStore, StoreError
from beam_jobs.models.answer_memory import AnswerSlot, AnswerSlots
from beam_jobs.models.base import CallError, Image, ImageModel, Retry
from beam_jobs.outcomes import Failure, Outcome, Prediction, Reason, Work
from beam_jobs.prompts.parse import Canary, Parsed, Prompt

_log = logging.getLogger(__name__)

# Exponential backoff with full jitter: https://aws.amazon.com/blogs/architecture/
# exponential-backoff-and-jitter/. The cap is about what one image takes.
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
# How often an answer without an image is asked for again: each may be charged.
MAX_EMPTY_ANSWERS = 3
# Calls that were answered hold images until they are stored: so many more than are in flight may be
# under way before new ones wait.
ROOM_OVER_IN_FLIGHT = 1.25

T = TypeVar("T")


class Generator:
    """AnswerSlots prompts into outcomes.

    Args:
        model_of: gives the adapter for a model's name.
        store: where images go.
        limiter: paces the model calls of this process.
        answer_slots: bounds how many of their answers are in memory.
        max_in_flight: most model calls at once, as the limiter's ceiling.
        max_retry_s: how long a failing call is repeated, from its first failure.
        max_images: how many images this process may pay for, or None.
        source: what predictions say they come from.
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
        max_images: int | None,
        source: str,
    ) -> None:
        self._model_of = model_of
        self._store = store
        self._limiter = limiter
        self._answer_slots = answer_slots
        # Of prompts, which are looked up; and of calls, for a prompt of four images may take four.
        room = int(max_in_flight * ROOM_OVER_IN_FLIGHT) + 1
        self._room = asyncio.Semaphore(room)
        self._calls_room = asyncio.Semaphore(room)
        self._max_retry_s = max_retry_s
        self._budget = max_images
        self._source = source
        self._making: dict[str, asyncio.Future[list[str]]] = {}

    async def outcome(self, item: Parsed) -> Outcome:
        """Do the work on one prompt; a failure has ended already. Raises only cancellation."""
        if isinstance(item, Failure):
            return item
        if isinstance(item, Canary):
            return self._prediction(item.prompt_id, "", "", [], "", False, item, Work())
        usage = PromptUsage()
        try:
            images, reused = await self._images(item, usage)
        except CallError as error:
            return self._failure(item, error.reason, error.detail, error.replayable, usage)
        except StoreError as error:
            return self._failure(item, Reason.STORAGE_ERROR, str(error), True, usage)
        except Exception as error:
            # A fault of ours must neither crash the job nor lose the prompt.
            _log.exception("unexpected error on prompt %s", item.digest)
            detail = f"unexpected {type(error).__name__}: {error}"[:500]
            return self._failure(item, Reason.MODEL_ERROR, detail, True, usage)
        return self._prediction(
            item.prompt_id, item.digest, item.text, images, item.model, reused, item, usage.work()
        )

    async def _images(self, prompt: Prompt, usage: PromptUsage) -> tuple[list[str], bool]:
        """Return the paths, and whether somebody had made them before."""
        if leader := self._making.get(prompt.digest):
            # The same prompt is under way in this process: wait for it instead of paying again.
            return await asyncio.shield(leader), True
        future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._making[prompt.digest] = future
        try:
            async with self._room:
                usage.start()
                images, reused = await self._find_or_make(prompt, usage)
                usage.stop()
        except BaseException as error:
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # nobody may be waiting for it
            else:
                future.cancel()
            raise
        finally:
            del self._making[prompt.digest]
        future.set_result(images)
        return images, reused

    async def _find_or_make(self, prompt: Prompt, usage: PromptUsage) -> tuple[list[str], bool]:
        found = await self._persist(lambda: self._store.find(prompt.digest))
        if found.record is not None:
            return list(found.record["images"]), True
        paths = {i: path for i, path in found.images.items() if i < prompt.images}
        missing = [i for i in range(prompt.images) if i not in paths]
        model = self._model_of(prompt.model)
        results = await asyncio.gather(
            *(
                self._make(model, prompt, group, usage)
                for group in _calls(missing, model.images_per_call)
            ),
            return_exceptions=True,
        )
        errors = []
        for result in results:
            if isinstance(result, BaseException):
                errors.append(result)
            else:
                paths |= result
        _raise_worst(errors, complete=bool(paths))
        images = [paths[i] for i in sorted(paths)]
        created_at = _now()
        return await self._persist(
            lambda: self._store.put_record(prompt, images, created_at)
        ), not missing

    async def _make(
        self, model: ImageModel, prompt: Prompt, indices: range, usage: PromptUsage
    ) -> dict[int, str]:
        """Pay for one call, and store what it gave: index to path."""
        async with self._calls_room:
            self._spend(len(indices))
            images: list[Image] = []
            with self._answer_slots.slot() as answer_slot:
                try:
                    images = await self._call(model, prompt, indices, usage, answer_slot)
                finally:
                    self._refund(len(indices) - len(images))
                usage.add_images(images)
                paths = {}
                for index, image in zip(indices, images, strict=False):
                    put = functools.partial(self._store.put_image, prompt.digest, index, image)
                    # While storage fails answers are read all the same: they are paid for, and
                    # lost with their connections.
                    paths[index] = await self._persist(put, failed=answer_slot.release)
        return paths

    async def _call(
        self,
        model: ImageModel,
        prompt: Prompt,
        indices: range,
        usage: PromptUsage,
        answer_slot: AnswerSlot,
    ) -> list[Image]:
        """Call the model until it answers, refuses, or the time for retries is over."""
        failing_since: float | None = None
        tries = empty = 0
        while True:
            error = None
            async with self._limiter.slot() as call_slot:
                usage.add_call(call_slot.throttled_s)
                try:
                    with answer_slot.reading():
                        images = await model.generate(
                            prompt, first=indices.start, count=len(indices)
                        )
                except CallError as caught:
                    error = caught
            if error is None:
                self._limiter.succeeded()
                return images
            answer_slot.release()
            if error.over_quota:
                usage.add_refusal()
                self._limiter.over_quota(call_slot.started_at, error.retry_after_s)
            elif error.overloaded:
                self._limiter.unavailable(call_slot.started_at, error.retry_after_s)
            else:
                self._limiter.succeeded()
            # From the first failure, not from the start: waiting for a slot is no failing.
            failing_since = failing_since or time.monotonic()
            empty += error.retry is Retry.FEW
            if error.retry is Retry.NEVER or empty >= MAX_EMPTY_ANSWERS:
                raise error
            pause = _backoff(tries, error.retry_after_s, self._left_s(failing_since))
            if pause is None:
                raise error
            tries += 1
            if error.over_quota:
                usage.add_throttle(pause)
            await asyncio.sleep(pause)

    async def _persist(
        self, request: Callable[[], Awaitable[T]], *, failed: Callable[[], None] = lambda: None
    ) -> T:
        """Repeat a storage request until it is done or the time for retries is over.

        `failed` is called when it has failed and is to be repeated.
        """
        failing_since: float | None = None
        tries = 0
        while True:
            try:
                return await request()
            except StoreError as error:
                failing_since = failing_since or time.monotonic()
                pause = _backoff(tries, error.retry_after_s, self._left_s(failing_since))
                if pause is None or not error.transient:
                    raise
                tries += 1
                failed()
                await asyncio.sleep(pause)

    def _left_s(self, failing_since: float) -> float:
        return failing_since + self._max_retry_s - time.monotonic()

    def _spend(self, images: int) -> None:
        if self._budget is None:
            return
        if self._budget < images:
            raise CallError(
                Reason.UNAVAILABLE,
                f"budget of --max_images is used up: {self._budget} left, {images} wanted; raise "
                "it, or replay this prompt in a run that has a budget of its own",
                retry=Retry.NEVER,
                replayable=True,
            )
        self._budget -= images

    def _refund(self, images: int) -> None:
        if self._budget is not None:
            self._budget += images

    def _prediction(
        self,
        prompt_id: str,
        digest: str,
        text: str,
        images: list[str],
        model: str,
        reused: bool,
        item: Prompt | Canary,
        work: Work,
    ) -> Prediction:
        return Prediction(
            prompt_id=prompt_id,
            digest=digest,
            prompt=text,
            images=tuple(images),
            model=model,
            source=self._source,
            reused=reused,
            created_at=_now(),
            latency_ms=work.latency_ms,
            attributes=item.attributes,
            work=work,
        )

    def _failure(
        self, prompt: Prompt, reason: Reason, detail: str, retryable: bool, usage: PromptUsage
    ) -> Failure:
        return Failure(
            prompt_id=prompt.prompt_id,
            reason=reason,
            detail=detail,
            retryable=retryable,
            attempts=usage.calls,
            body=prompt.body,
            attributes=prompt.attributes,
            source=self._source,
            work=usage.work(),
        )


def _calls(missing: list[int], most: int) -> list[range]:
    """Return the runs of consecutive indices to ask for, none longer than `most`."""
    runs: list[range] = []
    for index in missing:
        if runs and runs[-1].stop == index and len(runs[-1]) < most:
            runs[-1] = range(runs[-1].start, index + 1)
        else:
            runs.append(range(index, index + 1))
    return runs


def _raise_worst(errors: list[BaseException], *, complete: bool) -> None:
    """Raise the error that decides the prompt's end, if one does.

    Where some images are there and the others were refused or came out empty, the prompt has
    what it can get. Whatever may go well another time makes it a failure to be replayed; the
    images that are there are kept for that.
    """
    final = (Reason.BLOCKED, Reason.NO_IMAGE)
    for error in errors:
        if not (isinstance(error, CallError) and error.reason in final):
            raise error
    if errors and not complete:
        raise errors[0]


def _backoff(tries: int, retry_after_s: float | None, left_s: float) -> float | None:
    """Return how long to wait before the next try, or None where the time for tries is over.

    The last try comes at the very end of that time, and not before what the service asked for. (It
    may wait for its slot then, as any call does: with little quota left that is the longer part.)
    """
    asked_s = retry_after_s or 0.0
    if left_s <= 0 or asked_s > left_s:
        return None
    most = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(tries, 16))
    return min(left_s, max(random.uniform(0, most), asked_s))  # noqa: S311 - jitter


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
