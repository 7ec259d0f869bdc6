"""Output that only a terminal gets: colours, and a status line that is rewritten in place.

Must not know what the output is about. It never changes the terminal's mode, so that a killed
program leaves nothing to undo.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

GREEN, RED, YELLOW, FAINT, BOLD = "32", "31", "33", "2", "1"

_EVERY_S = 0.1
_ERASE = "\r\033[K"


def is_terminal(*streams: TextIO) -> bool:
    """Return whether all of `streams` are terminals on which a line can be rewritten."""
    return os.environ.get("TERM") != "dumb" and all(stream.isatty() for stream in streams)


def painted(text: str, colour: str, out: TextIO) -> str:
    """Return `text` in a colour if `out` is a terminal and NO_COLOR is not set (no-color.org)."""
    coloured = colour and is_terminal(out) and not os.environ.get("NO_COLOR")
    return f"\033[{colour}m{text}\033[0m" if coloured else text


class StatusLine:
    """A status line at the bottom of a terminal, for the time that some work takes.

    Args:
        out: the stream to write it to.
        shown: whether to show it; default: only if `out` is a terminal.
    """

    def __init__(self, out: TextIO, *, shown: bool | None = None) -> None:
        self._out = out
        self._shown = is_terminal(out) if shown is None else shown
        self._lock = threading.RLock()
        self._text: Callable[[], str] | None = None
        self._drawn = ""

    @contextlib.contextmanager
    def showing(
        self, text: Callable[[], str], *, ended: Callable[[], str] | None = None
    ) -> Iterator[None]:
        """Show what `text` returns while the block runs.

        A thread calls `text` ten times a second. A block that ends within the first tenth of a
        second shows nothing. In nested blocks, the inner text is shown.

        Args:
            text: returns one line; it is cut off at the terminal's width.
            ended: returns the line to leave on the terminal when the block ends, even by an
                exception; default, or if it is empty: no line.
        """
        if not self._shown:
            yield
            return
        outer, finished = self._text, threading.Event()
        try:
            self._text = text
            if outer is None:
                threading.Thread(target=self._tick, args=(finished,), daemon=True).start()
            yield
        finally:
            # First of all, because what follows may be interrupted: stop the thread from drawing.
            finished.set()
            self._text = outer
            with self.aside():
                if ended is not None and (last_line := ended()):
                    print(last_line, file=self._out, flush=True)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Hide the status line while the block writes other output to the terminal."""
        with self._lock:
            self._draw("")
            yield

    def _tick(self, finished: threading.Event) -> None:
        while not finished.wait(_EVERY_S):
            with self._lock:
                if finished.is_set() or self._text is None:
                    return
                self._draw(self._text())

    def _draw(self, text: str) -> None:
        if text == self._drawn:
            return
        # If the terminal has gone, nobody is there to miss the line.
        with contextlib.suppress(OSError, ValueError):
            # After a character in the last column, some terminals move to the next line.
            self._out.write(f"{_ERASE}{text[: self._columns() - 1]}")
            self._out.flush()
        self._drawn = text

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._out.fileno()).columns or 80
        except OSError:
            return 80
