"""Whatever a custom function does, a call ends, and the log holds nothing of a prompt."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.custom.function import CustomFunction, CustomFunctionError
from beam_jobs.custom.guarded import GuardedCalls, WrongResultError
from tests.conftest import eventually

NAMED = CustomFunction("--preprocess", "m:f", "1")
SECRET = "A secret fox"


def guarded(
    monkeypatch: pytest.MonkeyPatch, function: Callable[[Any], Any], **settings: Any
) -> GuardedCalls[str, Any]:
    monkeypatch.setattr(CustomFunction, "load", lambda _: function)
    check = settings.pop("check", lambda _, returned: returned)
    return GuardedCalls(NAMED, give=lambda text: text, check=check, **settings)


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Hostile:
    """Breaks whoever looks at it."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)


def raising(error: BaseException) -> Callable[[Any], Any]:
    def function(_: Any) -> Any:
        raise error

    return function


def test_what_a_function_returns_is_what_the_caller_gets(monkeypatch: pytest.MonkeyPatch):
    assert guarded(monkeypatch, str.upper)("a") == "A"


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), UnreadableError()],
    ids=lambda error: type(error).__name__,
)
def test_whatever_it_raises_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
):
    with pytest.raises(CustomFunctionError) as raised:
        guarded(monkeypatch, raising(error))(SECRET)
    assert str(raised.value).startswith(f"--preprocess m:f raised {type(error).__name__}: ")
    assert "deploy it, and then replay the prompt" in str(raised.value)


def test_an_object_that_breaks_whoever_looks_at_it_breaks_one_call(
    monkeypatch: pytest.MonkeyPatch,
):
    calls = guarded(monkeypatch, lambda _: Hostile(), check=lambda _, returned: returned.text)
    with pytest.raises(CustomFunctionError, match="returned what raised SystemExit when"):
        calls(SECRET)


def test_the_log_names_the_error_and_the_lines_of_code_and_nothing_of_the_prompt(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def function(text: str) -> str:
        raise ValueError(text)

    calls = guarded(monkeypatch, function)
    with caplog.at_level(logging.DEBUG):
        for _ in range(5):
            with pytest.raises(CustomFunctionError):
                calls(SECRET)
    (record,) = caplog.records  # not one for each prompt
    assert "--preprocess m:f raised ValueError" in record.getMessage()
    assert "in function" in record.getMessage()
    assert "fox" not in record.getMessage()


def test_a_call_that_hangs_is_abandoned_after_its_time(monkeypatch: pytest.MonkeyPatch):
    released = threading.Event()
    calls = guarded(monkeypatch, lambda _: released.wait(30.0), timeout_s=0.05)
    with pytest.raises(CustomFunctionError, match=r"did not return within 0\.05 s"):
        calls(SECRET)
    assert calls.abandoned == 1
    assert all(each.daemon for each in threading.enumerate() if each.name == "imagen-custom")
    released.set()
    eventually(lambda: calls.abandoned == 0, what="the return of the thread")


def test_beyond_a_bound_nothing_is_called_until_threads_come_back(monkeypatch: pytest.MonkeyPatch):
    released, begun = threading.Event(), []

    def function(text: str) -> str:
        begun.append(text)
        released.wait(30.0)
        return text

    calls = guarded(monkeypatch, function, timeout_s=0.02, most_abandoned=2)
    for _ in range(2):
        with pytest.raises(CustomFunctionError, match="did not return"):
            calls(SECRET)
    for _ in range(50):
        with pytest.raises(CustomFunctionError, match="was not called: 2 calls of it hang"):
            calls(SECRET)
    assert len(begun) == 2
    released.set()
    eventually(lambda: calls.abandoned == 0, what="the return of both threads")
    assert calls("b") == "b"


_results = st.one_of(
    st.none(), st.integers(), st.text(), st.binary(), st.builds(Hostile), st.lists(st.integers())
)
_errors = st.sampled_from(
    [ValueError(SECRET), SystemExit(SECRET), MemoryError(), RecursionError(), UnreadableError()]
)


@settings(max_examples=25, deadline=None)
@given(act=st.one_of(st.tuples(st.just("return"), _results), st.tuples(st.just("raise"), _errors)))
def test_a_call_ends_in_a_result_or_in_one_kind_of_error(act: tuple[str, Any]):
    what, value = act

    def check(_: str, returned: Any) -> str:
        if isinstance(returned, str):
            return returned
        raise WrongResultError("something else")

    with pytest.MonkeyPatch.context() as monkeypatch:
        function = raising(value) if what == "raise" else lambda _: value
        calls = guarded(monkeypatch, function, check=check)
        if type(value) is str:
            assert calls("x") == value
            return
        with pytest.raises(CustomFunctionError, match=r"--preprocess m:f (raised|returned) "):
            calls("x")
