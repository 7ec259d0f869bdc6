"""An event loop whose clock jumps to the next timer: hours of waiting take seconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


MIN_STEP_S = 1e-6


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if timeout is None and not events:
            raise RuntimeError("everybody waits, and nothing is going to happen")
        # Code takes some time too; a wait that is shorter than the clock can tell would never end.
        self.now += MIN_STEP_S if events else max(timeout or 0.0, MIN_STEP_S)
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop in which only code takes real time."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        # Timers are due once the clock has passed them.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop whose clock starts at 0, and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)
