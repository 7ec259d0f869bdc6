"""What a job's log says that its messages should say: records of errors, and tracebacks."""

import re
from collections.abc import Iterator
from pathlib import Path

MAX_TEXT = 4000
"""So many characters of a record go into a message: the first, and of a traceback the last."""

_AT_ONCE = 256 * 1024
_TAIL = 64 * 1024
_RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (\w+) ")
_ERRORS = ("ERROR", "CRITICAL", "FATAL")


class LogReader:
    """Reads a log that grows. Blocks: not for an event loop.

    Args:
        path: the log; need not be there yet.
        offset: where to begin.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset
        self._rest = b""
        self._record: list[str] = []

    def errors(self, *, last: bool = False) -> Iterator[str]:
        """Yield the errors logged since the last time.

        A record ends where the next begins, or where nothing more came since the last time:
        `last` says that nothing will.
        """
        lines = list(self._lines(last=last))
        for line in lines:
            begins = _RECORD.match(line)
            if begins or (_begins_error(line) and not self._record):
                yield from self._end_record()
                if not begins or begins[1] in _ERRORS:
                    self._record = [line]
            elif self._record:
                self._record.append(line)
        if last or not lines:
            yield from self._end_record()

    def _lines(self, *, last: bool) -> Iterator[str]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(_AT_ONCE)
        except FileNotFoundError:
            return
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if (last and self._rest) or len(self._rest) > _AT_ONCE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            yield line.decode("utf-8", "replace")

    def _end_record(self) -> Iterator[str]:
        if self._record:
            text = "\n".join(self._record).rstrip()
            self._record = []
            if len(text) > MAX_TEXT:
                half = MAX_TEXT // 2
                text = f"{text[:half]}\n…\n{text[-half:]}"
            yield text


def _begins_error(line: str) -> bool:
    return line.startswith(("Traceback (most recent call last):", "error: "))


def tail(path: Path, lines: int) -> str:
    """Return the last lines of a log, of its last 64 KiB. Blocks."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
