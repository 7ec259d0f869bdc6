"""What somebody who watches sees: a line or more for each message, and what came so far below."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from beam_jobs.cli import terminal, watch
from beam_jobs.cli.progress import Progress, Tally, duration
from beam_jobs.cli.terminal import StatusLine, is_terminal, painted

_MARKS = {"✓": terminal.GREEN, "✗": terminal.RED, "◇": terminal.FAINT}


class Screen:
    """Shows messages on standard output, and what else there is to say on standard error.

    Args:
        count: of the messages to come, if it is known.
    """

    def __init__(self, count: int | None) -> None:
        # Lines that go through a pipe often come back to the same terminal: | grep, | less.
        self._status = StatusLine(sys.stderr, shown=is_terminal(sys.stdout, sys.stderr))
        self._seen, self._tally = Progress("seen", count), Tally()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Tell on a terminal how much has come and how fast; at the end, what it was in all."""
        with self._status.showing(
            lambda: f"{self._seen} · {self._tally}",
            ended=lambda: f"{self._tally} in {duration(self._seen.seconds)}",
        ):
            yield

    def show(self, message: dict[str, Any]) -> None:
        """Show one message, and count it."""
        text = watch.line(message)
        mark = painted(text[0], _MARKS[text[0]], sys.stdout)
        with self._status.aside():
            print(mark + text[1:], flush=True)
        self._seen.add()
        self._tally.add(message)

    def say(self, text: str) -> None:
        """Say something that is no message."""
        with self._status.aside():
            print(text, file=sys.stderr)
