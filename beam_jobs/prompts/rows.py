"""Reads the rows of a prompt file: .txt lines, .jsonl objects or .csv rows, each also gzipped.

Reads row by row in bounded memory, whatever the file holds. A row that cannot be read becomes a
`Failure` that names its file and line. So does the unread rest of a damaged file.

Must not import Beam or a file system: the planning of a backfill reads files with this module too,
and must see the same rows as the job.
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
from beam_jobs.prompts.fields import FIELD_NAMES, FIELDS, Kind
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.parse import MAX_BODY_BYTES, invalid

SUFFIXES = (".txt", ".jsonl", ".csv")
# https://cloud.google.com/pubsub/quotas#resource_limits
_MAX_ATTRIBUTE_BYTES = 1024
_KINDS = {field.name: field.kind for field in FIELDS}
_INTEGER = re.compile(r"\s*-?[0-9]{1,18}\s*")
_BOOLEANS = {"true": True, "false": False}


class _RowError(ValueError):
    """A row cannot be read as a prompt. The rows after it can be."""


class _FileError(ValueError):
    """The file cannot be read, or not beyond this row."""


class PromptFileReader:
    """One file of prompts, with the position of the reader in it.

    Args:
        path: names the file in messages and failures. Its suffix tells the format.
        source: the source that its failures name, such as `backfill:RUN`.

    Attributes:
        line: number of the line that was read last, starting at 1.
        broken: once `read` has finished, why it could not read the file to its end; None if it
            could.
    """

    def __init__(self, path: str, source: str) -> None:
        self._path = path
        self._source = source
        self.line = 0
        self.broken: str | None = None
        self._row_bytes = 0

    def read(
        self, open_file: Callable[[], AbstractContextManager[BinaryIO]]
    ) -> Iterator[RawPrompt | Failure]:
        """Yield the rows of the file; call it once. Never raises.

        A file with an unknown suffix is not opened. If the file is `broken`, the last item is the
        failure that says why.

        Args:
            open_file: opens the file for reading its bytes as stored, not decompressed.
        """
        suffix = next((s for s in SUFFIXES if self._path.removesuffix(".gz").endswith(s)), None)
        if suffix is None:
            yield self._break(
                f"expected a file ending in {', '.join(SUFFIXES)}, or one of these and .gz"
            )
            return
        try:
            with open_file() as raw:
                is_gzip = self._path.endswith(".gz")
                stream: Any = gzip.GzipFile(fileobj=raw) if is_gzip else raw
                yield from self._rows(stream, suffix)
        except _FileError as error:
            yield self._break(str(error))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            yield self._break(f"broken gzip: {error}; nothing after line {self.line} was read")
        except Exception as error:
            # Each file system has its own exceptions. None of them may stop the other files.
            yield self._break(
                f"cannot be read after line {self.line}: {type(error).__name__}: {error}"[:500],
                Reason.STORAGE_ERROR,
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
                    yield self._raw_prompt(body)

    def _break(self, detail: str, reason: Reason = Reason.INVALID_PROMPT) -> Failure:
        self.broken = detail
        return self._failure(detail, reason)

    def _failure(
        self, detail: str, reason: Reason = Reason.INVALID_PROMPT, body: bytes = b""
    ) -> Failure:
        location = f"{self._path} line {self.line}" if self.line else self._path
        failure = invalid(
            f"{location}: {detail}",
            body,
            self._attributes(),
            origin=self._origin(),
            source=self._source,
        )
        return dataclasses.replace(failure, reason=reason)

    def _lines(self, stream: BinaryIO) -> Iterator[bytes | None]:
        """Yield lines without their line ends, and None in place of a line that is too long."""
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
        # Bytes that are not UTF-8 pass through the csv module as lone surrogates; their row fails
        # later. The csv module rejoins the lines of a field that contains line breaks.
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
                yield self._raw_prompt(body)

    def _csv_line(self, line: bytes | None) -> str:
        inside_quotes = self._row_bytes > 0
        self._row_bytes += 1 + len(line or b"")
        if line is None or self._row_bytes > MAX_BODY_BYTES + 1:
            too_long = f"row is longer than {MAX_BODY_BYTES:,} bytes"
            if inside_quotes:  # inside quotes: the end of this row cannot be found any more
                raise _FileError(f"{too_long}; nothing after this line was read")
            raise _RowError(too_long)
        return line.decode("utf-8", "surrogateescape") + "\n"

    def _raw_prompt(self, body: bytes) -> RawPrompt:
        return RawPrompt(body=body, attributes=self._attributes(), origin=self._origin())

    def _origin(self) -> str:
        return f"{self._path}:{self.line}"

    def _attributes(self) -> dict[str, str]:
        # On a local disk, a file name may hold any bytes.
        name = self._path.encode("utf-8", "replace")[-_MAX_ATTRIBUTE_BYTES:]
        return {"file": name.decode("utf-8", "ignore"), "line": str(self.line)}


def _header(row: list[str]) -> list[str]:
    """Return the column names.

    Raises:
        _FileError: the column `prompt` is missing, or a column is unknown or appears twice.
    """
    names = [name.strip() for name in row]
    if "prompt" not in names:
        raise _FileError(f"no column 'prompt'; the columns are {_quoted(names)}")
    unknown = sorted(set(names) - set(FIELD_NAMES))
    if unknown:
        raise _FileError(
            f"unknown column {ascii(unknown[0])[:60]}; expected one of {', '.join(FIELD_NAMES)}"
        )
    if len(set(names)) < len(names):
        raise _FileError(f"a column name appears twice; the columns are {_quoted(names)}")
    return names


def _quoted(names: list[str]) -> str:
    return ", ".join(map(ascii, names))[:200]


def _fields(header: list[str], row: list[str]) -> dict[str, Any]:
    """Return the fields of the structured prompt in a row; an empty cell means no value.

    Raises:
        _RowError: the row has more or fewer cells than the header, or is not UTF-8.
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
        if _KINDS[name] is Kind.INTEGER and _INTEGER.fullmatch(cell):
            fields[name] = int(cell)
        elif _KINDS[name] is Kind.BOOLEAN:
            fields[name] = _BOOLEANS.get(cell.strip().lower(), cell)
        else:
            fields[name] = cell
    return fields
