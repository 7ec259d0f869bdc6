"""What a terminal gets and a file does not: colours, and a last line that is rewritten in place.

Knows nothing of what is told. No mode of the terminal is changed, so that a program that is killed
leaves nothing to be undone.
"""

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

GREEN, RED, YELLOW, FAINT, BOLD = "32", "31", "33", "2", "1"

_EVERY_S = 0.1
_ERASE = "\r\033[K"
# What moves the cursor, changes colours, turns around the order of what follows, or cannot be
# written at all: half a character.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def is_terminal(*streams: TextIO) -> bool:
    """Return whether all of `streams` are terminals on which a line can be rewritten."""
    return os.environ.get("TERM") != "dumb" and all(stream.isatty() for stream in streams)


def painted(text: str, colour: str, out: TextIO) -> str:
    """Return `text` in a colour where `out` shows it, unless NO_COLOR is set (no-color.org)."""
    wanted = colour and is_terminal(out) and not os.environ.get("NO_COLOR")
    return f"\033[{colour}m{text}\033[0m" if wanted else text


def printable(text: str) -> str:
    """Return somebody else's text without what would act on the terminal."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


class StatusLine:
    """The last line of a terminal, while something goes on.

    Args:
        out: where it is written.
        shown: whether it is written at all; default: if `out` is a terminal.
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
        """Show what `text` returns, asked some times a second in another thread, until the end.

        What is over at once is not shown. Within another one the inner text is shown.

        Args:
            text: one line; what does not fit is cut off.
            ended: what to leave on the terminal, whichever way it ends; default, or where it is
                empty: nothing.
        """
        if not self._shown:
            yield
            return
        outer, over = self._text, threading.Event()
        try:
            self._text = text
            if outer is None:
                threading.Thread(target=self._tick, args=(over,), daemon=True).start()
            yield
        finally:
            # Before anything that may be interrupted: nobody draws after this.
            over.set()
            self._text = outer
            with self.aside():
                if ended is not None and (left := ended()):
                    print(left, file=self._out, flush=True)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take the line away for what else is written meanwhile, to any terminal's stream."""
        with self._lock:
            self._draw("")
            yield

    def _tick(self, over: threading.Event) -> None:
        while not over.wait(_EVERY_S):
            with self._lock:
                if over.is_set() or self._text is None:
                    return
                self._draw(self._text())

    def _draw(self, text: str) -> None:
        if text == self._drawn:
            return
        # The terminal may have gone: then nobody is there to see that nothing is shown.
        with contextlib.suppress(OSError, ValueError):
            # In the last column some terminals have gone to the next line already.
            self._out.write(f"{_ERASE}{text[: self._columns() - 1]}")
            self._out.flush()
        self._drawn = text

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._out.fileno()).columns or 80
        except OSError:
            return 80
