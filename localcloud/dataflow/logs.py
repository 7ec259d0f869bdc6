"""Finds errors and tracebacks in a job's log, for the job's messages."""

import re
from collections.abc import Iterator
from pathlib import Path

MAX_TEXT = 4000
"""Maximum characters of a message. A longer record loses its middle, not its beginning or end."""

_READ_BYTES = 256 * 1024
_TAIL_BYTES = 64 * 1024
_RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (\w+) ")
_ERRORS = ("ERROR", "CRITICAL", "FATAL")


class LogReader:
    """Reads a growing log. Blocks, so do not use it in an event loop.

    Args:
        path: the log, which need not exist yet.
        offset: where to begin, in bytes.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset
        self._rest = b""
        self._record: list[str] = []

    def errors(self, *, last: bool = False) -> Iterator[str]:
        """Yield the errors logged since the last call.

        A record ends where the next one begins, or when nothing was added since the last call.
        With `last`, the log is complete and so is its last record.
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
                data = file.read(_READ_BYTES)
        except FileNotFoundError:
            return
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if (last and self._rest) or len(self._rest) > _READ_BYTES:
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
    """Return up to `lines` lines from the last 64 KiB of a log. Blocks."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
