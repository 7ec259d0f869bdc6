"""How long something may take that nobody has to wait for, such as telling people.

Google's clients and notifiers have time-outs of their own, but retries add up to minutes, and a
DAG's callbacks have less than one: see `imagen_ops.alerts.run_callbacks`.
"""

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def within(seconds: float, act: Callable[[], _Result]) -> _Result:
    """Return what `act` returns.

    It runs in a thread: what is late cannot be stopped, goes on behind the scenes, and ends with
    the process at the latest.

    Raises:
        TimeoutError: nothing came within `seconds`.
        Exception: whatever `act` raised; a RuntimeError for what is no Exception, such as a
            SystemExit, so that no library ends a task by it.
    """
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(act())
        except BaseException as error:
            errors.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="within", daemon=True)
    thread.start()
    thread.join(seconds)
    if results:
        return results[0]
    if not errors:
        raise TimeoutError(f"not done within {seconds:g} s")
    if isinstance(errors[0], Exception):
        raise errors[0]
    raise RuntimeError(f"ended by {errors[0]!r}") from errors[0]
