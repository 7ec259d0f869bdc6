"""Turns ctrl-C, SIGTERM and SIGHUP into an exception that ends the demo but not its clean-up."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asks the demo to end.

    Not an `Exception`, so that code which ignores errors does not swallow it.

    Attributes:
        number: the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class Interrupts:
    """Raises `Interrupted` in the main thread at the first signal, and ignores later ones."""

    def __init__(self) -> None:
        self._on_hold = False
        self._pending: int | None = None
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in _SIGNALS:
            self._previous_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """Raise nothing from now on."""
        self._on_hold = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let a step run to its end, such as starting a process and recording that it runs.

        Raises:
            Interrupted: at the end of the step, if a signal came during it.
        """
        before, self._on_hold = self._on_hold, True
        try:
            yield
        finally:
            self._on_hold = before
        if self._pending is not None and not before:
            self._raise(self._pending)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._on_hold:
            self._pending = number
        else:
            self._raise(number)

    def _raise(self, number: int) -> None:
        self.hold()
        raise Interrupted(number)
