"""Calls a custom function so that whatever it does costs one prompt, and no more.

Each call has a thread of its own, which nobody waits for longer than a time-out. Nothing can end a
thread: one that hangs is abandoned, and goes on until its function returns. It then holds a stack
and what it was given, but no place of a prompt. It does not keep the process from ending.
"""

import logging
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from beam_jobs.custom.function import CustomFunction, CustomFunctionError

_log = logging.getLogger(__name__)

# Longer than a model that translates, or an image that is encoded, takes. A function that asks a
# service should give up sooner than this by itself.
TIMEOUT_S = 60.0
# A function whose threads hang is broken for all prompts alike. Beyond this, it is not called until
# some of them come back. Killing the process would lose calls that are paid for, and a batch job
# ends when an item has killed its worker four times.
MOST_ABANDONED = 16
# A function that fails for every prompt must not fill the log.
LOG_EVERY_S = 60.0
_MAX_TEXT_CHARS = 300

A = TypeVar("A")
R = TypeVar("R")


class WrongResultError(CustomFunctionError):
    """A custom function returned what it may not. The text completes "the function returned …"."""


class GuardedCalls(Generic[A, R]):
    """Calls one custom function, from any thread.

    Args:
        function: the function, which is imported by the first call.
        give: turns an argument into what the function gets, which it may change.
        check: turns what it returns into what the job needs, in the same thread: objects of a
            function's own can do anything too. Gets the argument and the result.
        timeout_s: seconds after which a call is abandoned.
        most_abandoned: how many calls may be abandoned and not have come back.
    """

    def __init__(
        self,
        function: CustomFunction,
        *,
        give: Callable[[A], Any],
        check: Callable[[A, Any], R],
        timeout_s: float = TIMEOUT_S,
        most_abandoned: int = MOST_ABANDONED,
    ) -> None:
        self._function = function
        self._give = give
        self._check = check
        self._timeout_s = timeout_s
        self._most_abandoned = most_abandoned
        self._lock = threading.Lock()
        self._abandoned = 0
        self._logged_at = float("-inf")

    @property
    def abandoned(self) -> int:
        """How many calls were abandoned and have not come back."""
        return self._abandoned

    def __call__(self, argument: A) -> R:
        """Return what the function makes of `argument`.

        Raises:
            CustomFunctionError: it raised an exception, returned what it may not, did not return in
                time, or was not called because too many calls of it hang.
        """
        if self._abandoned >= self._most_abandoned:
            raise CustomFunctionError(
                f"{self._function} was not called: {self._abandoned} calls of it hang on this "
                "worker; give what it calls a time-out, deploy it, start the job again, and then "
                "replay the prompt"
            )
        call = _Call[A, R](self, argument)
        try:
            # A daemon, unlike the threads of a pool: one that hangs must not hold up the exit.
            threading.Thread(target=call.run, name="imagen-custom", daemon=True).start()
        except RuntimeError as error:
            raise CustomFunctionError(f"{self._function} was not called: {error}") from None
        if not call.done.wait(self._timeout_s):
            with self._lock:
                if not call.done.is_set():
                    call.abandoned = True
                    self._abandoned += 1
            if call.abandoned:
                self._report("did not return in time", "")
                raise CustomFunctionError(
                    f"{self._function} did not return within {self._timeout_s:g} s; give what it "
                    "calls a shorter time-out, deploy it, and then replay the prompt"
                )
        if call.error is not None:
            raise call.error
        return call.result

    def work(self, argument: A) -> R:
        """Call the function and check what it returns. For the thread of a call."""
        try:
            returned = self._function.load()(self._give(argument))
        except CustomFunctionError:
            raise
        except BaseException as error:
            # Without its text, which may quote the prompt.
            stack = "".join(traceback.format_tb(error.__traceback__))
            self._report(f"raised {type(error).__name__}", stack)
            raise CustomFunctionError(
                f"{self._function} raised {type(error).__name__}: {_text_of(error)}; correct it, "
                "deploy it, and then replay the prompt"
            ) from None
        try:
            return self._check(argument, returned)
        except WrongResultError as error:
            said = str(error)
        except BaseException as error:  # the objects that it made
            said = f"what raised {type(error).__name__} when it was read"
        self._report("returned what it may not", "")
        raise CustomFunctionError(
            f"{self._function} returned {said[:_MAX_TEXT_CHARS]}; correct it, deploy it, and then "
            "replay the prompt"
        )

    def ended(self, call: "_Call[A, R]") -> None:
        """Note that a call has ended."""
        with self._lock:
            self._abandoned -= call.abandoned
            call.done.set()

    def _report(self, what: str, stack: str) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._logged_at < LOG_EVERY_S:
                return
            self._logged_at = now
        _log.error("%s %s; its prompts become dead letters\n%s", self._function, what, stack)


class _Call(Generic[A, R]):
    """One call: what it was given, and what came of it."""

    result: R

    def __init__(self, calls: GuardedCalls[A, R], argument: A) -> None:
        self._calls = calls
        self._argument = argument
        self.error: CustomFunctionError | None = None
        self.done = threading.Event()
        self.abandoned = False

    def run(self) -> None:
        try:
            self.result = self._calls.work(self._argument)
        except CustomFunctionError as error:
            self.error = error
        except BaseException as error:  # must never pass over what waits for it
            self.error = CustomFunctionError(f"unexpected {type(error).__name__}")
        finally:
            self._calls.ended(self)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:_MAX_TEXT_CHARS]
    except BaseException:
        return "(its text cannot be read)"
