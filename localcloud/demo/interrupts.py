"""ctrl-C and SIGTERM, as something that ends the demo and never the ending of what it started."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants the demo to end. No `Exception`: whoever passes over errors must not eat it.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class Interrupts:
    """Raises `Interrupted` in the main thread, wherever it is, once; then there is no hurrying."""

    def __init__(self) -> None:
        self._held = False
        self._noted: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """From now on, raise no more."""
        self._held = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let a step be done whole, such as to start a process and note that it was started.

        Raises:
            Interrupted: at the end, if a signal came meanwhile.
        """
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before
        if self._noted is not None and not before:
            self._raise(self._noted)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._held:
            self._noted = number
        else:
            self._raise(number)

    def _raise(self, number: int) -> None:
        self.hold()
        raise Interrupted(number)
