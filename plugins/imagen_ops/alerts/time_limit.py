"""Time limits for optional work, such as sending an alert.

Google's clients and notifiers have timeouts of their own, but their retries add up to minutes, and
the callbacks of a DAG have less than one: see `imagen_ops.alerts.run_callbacks`.
"""

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def run_within(seconds: float, function: Callable[[], _Result]) -> _Result:
    """Call `function` and return its result.

    It runs in a thread, because that is the only way to stop waiting for it. A late call continues
    in the background until it returns or the process ends.

    Raises:
        TimeoutError: `function` did not return within `seconds`.
        RuntimeError: it raised something that is not an Exception, such as SystemExit. No library
            may end the task that way.
        Exception: whatever else it raised.
    """
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="run_within", daemon=True)
    thread.start()
    thread.join(seconds)
    if results:
        return results[0]
    if not errors:
        raise TimeoutError(f"did not finish within {seconds:g} s")
    if isinstance(errors[0], Exception):
        raise errors[0]
    raise RuntimeError(f"it raised {type(errors[0]).__name__}: {errors[0]}") from errors[0]
