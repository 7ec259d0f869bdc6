"""What the demo prints: scenes, lines below them, finished tasks, and how long each took.

The output is plain text, so that it can be piped and saved. Only a terminal gets colours and a
last line that shows what the demo is waiting for, and for how long.
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


class Output:
    """Writes line by line to `out`, without buffering."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._status = StatusLine(out)
        self._scene_seconds: list[tuple[str, float]] = []
        self._started = time.monotonic()

    @contextlib.contextmanager
    def scene(self, name: str, title: str) -> Iterator[None]:
        """Print the title of a scene, and record under `name` how long the scene takes."""
        self._write(f"\n── {painted(title, terminal.BOLD, self._out)}")
        started = time.monotonic()
        yield
        self._scene_seconds.append((name, time.monotonic() - started))

    def line(self, text: str) -> None:
        """Print a line about the current scene."""
        self._write(f"   {text}")

    def waiting(self, status: Callable[[], str]) -> AbstractContextManager[None]:
        """Show on a terminal the elapsed time and what `status` returns."""
        started = time.monotonic()
        return self.progress(lambda: f"{duration(time.monotonic() - started)} · {status()}")

    def progress(self, text: Callable[[], str]) -> AbstractContextManager[None]:
        """Show on a terminal what `text` returns, updated in place."""
        return self._status.showing(lambda: f"   … {text()}")

    def item(self, number: int, count: int, text: str) -> None:
        """Print the outcome of item `number` out of `count`."""
        self._write(f"{number:>4}/{count} {text}")

    def task(self, name: str, state: str, seconds: float) -> None:
        """Print how a task of a DAG ended, and after how many seconds."""
        coloured = painted(f"{state:<12}", _COLOURS.get(state, ""), self._out)
        self.line(f"{name:<22} {coloured} {seconds:5.1f} s")

    def timing(self) -> str:
        """Return how long the demo took in total, and each scene, in seconds."""
        scenes = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self._scene_seconds)
        return f"{time.monotonic() - self._started:.0f} s: {scenes}"

    def _write(self, text: str) -> None:
        with self._status.aside():
            print(text, file=self._out, flush=True)
