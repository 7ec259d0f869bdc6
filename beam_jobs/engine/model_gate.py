"""Holds a model's prompts back while the model refuses all of them.

A model that is gone, or that the project may not use any more, refuses every prompt until somebody
mends it. Turning the whole backlog into dead letters helps nobody, so prompts wait, and one of them
tries now and then.
"""

import asyncio
import dataclasses
import datetime
import logging
import time
from collections.abc import Sequence

from beam_jobs.models.base import CallError

_log = logging.getLogger(__name__)

# So many prompts in a row have to be refused before the others wait. One that is refused while
# others are answered is refused for what it is.
CLOSE_AFTER = 3
# Seconds until a waiting prompt tries; doubled after each refusal, up to the maximum.
FIRST_PROBE_S = 1.0
MAX_PROBE_S = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """Why and since when a model's prompts wait.

    Attributes:
        model: the model's name.
        since: when the model began to refuse all of them.
        started: the same by `time.monotonic`.
        detail: what it answers.
    """

    model: str
    since: datetime.datetime
    started: float
    detail: str


class ModelGate:
    """Whether a model answers at all. Use it from one event loop only.

    Prompts that wait try in turn: one that was refused goes to the end of the queue. So one that is
    refused for what it is holds nobody up.

    Args:
        model: the model's name.
        first_probe_s: seconds until the first waiting prompt tries.

    Attributes:
        answers: how many prompts the model took so far.
        hold: why and since when its prompts wait; None if it takes them.
        opened_at: since when it takes them again, by `time.monotonic`; 0 if it always did.
    """

    def __init__(self, model: str, *, first_probe_s: float = FIRST_PROBE_S) -> None:
        self._model = model
        self._first_probe_s = first_probe_s
        self._probe_s = first_probe_s
        self._refusals = 0
        self._last_refusal: CallError | None = None
        self._refused_at = float("-inf")
        self._trying = False
        self._due = False
        self._timer: asyncio.TimerHandle | None = None
        # In the order of their turns. A dictionary, because they leave from anywhere.
        self._waiting: dict[asyncio.Future[ModelGate | None], None] = {}
        self.answers = 0
        self.hold: Hold | None = None
        self.opened_at = 0.0

    @property
    def closed(self) -> bool:
        """Whether the model refuses all prompts, as far as is known."""
        return self.hold is not None

    @property
    def asked_for(self) -> bool:
        """Whether prompts wait for the model, or it has refused one within `MAX_PROBE_S`.

        Prompts can name a model that is gone, be refused, and never come again. Nothing is wrong
        then that somebody would have to mend.
        """
        return bool(self._waiting) or time.monotonic() < self._refused_at + MAX_PROBE_S

    def may_try(self) -> bool:
        """Return whether a new prompt may call the model.

        It may if the model takes prompts, or if a try is due and no other prompt waits for it.
        """
        if self.hold is None:
            return True
        if not self._due:
            return False
        self._begin_try()
        return True

    def answered(self) -> None:
        """Note that the model took a prompt: it answered, or refused it for its content."""
        self.answers += 1
        self._refusals = 0
        self._probe_s = self._first_probe_s
        if self.hold:
            _log.warning("model %s takes prompts again", self._model)
            self.hold = None
            self.opened_at = time.monotonic()
            self._trying = self._due = False
            if self._timer:
                self._timer.cancel()
            for waiting in self._waiting:
                _give(waiting, None)

    def refused(self, error: CallError) -> None:
        """Note that the model refused a prompt for a reason that all prompts may share.

        Args:
            error: what it answered. Equal prompts share a call, and so its error, which counts
                once.
        """
        self._refused_at = time.monotonic()
        if error is self._last_refusal:
            return
        self._last_refusal = error
        detail = error.detail
        self._refusals += 1
        if self.hold is None:
            if self._refusals >= CLOSE_AFTER:
                self._close(detail)
        elif self._trying:
            self.hold = dataclasses.replace(self.hold, detail=detail)
            self._trying = False
            self._probe_s = min(MAX_PROBE_S, 2 * self._probe_s)
            self._set_timer()

    def join(self, waiting: "asyncio.Future[ModelGate | None]") -> None:
        """Queue up for a try.

        Args:
            waiting: gets this gate as its result for a try, and None once the model takes prompts.
        """
        if self.hold is None:
            _give(waiting, None)
        elif self._due and _give(waiting, self):
            self._begin_try()
        else:
            self._waiting[waiting] = None

    def leave(self, waiting: "asyncio.Future[ModelGate | None]") -> None:
        """Leave the queue, if `waiting` is in it."""
        self._waiting.pop(waiting, None)

    def _close(self, detail: str) -> None:
        self.hold = Hold(self._model, datetime.datetime.now(datetime.UTC), time.monotonic(), detail)
        self._set_timer()
        _log.error(
            "model %s refuses every prompt: %s. Its prompts wait, and one tries now and then. "
            "Mend what it says, or update the job to another model",
            self._model,
            detail.rstrip(". "),
        )

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._probe_s, self._next)

    def _next(self) -> None:
        """Let the prompt that has waited longest try; if none waits, the next one that comes."""
        self._due = True
        for waiting in self._waiting:
            if _give(waiting, self):
                self._begin_try()
                return

    def _begin_try(self) -> None:
        self._due, self._trying = False, True
        # The next one's turn, in case this one's call hangs.
        self._set_timer()


async def wait_for_any(gates: Sequence[ModelGate], seconds: float) -> ModelGate | None:
    """Wait until one of the gates is open, or a prompt is to try one of them.

    Args:
        gates: of the models that can make a prompt.
        seconds: how long to wait at most.

    Returns:
        The gate of the model to try; None if one is open, or the time is over.
    """
    waiting: asyncio.Future[ModelGate | None] = asyncio.get_running_loop().create_future()
    try:
        for gate in gates:
            gate.join(waiting)
        async with asyncio.timeout(seconds):
            return await waiting
    except TimeoutError:
        return None
    finally:
        for gate in gates:
            gate.leave(waiting)


def _give(waiting: "asyncio.Future[ModelGate | None]", turn: ModelGate | None) -> bool:
    """Wake a prompt that waits; return whether it was still waiting."""
    if waiting.done():
        return False
    waiting.set_result(turn)
    return True
