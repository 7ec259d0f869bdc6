"""Calls a model until it answers with an image, refuses, or the time for retries is over."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from beam_jobs.engine.backoff import backoff
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.model_gate import ModelGate
from beam_jobs.engine.prompt_usage import PromptUsage
from beam_jobs.engine.routes import Route, RoutedModel, RouteSlot
from beam_jobs.images.write_gate import WriteGate
from beam_jobs.models.answer_memory import AnswerSlot
from beam_jobs.models.base import Answer, CallError, ImageModel, Retry
from beam_jobs.models.bill import Bill
from beam_jobs.prompts.parse import Prompt

# After this many answers without an image the prompt fails, because each may be charged.
MAX_EMPTY_ANSWERS = 3


class ModelCalls:
    """The calls of a process to its models. Use it from one event loop only.

    Args:
        limiter: paces the calls of models that have no routes of their own.
        writes: holds calls back while storage refuses every write.
        max_retry_s: how many seconds a failing call is retried, counted from its first failure.
    """

    def __init__(self, limiter: AdaptiveLimiter, writes: WriteGate, max_retry_s: float) -> None:
        self._limiter = limiter
        self._writes = writes
        self._max_retry_s = max_retry_s

    async def call(
        self,
        model: ImageModel | RoutedModel,
        gate: ModelGate,
        prompt: Prompt,
        indices: range,
        usage: PromptUsage,
        bills: list[Bill],
        answer_slot: AnswerSlot,
    ) -> Answer:
        """Return the model's answer with at least one image.

        Args:
            model: the adapter, or the routes to the model.
            gate: is told whether the model takes prompts.
            prompt: the prompt.
            indices: which of the prompt's images to ask for.
            usage: adds up what the calls cost.
            bills: gets the bill of each call.
            answer_slot: holds the memory of the answer.

        Raises:
            CallError: the last call's, once no retry may help.
        """
        if not isinstance(model, RoutedModel):
            model = RoutedModel([Route(prompt.model, model, self._limiter)])
        if model.otherwise:
            until = time.monotonic() + model.otherwise_after_s
            try:
                return await self._call(
                    model, gate, prompt, indices, usage, bills, answer_slot, until
                )
            except (CallError, TimeoutError) as error:
                # What is answered is answered: another tier would refuse it too.
                if isinstance(error, CallError) and error.retry is not Retry.UNTIL_TIMEOUT:
                    raise
            model = model.otherwise
        return await self._call(model, gate, prompt, indices, usage, bills, answer_slot)

    async def _call(
        self,
        model: RoutedModel,
        gate: ModelGate,
        prompt: Prompt,
        indices: range,
        usage: PromptUsage,
        bills: list[Bill],
        answer_slot: AnswerSlot,
        until: float | None = None,
    ) -> Answer:
        """Return the model's answer with at least one image.

        Args:
            model: the routes to the model.
            gate: is told whether the model takes prompts.
            prompt: the prompt.
            indices: which of the prompt's images to ask for.
            usage: adds up what the calls cost.
            bills: gets the bill of each call.
            answer_slot: holds the memory of the answer.
            until: start calls only before this, by `time.monotonic`, and retry until then; None:
                for as long as retries may help.

        Raises:
            CallError: the last call's, once no retry may help.
            TimeoutError: no call could start before `until`.
        """
        failing_since: float | None = None
        attempts = empty_answers = 0
        tried: set[Route] = set()  # since the last pause
        while True:
            await self._writes.wait()
            error = None
            async with _slot(model, tried, until) as slot:
                if self._writes.closed:  # since the wait for the slot began
                    continue
                usage.add_call(slot.throttled_s)
                try:
                    with answer_slot.reading():
                        answer = await slot.route.model.generate(
                            prompt, first=indices.start, count=len(indices)
                        )
                except CallError as call_error:
                    error = call_error
            bills.append(error.bill if error else answer.bill)
            usage.add_bill(bills[-1])
            if error is None:
                slot.route.limiter.succeeded()
                model.answered(slot)
                gate.answered()
                return answer
            answer_slot.release()
            # These lead to stack frames that hold the answer: up to 27 MB while the prompt waits.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            self._note(error, model, slot, gate, usage)
            # Counted from the first failure, because waiting for a slot is not a failure.
            failing_since = failing_since or time.monotonic()
            if error.over_quota or error.overloaded or error.of_model:
                tried.add(slot.route)
                if model.has_room_besides(tried):
                    continue
            empty_answers += error.retry is Retry.LIMITED
            if error.retry is Retry.NEVER or empty_answers >= MAX_EMPTY_ANSWERS:
                raise error
            retry_until = failing_since + self._max_retry_s if until is None else until
            pause = backoff(attempts, error.retry_after_s, retry_until - time.monotonic())
            if pause is None:
                raise error
            attempts += 1
            tried.clear()
            if error.over_quota:
                usage.add_throttle(pause)
            await asyncio.sleep(pause)

    def _note(
        self,
        error: CallError,
        model: RoutedModel,
        slot: RouteSlot,
        gate: ModelGate,
        usage: PromptUsage,
    ) -> None:
        """Tell the limiter, the routes and the gate what a call's error says of the service."""
        limiter = slot.route.limiter
        if error.over_quota:
            usage.add_refusal()
            limiter.over_quota(slot.started_at, error.retry_after_s)
        elif error.overloaded:
            if not model.failed(slot, error):
                limiter.unavailable(slot.started_at, error.retry_after_s)
        elif error.retry is not Retry.UNTIL_TIMEOUT:
            limiter.succeeded()
            if error.of_model:
                model.failed(slot, error)
            else:
                model.answered(slot)
                gate.answered()


@contextlib.asynccontextmanager
async def _slot(
    model: RoutedModel, tried: set[Route], until: float | None
) -> AsyncIterator[RouteSlot]:
    """Hold a slot; raise a TimeoutError if there is none before `until`."""
    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout(None if until is None else max(0.0, until - time.monotonic())):
            slot = await stack.enter_async_context(model.slot(tried))
        yield slot
