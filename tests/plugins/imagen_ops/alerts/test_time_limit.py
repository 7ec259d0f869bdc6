"""Calls with a time limit."""

import contextvars
import threading
import time

import pytest

from imagen_ops.alerts.time_limit import run_within


def fail(error: BaseException) -> None:
    raise error


def test_the_result_of_a_call_in_time_is_returned() -> None:
    assert run_within(5, lambda: None) is None
    assert run_within(5, lambda: [1]) == [1]


def test_a_late_call_is_not_waited_for() -> None:
    started, go_on = time.monotonic(), threading.Event()
    try:
        with pytest.raises(TimeoutError, match=r"did not finish within 0\.05 s"):
            run_within(0.05, lambda: go_on.wait(20))
    finally:
        go_on.set()
    assert time.monotonic() - started < 5


def test_an_error_is_raised_unchanged() -> None:
    with pytest.raises(KeyError, match="x"):
        run_within(5, lambda: fail(KeyError("x")))


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_a_call_cannot_end_the_process(error: BaseException) -> None:
    with pytest.raises(RuntimeError, match=r"it raised (SystemExit|KeyboardInterrupt)"):
        run_within(5, lambda: fail(error))


def test_a_call_sees_the_callers_context_variables() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("here")
    assert run_within(5, variable.get) == "here"
