"""The rows of a prompt file: lines of .txt, objects of .jsonl, columns of .csv; or any of them .gz.

Reads row by row in bounded memory, whatever the file is. A row that cannot
be read becomes a `Failure` that names file and line, and so does the rest of a file that breaks
off. Knows nothing of Beam or of file systems: whoever plans a backfill reads with it, too, and must
see the rows that the job will see.
"""

import csv
import dataclasses
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, BinaryIO

from beam_jobs.outcomes import Failure, Reason
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.parse import FIELDS, MAX_BODY_BYTES, invalid

SUFFIXES = (".txt", ".jsonl", ".csv")
# https://cloud.google.com/pubsub/quotas#resource_limits
_MAX_ATTRIBUTE_BYTES = 1024
_INTEGERS = ("images", "seed")
_INTEGER = re.compile(r"\s*-?[0-9]{1,18}\s*")
_BOOLEANS = {"true": True, "false": False}


class _RowError(ValueError):
    """One row is no prompt."""


class _FileError(ValueError):
    """The file cannot be read, or not any further."""


class PromptFile:
    """One file of prompts, and where in it reading has come to.

    Args:
        path: names the file in messages and failures; its end tells the format.
        source: what its failures say they come from.

    `line` is the number of the line that was read last, from 1; `broken` says, once `read` has
    ended, why it ended before the file did: None where it did not.
    """

    def __init__(self, path: str, source: str) -> None:
        self._path = path
        self._source = source
        self.line = 0
        self.broken: str | None = None
        self._row_bytes = 0

    def read(
        self, opened: Callable[[], AbstractContextManager[BinaryIO]]
    ) -> Iterator[RawPrompt | Failure]:
        """Yield what is in the file, as stored, that `opened` opens; once. Raises nothing.

        A file whose name tells no format is not opened. Where the file is `broken`, the last item
        is the failure that says so.
        """
        suffix = next((s for s in SUFFIXES if self._path.removesuffix(".gz").endswith(s)), None)
        if suffix is None:
            yield self._break(f"expected a file ending in {', '.join(SUFFIXES)}, or .gz after it")
            return
        try:
            with opened() as raw:
                packed = self._path.endswith(".gz")
                stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
                yield from self._rows(stream, suffix)
        except _FileError as error:
            yield self._break(str(error))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            yield self._break(f"broken gzip: {error}; nothing after line {self.line} was read")
        except Exception as error:
            # Whatever a file system raises (each has exceptions of its own) must not stop the
            # others.
            yield self._break(
                f"cannot be read after line {self.line}: {error!r}"[:500], Reason.STORAGE_ERROR
            )

    def _rows(self, stream: BinaryIO, suffix: str) -> Iterator[RawPrompt | Failure]:
        if suffix == ".csv":
            yield from self._csv(stream)
            return
        for line in self._lines(stream):
            if line is None:
                yield self._failure(f"row is longer than {MAX_BODY_BYTES:,} bytes")
            elif body := line.strip():
                if suffix == ".jsonl" and not body.startswith(b"{"):
                    yield self._failure("expected a JSON object", body=body)
                else:
                    yield self._message(body)

    def _break(self, detail: str, reason: Reason = Reason.INVALID_PROMPT) -> Failure:
        self.broken = detail
        return self._failure(detail, reason)

    def _failure(
        self, detail: str, reason: Reason = Reason.INVALID_PROMPT, body: bytes = b""
    ) -> Failure:
        place = f"{self._path} line {self.line}" if self.line else self._path
        failure = invalid(
            f"{place}: {detail}",
            body,
            self._attributes(),
            origin=self._origin(),
            source=self._source,
        )
        return dataclasses.replace(failure, reason=reason)

    def _lines(self, stream: BinaryIO) -> Iterator[bytes | None]:
        """Yield lines without their ends; None for one that is too long, which is passed over."""
        while line := stream.readline(MAX_BODY_BYTES + 2):
            self.line += 1
            if self.line == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            too_long = len(line.rstrip(b"\r\n")) > MAX_BODY_BYTES
            while not line.endswith(b"\n") and (more := stream.readline(MAX_BODY_BYTES)):
                line = more
                too_long = True
            yield None if too_long else line.rstrip(b"\r\n")

    def _csv(self, stream: BinaryIO) -> Iterator[RawPrompt | Failure]:
        # Undecodable bytes pass through the csv module as lone surrogates and fail in their row.
        # A field with a line break in it is put together again from its lines.
        rows = csv.reader(map(self._csv_line, self._lines(stream)), strict=True)
        csv.field_size_limit(MAX_BODY_BYTES)
        header: list[str] | None = None
        while True:
            self._row_bytes = 0
            try:
                row = next(rows, None)
            except _RowError as error:
                yield self._failure(str(error))
                continue
            except csv.Error as error:
                raise _FileError(f"not CSV: {error}; nothing after this line was read") from None
            if row is None:
                return
            if not row:
                continue
            if header is None:
                header = _header(row)
                continue
            try:
                body = json.dumps(_fields(header, row), ensure_ascii=False).encode("utf-8")
            except _RowError as error:
                raw = ",".join(row).encode("utf-8", "surrogateescape")
                yield self._failure(str(error), body=raw)
            else:
                yield self._message(body)

    def _csv_line(self, line: bytes | None) -> str:
        begun = self._row_bytes > 0
        self._row_bytes += 1 + len(line or b"")
        if line is None or self._row_bytes > MAX_BODY_BYTES + 1:
            too_long = f"row is longer than {MAX_BODY_BYTES:,} bytes"
            if begun:  # within quotes: where the row ends cannot be told any more
                raise _FileError(f"{too_long}; nothing after this line was read")
            raise _RowError(too_long)
        return line.decode("utf-8", "surrogateescape") + "\n"

    def _message(self, body: bytes) -> RawPrompt:
        return RawPrompt(body=body, attributes=self._attributes(), origin=self._origin())

    def _origin(self) -> str:
        return f"{self._path}:{self.line}"

    def _attributes(self) -> dict[str, str]:
        # A name on a local disk may be any bytes.
        name = self._path.encode("utf-8", "replace")[-_MAX_ATTRIBUTE_BYTES:]
        return {"file": name.decode("utf-8", "ignore"), "line": str(self.line)}


def _header(row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    if "prompt" not in names:
        raise _FileError(f"no column 'prompt'; the columns are {ascii(names)[:200]}")
    unknown = sorted(set(names) - set(FIELDS))
    if unknown:
        raise _FileError(f"unknown column {ascii(unknown[0])[:60]}; known are {', '.join(FIELDS)}")
    if len(set(names)) < len(names):
        raise _FileError(f"a column is named twice: {ascii(names)[:200]}")
    return names


def _fields(header: list[str], row: list[str]) -> dict[str, Any]:
    """Return a row as the structured prompt it stands for; an empty cell is a field not given.

    Raises:
        _RowError: it has another number of cells than the header, or cannot be decoded.
    """
    if len(row) != len(header):
        raise _RowError(f"expected {len(header)} cells, got {len(row)}")
    fields: dict[str, Any] = {}
    for name, cell in zip(header, row, strict=True):
        try:
            cell.encode("utf-8")
        except UnicodeEncodeError as error:
            raise _RowError(f"column '{name}' is not UTF-8 at character {error.start}") from None
        if cell == "" and name != "prompt":
            continue
        if name in _INTEGERS and _INTEGER.fullmatch(cell):
            fields[name] = int(cell)
        elif name == "reuse":
            fields[name] = _BOOLEANS.get(cell.strip().lower(), cell)
        else:
            fields[name] = cell
    return fields
