"""What may take no longer than it is given."""

import contextvars
import threading
import time

import pytest

from imagen_ops.alerts.time_limit import within


def fail(error: BaseException) -> None:
    raise error


def test_what_is_done_in_time_is_handed_back() -> None:
    assert within(5, lambda: None) is None
    assert within(5, lambda: [1]) == [1]


def test_what_is_late_is_left_behind() -> None:
    started, go_on = time.monotonic(), threading.Event()
    try:
        with pytest.raises(TimeoutError, match=r"not done within 0\.05 s"):
            within(0.05, lambda: go_on.wait(20))
    finally:
        go_on.set()
    assert time.monotonic() - started < 5


def test_an_error_comes_through_as_it_is() -> None:
    with pytest.raises(KeyError, match="x"):
        within(5, lambda: fail(KeyError("x")))


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_nothing_it_calls_ends_the_process(error: BaseException) -> None:
    with pytest.raises(RuntimeError, match="ended by"):
        within(5, lambda: fail(error))


def test_it_sees_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("here")
    assert within(5, variable.get) == "here"
