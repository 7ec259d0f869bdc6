"""The output of `watch`: each message in one or more lines, with running totals below."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from beam_jobs.cli import terminal, watch
from beam_jobs.cli.progress import Progress, Tally, duration
from beam_jobs.cli.terminal import StatusLine, is_terminal, painted

_MARKS = {"✓": terminal.GREEN, "✗": terminal.RED, "◇": terminal.FAINT}


class Screen:
    """Shows messages on standard output and everything else on standard error.

    Args:
        count: the number of messages to expect, if it is known.
    """

    def __init__(self, count: int | None) -> None:
        # Piped output often ends up on the same terminal, as with | grep or | less. It would mix
        # with the status line.
        self._status = StatusLine(sys.stderr, shown=is_terminal(sys.stdout, sys.stderr))
        self._seen, self._tally = Progress("seen", count), Tally()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Show count, rate and totals on a terminal, and leave the totals there at the end."""
        with self._status.showing(
            lambda: f"{self._seen} · {self._tally}",
            ended=lambda: f"{self._tally} in {duration(self._seen.seconds)}",
        ):
            yield

    def show(self, message: dict[str, Any]) -> None:
        """Show one message and count it."""
        text = watch.describe(message)
        mark = painted(text[0], _MARKS[text[0]], sys.stdout)
        with self._status.aside():
            print(mark + text[1:], flush=True)
        self._seen.add()
        self._tally.add(message)

    def say(self, text: str) -> None:
        """Print a notice, on standard error."""
        with self._status.aside():
            print(text, file=sys.stderr)
