"""Whether a prompt waits for its model, goes to a fallback, or fails."""

import asyncio
import dataclasses
import time
from collections.abc import Sequence

from beam_jobs.engine.model_gate import Hold, ModelGate, wait_for_any
from beam_jobs.models.base import CallError, Retry
from beam_jobs.outcomes import Reason
from beam_jobs.prompts.alternative import with_model
from beam_jobs.prompts.parse import Prompt

# A prompt that is refused so often, while others are answered in between, is refused for what it
# is. The pauses double: a role that was just given is not known to all of Google's servers at once.
MAX_OWN_REFUSALS = 4
FIRST_PAUSE_S = 1.0
# A worker works on a limited number of prompts, and a bundle is published as a whole. So prompts
# that wait hold up others. While the job's own model works, those of another model that has refused
# every prompt for so long wait no more.
GIVE_WAY_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class HoldPolicy:
    """How long prompts wait while their model refuses all of them.

    Attributes:
        max_hold_s: seconds that a prompt waits at most.
        default_model: the model of prompts that name none; the others give way to it. Empty for
            none.
        from_first_refusal: count the seconds from when the model began to refuse all prompts,
            rather than for each prompt: a backfill would wait for each of its batches.
        give_way_s: seconds that the prompts of other models wait while the default model works.
        first_pause_s: seconds until a prompt tries again that alone is refused.
    """

    max_hold_s: float = 0.0
    default_model: str = ""
    from_first_refusal: bool = False
    give_way_s: float = GIVE_WAY_S
    first_pause_s: float = FIRST_PAUSE_S


class Gates:
    """The gate of each model, and what stands in for one that refuses every prompt.

    Args:
        fallback_models: the models to use instead, in this order.
        policy: how long prompts wait.
    """

    def __init__(
        self, fallback_models: Sequence[str] = (), policy: HoldPolicy = HoldPolicy()
    ) -> None:
        self._fallback_models = tuple(fallback_models)
        self.policy = policy
        self._gates: dict[str, ModelGate] = {}

    def of(self, model: str) -> ModelGate:
        """Return the gate of a model."""
        if model not in self._gates:
            self._gates[model] = ModelGate(model)
        return self._gates[model]

    def fallbacks(self, prompt: Prompt) -> list[Prompt]:
        """Return `prompt` for each fallback model that can make it, in their order."""
        others = (name for name in self._fallback_models if name != prompt.model)
        return [other for name in others if (other := with_model(prompt, name)) is not None]

    def closed(self) -> list[ModelGate]:
        """Return the gates of models that refuse every prompt."""
        return [gate for gate in self._gates.values() if gate.closed]

    def until(self, gate: ModelGate, since: float) -> float:
        """Return until when a prompt waits, by `time.monotonic`.

        Args:
            gate: of the prompt's model.
            since: when the prompt was first refused or held.
        """
        policy, hold = self.policy, gate.hold
        if hold is None:
            return since + policy.max_hold_s
        if policy.from_first_refusal:
            return hold.started + policy.max_hold_s
        until = since + policy.max_hold_s
        default = self.of(policy.default_model)
        if not policy.default_model or default is gate or default.closed:
            return until
        # What both had in common, such as a role, may be mended. This one is about to be asked.
        return min(until, max(hold.started, default.opened_at) + policy.give_way_s)


class HeldError(CallError):
    """A prompt is not sent, because its model refuses every prompt."""

    def __init__(self, hold: Hold) -> None:
        detail = hold.detail.rstrip(". ")
        super().__init__(
            Reason.MODEL_ERROR,
            f"{detail}. {hold.model} has refused every prompt since {hold.since:%H:%M} UTC. Replay "
            "the prompt once that is mended, or run the job with --fallback_models",
            retry=Retry.NEVER,
            retryable=True,
            of_model=True,
        )


class Wait:
    """One prompt's wait for a model that takes it.

    Args:
        gates: those of all models, and how long prompts wait.
    """

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._since: float | None = None
        self._answers: dict[str, int] = {}
        self._alone = 0

    def note(self, model: str, error: CallError) -> None:
        """Note with what a model refused the prompt.

        Args:
            model: the model's name.
            error: what it answered; or that it was not asked.
        """
        gate = self._gates.of(model)
        if isinstance(error, HeldError):
            return
        answers = self._answers.setdefault(model, gate.answers)
        if gate.closed:
            self._answers[model] = gate.answers
            self._alone = 0
        elif gate.answers > answers:
            # It says nothing of the model: others were answered since this prompt was refused.
            self._alone += 1
            return
        gate.refused(error)

    async def after(self, error: CallError, models: Sequence[str]) -> ModelGate | None:
        """Wait until a model may take the prompt.

        Args:
            error: with what its own model refused it.
            models: those that can make it, its own first.

        Returns:
            The gate of the model that the prompt is to try although it is closed, if there is one.

        Raises:
            CallError: the time is over, or it is the prompt itself that is refused.
        """
        gates = [self._gates.of(model) for model in models]
        own = gates[0]
        if self._since is None:
            self._since = time.monotonic()
        if self._alone and not own.closed:
            if self._alone >= MAX_OWN_REFUSALS:
                raise error
            await asyncio.sleep(self._gates.policy.first_pause_s * 2 ** (self._alone - 1))
        while (remaining_s := self._gates.until(own, self._since) - time.monotonic()) > 0:
            # The default model may work again, and this prompt then gives way to it.
            turn = await wait_for_any(gates, min(remaining_s, self._gates.policy.give_way_s))
            if turn or not all(gate.closed for gate in gates):
                return turn
        raise HeldError(own.hold) if own.hold else error
