"""Chooses the model of a prompt: its own, the one that answers in its place, or a fallback."""

import logging
import time
from collections.abc import Awaitable, Callable

from beam_jobs.engine.hold import Gates, Wait
from beam_jobs.engine.image_set import AnsweredByAnotherModelError, ImageSet
from beam_jobs.engine.model_gate import ModelGate
from beam_jobs.engine.prompt_usage import PromptUsage
from beam_jobs.models.base import CallError
from beam_jobs.outcomes import Reason
from beam_jobs.prompts.alternative import renamed
from beam_jobs.prompts.parse import Prompt

_log = logging.getLogger(__name__)

# A model that another one answers for is asked again after so long, with one prompt. Models come
# back, if at all, after days. If it does not, the one prompt costs nothing more: what the other one
# answers is used, unless it was there already.
ASK_AGAIN_S = 3600.0


class ModelChoice:
    """Gets a prompt's images from the first model that makes them, and waits while all refuse.

    Args:
        gates: of the models; they name the fallbacks.
        by_its_model: returns the images of a prompt by the model that it names. Its arguments are
            the prompt, what adds up its cost, and the gate of a closed model that it is to try.
    """

    def __init__(
        self,
        gates: Gates,
        by_its_model: Callable[[Prompt, PromptUsage, ModelGate | None], Awaitable[ImageSet]],
    ) -> None:
        self._gates = gates
        self._answering = Answering(gates)
        self._by_its_model = by_its_model

    async def images(self, prompt: Prompt, usage: PromptUsage) -> ImageSet:
        """Return the prompt's images by its model, else by a fallback.

        Args:
            prompt: the prompt.
            usage: adds up what it costs.

        Raises:
            CallError: the prompt fails, or has waited for as long as it may.
            StoreError: storage fails.
        """
        wait = Wait(self._gates)
        turn: ModelGate | None = None
        while True:
            wanted = [prompt, *self._gates.fallbacks(prompt)]
            refusals: list[CallError] = []
            for each in wanted:
                try:
                    images = await self._by_answering(each, usage, turn)
                except CallError as error:
                    if not error.of_model:
                        raise
                    wait.note(self._answering.prompt(each).model, error)
                    refusals.append(error)
                else:
                    if images.model != each.model:
                        usage.add_other_model()
                    return images
            models = [self._answering.prompt(each).model for each in wanted]
            turn = await wait.after(refusals[0], models)

    async def _by_answering(
        self, wanted: Prompt, usage: PromptUsage, turn: ModelGate | None
    ) -> ImageSet:
        """Return the images by a prompt's model, or by the one that answers in its place."""
        prompt = self._answering.prompt(wanted)
        if self._answering.is_due(wanted.model):
            try:
                images = await self._by_its_model(wanted, usage, turn)
            except AnsweredByAnotherModelError as answer:
                self._answering.note(wanted.model, answer.prompt.model)
                prompt = answer.prompt
            except CallError as error:
                if error.reason is Reason.BLOCKED:  # whoever answered has judged the prompt
                    raise
                # Other details may hold words of the model, and these the prompt.
                why = error.detail if error.of_model else error.reason.value
                _log.warning("model %s does not answer itself yet: %s", wanted.model, why)
            else:
                if not images.reused:
                    self._answering.forget(wanted.model)
                return images
        while True:
            try:
                return await self._by_its_model(prompt, usage, turn)
            except AnsweredByAnotherModelError as answer:
                self._answering.note(prompt.model, answer.prompt.model)
                prompt = answer.prompt


class Answering:
    """Remembers who answers in place of whom.

    Prompts are then sent to the one that answers, because its images are stored under its name. The
    model itself is asked again now and then, and once the other one refuses every prompt.

    Args:
        gates: say which models refuse every prompt.
        clock: the time in seconds.
    """

    def __init__(self, gates: Gates, clock: Callable[[], float] = time.monotonic) -> None:
        self._gates = gates
        self._clock = clock
        self._answering: dict[str, str] = {}
        self._ask_at: dict[str, float] = {}

    def note(self, asked: str, answering: str) -> None:
        """Note that a model was asked, and another one answered."""
        self._ask_at[asked] = self._clock() + ASK_AGAIN_S
        if self._answering.get(asked) == answering:
            return
        self._answering[asked] = answering
        # Each would be sent to the other.
        self._answering.pop(answering, None)
        _log.error(
            "model %s was asked, and %s answered. Its images are stored and published as those "
            "of %s. Set --model to a model that is there",
            asked,
            answering,
            answering,
        )

    def forget(self, asked: str) -> None:
        """Note that a model answers its prompts itself."""
        if self._answering.pop(asked, None):
            _log.warning("model %s answers its prompts itself again", asked)

    def is_due(self, asked: str) -> bool:
        """Return whether a prompt is to ask a model that another one answers for; one at a time."""
        if asked not in self._answering or self._clock() < self._ask_at[asked]:
            return False
        self._ask_at[asked] = self._clock() + ASK_AGAIN_S
        return True

    def prompt(self, prompt: Prompt) -> Prompt:
        """Return `prompt` for the model that is known to answer it; itself if that is its own."""
        another = self._answering.get(prompt.model)
        if another is None:
            return prompt
        if self._gates.of(another).closed:
            del self._answering[prompt.model]
            return prompt
        return renamed(prompt, another)
