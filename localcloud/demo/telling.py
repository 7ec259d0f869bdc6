"""What the demo says: scenes, lines below them, tasks as they end, and how long each took.

Plain text, so that it can be piped and kept; colours only for a terminal.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import TextIO

_COLOURS = {
    "success": "32",
    "skipped": "2",
    "up_for_retry": "33",
    "failed": "31",
    "upstream_failed": "31",
}

_TITLE = "1"


class Teller:
    """Writes to `out`, a line at a time, at once."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._coloured = out.isatty() and not os.environ.get("NO_COLOR")
        self._took: list[tuple[str, float]] = []
        self._began = time.monotonic()

    @contextlib.contextmanager
    def scene(self, name: str, title: str) -> Iterator[None]:
        """Say what begins; at its end, note under `name` how long it took."""
        self._write(f"\n── {self._painted(title, _TITLE)}")
        began = time.monotonic()
        yield
        self._took.append((name, time.monotonic() - began))

    def line(self, text: str) -> None:
        """Say something about the scene."""
        self._write(f"   {text}")

    def item(self, number: int, count: int, text: str) -> None:
        """Say what became of one of many."""
        self._write(f"{number:>4}/{count} {text}")

    def task(self, name: str, state: str, seconds: float) -> None:
        """Say how a task of a DAG ended, and after how many seconds."""
        shown = self._painted(f"{state:<12}", _COLOURS.get(state.strip(), ""))
        self.line(f"{name:<22} {shown} {seconds:5.1f} s")

    def split(self) -> str:
        """Return how long all of it took, in seconds, and each scene."""
        parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in self._took)
        return f"{time.monotonic() - self._began:.0f} s: {parts}"

    def _painted(self, text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._coloured and colour else text

    def _write(self, text: str) -> None:
        print(text, file=self._out, flush=True)
