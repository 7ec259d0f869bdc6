"""A pseudo-terminal for programs, and what somebody who looks at it would see."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
import threading
from typing import TextIO


class Terminal:
    """A terminal to start programs on: `with Terminal() as terminal: Popen(…, stdout=terminal.fd)`.

    `fd` is the program's end. What is typed goes to the programs whose controlling terminal it is.
    """

    def __init__(self, columns: int = 100) -> None:
        self.columns = columns
        self._ours, self.fd = pty.openpty()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self._written = b""
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Terminal":
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            self.hang_up()
        os.close(self._ours)

    def stream(self) -> TextIO:
        """Its end for programs, as a text stream."""
        return os.fdopen(os.dup(self.fd), "w", encoding="utf-8")

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def hang_up(self) -> None:
        """Let go of the programs' end, and read what they have left."""
        # Closed once: its number may be another thread's file a moment later.
        os.close(self.fd)
        self.fd = -1
        self._reader.join(60)

    @property
    def written(self) -> str:
        return self._written.decode(errors="replace")

    def lines(self) -> list[str]:
        """What is on it now."""
        return seen(self.written)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the last program has ended
            while chunk := os.read(self._ours, 65536):
                self._written += chunk


def take_control() -> None:
    """In a new session: make standard input the terminal that ctrl-C comes from.

    And let it come: whatever a shell runs in the background, these tests too, ignores it.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def seen(written: str) -> list[str]:
    """What a terminal shows after `written`; only what every terminal knows is understood."""
    lines, column = [""], 0
    for token in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|.", written, re.DOTALL):
        if token == "\n":
            lines.append("")
            column = 0
        elif token == "\r":
            column = 0
        elif token == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif token.startswith("\x1b"):
            assert re.fullmatch(r"\x1b\[\d*m", token), f"not every terminal knows {token!r}"
        else:
            lines[-1] = lines[-1][:column].ljust(column) + token + lines[-1][column + 1 :]
            column += 1
    return lines
