"""What the demo says: scenes, lines below them, tasks as they end, and how long each took.

Plain text, so that it can be piped and kept. Only a terminal gets colours, and a last line that
tells what is being waited for, and for how long.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TextIO

from beam_jobs.cli import terminal
from beam_jobs.cli.progress import duration
from beam_jobs.cli.terminal import StatusLine, painted

_COLOURS = {
    "success": terminal.GREEN,
    "skipped": terminal.FAINT,
    "up_for_retry": terminal.YELLOW,
    "failed": terminal.RED,
    "upstream_failed": terminal.RED,
}


class Teller:
    """Writes to `out`, a line at a time, at once."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._status = StatusLine(out)
        self._took: list[tuple[str, float]] = []
        self._began = time.monotonic()

    @contextlib.contextmanager
    def scene(self, name: str, title: str) -> Iterator[None]:
        """Say what begins; at its end, note under `name` how long it took."""
        self._write(f"\n── {painted(title, terminal.BOLD, self._out)}")
        began = time.monotonic()
        yield
        self._took.append((name, time.monotonic() - began))

    def line(self, text: str) -> None:
        """Say something about the scene."""
        self._write(f"   {text}")

    def waiting(self, state: Callable[[], str]) -> AbstractContextManager[None]:
        """Tell on a terminal what is waited for, as `state` says it, and for how long by now."""
        began = time.monotonic()
        return self.going_on(lambda: f"{duration(time.monotonic() - began)} · {state()}")

    def going_on(self, text: Callable[[], str]) -> AbstractContextManager[None]:
        """Tell on a terminal how far something has come."""
        return self._status.showing(lambda: f"   … {text()}")

    def item(self, number: int, count: int, text: str) -> None:
        """Say what became of one of many."""
        self._write(f"{number:>4}/{count} {text}")

    def task(self, name: str, state: str, seconds: float) -> None:
        """Say how a task of a DAG ended, and after how many seconds."""
        shown = painted(f"{state:<12}", _COLOURS.get(state, ""), self._out)
        self.line(f"{name:<22} {shown} {seconds:5.1f} s")

    def split(self) -> str:
        """Return how long all of it took, in seconds, and each scene."""
        parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in self._took)
        return f"{time.monotonic() - self._began:.0f} s: {parts}"

    def _write(self, text: str) -> None:
        with self._status.aside():
            print(text, file=self._out, flush=True)
