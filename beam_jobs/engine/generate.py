"""The work on one prompt: look up its images, generate and store them, and return the outcome.

Everything runs in one event loop, so plain dictionaries and counters need no locks.
"""

import asyncio
import dataclasses
import functools
import logging
import traceback
from collections.abc import Callable

from beam_jobs.catalog import Tier
from beam_jobs.custom.postprocess import Postprocess
from beam_jobs.engine.claims import ClaimedError, Claims, Wait
from beam_jobs.engine.finished import Finished
from beam_jobs.engine.hold import Gates
from beam_jobs.engine.image_maker import ROOM_OVER_IN_FLIGHT, ImageMaker
from beam_jobs.engine.image_set import (
    ImageSet,
)
from beam_jobs.engine.image_source import ImageSource, utc_now
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.model_calls import ModelCalls
from beam_jobs.engine.model_choice import ModelChoice
from beam_jobs.engine.model_gate import ModelGate
from beam_jobs.engine.persist import Persist
from beam_jobs.engine.postprocessing import Postprocessing
from beam_jobs.engine.prompt_usage import PromptUsage
from beam_jobs.engine.purse import Purse
from beam_jobs.engine.references import References
from beam_jobs.engine.routes import RoutedModel
from beam_jobs.engine.signed_urls import UrlSigner
from beam_jobs.images.object_metadata import ImageMetadata
from beam_jobs.images.receipt import payer_of
from beam_jobs.images.requests import StoreError
from beam_jobs.images.store import ImageStore
from beam_jobs.models.answer_memory import AnswerMemory
from beam_jobs.models.base import CallError, ImageModel
from beam_jobs.outcomes import Failure, Outcome, Prediction, Reason, Work
from beam_jobs.prompts.canary import Canary
from beam_jobs.prompts.defaults import STREAM
from beam_jobs.prompts.parse import Parsed, Prompt

_log = logging.getLogger(__name__)


class ImageGenerator:
    """Turns prompts into outcomes.

    Args:
        model_of: returns the adapter for a model's name, or the routes to it.
        store: stores the images.
        limiter: paces the model calls of this process that have no routes of their own.
        answer_memory: limits how much of the models' answers is in memory.
        max_in_flight: maximum concurrent model calls, the same as the limiter's ceiling.
        max_retry_s: how many seconds a failing call is retried, counted from its first failure.
        purse: holds the job's budgets.
        tier: of the calls, which decides what they are likely to cost.
        finished: remembers the images of prompts that are done, for equal ones that follow.
        source: the source that outcomes name: `stream` or `backfill:RUN`.
        run: the stream, or the run of a backfill, whose deliveries these are.
        gates: hold prompts back while a model refuses all of them; name the fallbacks.
        references: looks up the pictures that prompts show the model.
        metadata: what the objects of images say of them.
        signer: signs URLs of the images; None: predictions have none.
        postprocess: changes the images before they are published; None: nothing does.
    """

    def __init__(
        self,
        *,
        model_of: Callable[[str], ImageModel | RoutedModel],
        store: ImageStore,
        limiter: AdaptiveLimiter,
        answer_memory: AnswerMemory,
        max_in_flight: int,
        max_retry_s: float,
        purse: Purse,
        tier: Tier = Tier.STANDARD,
        finished: Finished,
        source: str,
        run: str = STREAM,
        gates: Gates,
        references: References,
        metadata: ImageMetadata = ImageMetadata.OFF,
        signer: UrlSigner | None = None,
        postprocess: Postprocess | None = None,
    ) -> None:
        self._signer = signer
        # Besides the limit on calls: a prompt for four images may need four calls.
        self._prompt_semaphore = asyncio.Semaphore(int(max_in_flight * ROOM_OVER_IN_FLIGHT) + 1)
        self._persist = Persist(store.writes, max_retry_s)
        self._claims = Claims(store, self._persist)
        maker = ImageMaker(
            store=store,
            persist=self._persist,
            calls=ModelCalls(limiter, store.writes, max_retry_s),
            answer_memory=answer_memory,
            max_in_flight=max_in_flight,
            purse=purse,
            tier=tier,
            gates=gates,
            references=references,
            metadata=metadata,
            published=postprocess is None,
        )
        self._images = ImageSource(
            store=store,
            persist=self._persist,
            claims=self._claims,
            maker=maker,
            model_of=model_of,
            gates=gates,
            source=source,
            run=run,
        )
        self._postprocessing = (
            Postprocessing(
                postprocess, store=store, persist=self._persist, run=run, metadata=metadata
            )
            if postprocess
            else None
        )
        self._finished = finished
        self._source = source
        self._run = run
        self._gates = gates
        self._references = references
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
            if item.references:
                item = await self._resolved(item)
                fail = functools.partial(self._failure, item, usage)
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
        urls = await self._signer.urls(found.paths) if self._signer else ()
        work = usage.work()
        if self._signer and not urls:
            work = dataclasses.replace(work, unsigned=len(found.paths))
        return dataclasses.replace(
            self._prediction(item, work),
            digest=found.digest,
            prompt=item.text,
            images=tuple(found.paths),
            signed_urls=urls,
            model=found.model,
            requested_model=item.model,
            # Images that another model made in its place are found under that one's name.
            reused=found.reused and not work.images and not usage.paid_before,
            model_version=usage.model_version,
            template=item.template or "",
            parameters=item.parameters,
        )

    async def _resolved(self, prompt: Prompt) -> Prompt:
        """Return a prompt whose digest covers what its references hold."""
        return await self._persist(lambda: self._references.resolved(prompt), paid=False)

    async def _shared(self, prompt: Prompt, usage: PromptUsage, turn: ModelGate | None) -> ImageSet:
        """Return the images of a prompt by its model; equal prompts in this process share them."""
        if leader := self._in_progress.get(prompt.digest):
            # The same prompt is in progress in this process. Wait for it instead of paying twice.
            usage.start()
            try:
                shared = await asyncio.shield(leader)
                # Of equal rows, any may be looked up first, and one is named as the payer.
                usage.add_receipt(shared.receipt, payer_of(self._run, prompt.origin))
                return shared._replace(reused=True)
            finally:
                usage.stop()
        if (known := self._finished.images(prompt.digest)) is not None:
            usage.add_receipt(known.receipt, payer_of(self._run, prompt.origin))
            return known._replace(reused=True)
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
        self._finished.add(prompt.digest, images)
        return images

    async def _by_its_model(
        self, prompt: Prompt, usage: PromptUsage, turn: ModelGate | None
    ) -> ImageSet:
        gate = self._gates.of(prompt.model)
        wait = Wait()
        while True:
            async with self._prompt_semaphore:
                if wait.since is None:
                    usage.start()
                try:
                    may_call = turn is gate or gate.may_try()
                    find = functools.partial(
                        self._images.images, usage=usage, wait=wait, may_call=may_call
                    )
                    if self._postprocessing is None:
                        return await find(prompt)
                    return await self._postprocessing.images(prompt, usage, find, utc_now)
                except ClaimedError as claimed:
                    digest = claimed.digest
                finally:
                    usage.stop()
            # Others work meanwhile: nothing is in flight for this one.
            await self._claims.wait(digest, self._payer(prompt), wait)

    def _payer(self, prompt: Prompt) -> str:
        return payer_of(self._run, prompt.origin)

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
            created_at=utc_now(),
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
            template=prompt.template or "",
            work=usage.work(),
        )
