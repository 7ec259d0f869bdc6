"""Reads the rows of a prompt file: .txt lines, .jsonl objects or .csv rows.

The name tells the format, and the first bytes tell whether the file is gzipped, or no text at all.
Reads row by row in bounded memory, whatever the file holds. A row that cannot be read becomes a
`Failure` that names its file and line. So does a file that cannot be read, or not to its end.

Must not import Beam or a file system: the planning of a backfill reads files with this module too,
and must see the same rows as the job.
"""

import dataclasses
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from beam_jobs.outcomes import Failure, Reason
from beam_jobs.prompts.contents import NotTextError, Stored, text_chunks
from beam_jobs.prompts.csv_fields import RowError, fields_in, header_of, names_in
from beam_jobs.prompts.csv_rows import TOO_LONG, CsvRows
from beam_jobs.prompts.damage import BinaryError, OtherEncoding, until_binary
from beam_jobs.prompts.fields import FIELD_NAMES
from beam_jobs.prompts.file_error import FileError
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.limits import NO_LIMITS, FileLimits
from beam_jobs.prompts.lines import lines_of, without_mark
from beam_jobs.prompts.parse import invalid
from beam_jobs.prompts.seams import divided

# BigQuery's exports of an object per line are usually called .json.
_JSON_SUFFIXES = (".jsonl", ".json")
SUFFIXES = (".txt", *_JSON_SUFFIXES, ".csv")
# https://cloud.google.com/pubsub/quotas#resource_limits
_MAX_ATTRIBUTE_BYTES = 1024
# The first line of a list with an object or a text, or a part of one, on each line.
_JSON_LIST = re.compile(rb"\[\s*(?:\{(?:.*,)?|\".*,)?", re.DOTALL)
# The first line of an object with a field on each line.
_JSON_OVER_LINES = re.compile(rb'\{(?:\s*".*[,{\[:])?', re.DOTALL)
# Columns of which a header has one.
_NAMED = frozenset({"prompt", "template"})
_ONLY_BRACKETS = re.compile(rb"[\[\]{}(),;\s]+")
# `parse` reads what begins like this as JSON, and other bodies as text if they are no JSON.
_JSON_OBJECT = re.compile(rb'\{\s*"')

_OTHER_ENCODING = (
    "is UTF-8 by chance: most of the file's lines with other letters than ASCII are not; save the "
    "file as UTF-8"
)


class PromptFileReader:
    """One file of prompts, with the position of the reader in it.

    Args:
        path: names the file in messages and failures. Its suffix tells the format.
        source: the source that its failures name, such as `backfill:RUN`.
        limits: how much of it is read. What is beyond is one failure.
        templated: whether its prompts have a template even if they name none.

    Attributes:
        line: number of the last line of the row that was read last, starting at 1.
        broken: once `read` has finished, why it could not read the file to its end; None if it
            could.
        over_limit: whether that is because it has more than the limits allow.
    """

    def __init__(
        self, path: str, source: str, limits: FileLimits = NO_LIMITS, *, templated: bool = False
    ) -> None:
        # On a local disk, a name may hold any bytes. Messages and attributes may not.
        self._path = path.encode("utf-8", "backslashreplace").decode()
        self._source = source
        self._limits = limits
        self._templated = templated
        self.line = 0
        self.broken: str | None = None
        self.over_limit = False
        self._encoding = OtherEncoding()

    def read(
        self, open_file: Callable[[], AbstractContextManager[Stored]]
    ) -> Iterator[RawPrompt | Failure]:
        """Yield the rows of the file; call it once. Never raises.

        A file with an unknown suffix is not opened. If the file is `broken`, the last item is the
        failure that says why.

        Args:
            open_file: opens the file for reading its bytes as stored, not decompressed.
        """
        if self._path.endswith("/"):
            yield self._break("is a folder placeholder, not a prompt file")
            return
        suffix = next((s for s in SUFFIXES if self._path.removesuffix(".gz").endswith(s)), None)
        if suffix is None:
            yield self._break(
                f"expected a file ending in {', '.join(SUFFIXES)}, or one of these and .gz"
            )
            return
        try:
            with open_file() as stored:
                chunks = self._encoding.watch(self._limited_bytes(text_chunks(stored)))
                lines = divided(until_binary(lines_of(chunks)), suffix)
                rows = self._csv(lines) if suffix == ".csv" else self._lines(lines, suffix)
                yield from self._limited_rows(rows)
        except (NotTextError, BinaryError, FileError) as error:
            yield self._break(str(error))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            yield self._break(f"broken gzip: {error}; nothing after line {self.line} was read")
        except Exception as error:
            # Each file system has its own exceptions. None of them may stop the other files.
            yield self._break(
                f"cannot be read after line {self.line}: {type(error).__name__}: {error}"[:500],
                Reason.STORAGE_ERROR,
            )

    def _limited_bytes(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        limit = self._limits.max_unpacked_bytes
        count = 0
        for chunk in chunks:
            count += len(chunk)
            if limit is not None and count > limit:
                self.over_limit = True
                raise FileError(
                    f"holds more than {limit:,} bytes of text, which --max_unpacked_bytes allows; "
                    "nothing beyond is read: split the file, or raise the limit"
                )
            yield chunk

    def _limited_rows(self, rows: Iterable[RawPrompt | Failure]) -> Iterator[RawPrompt | Failure]:
        limit = self._limits.max_rows
        for count, row in enumerate(rows, start=1):
            if limit is not None and count > limit:
                self.over_limit = True
                raise FileError(
                    f"has more than {limit:,} rows, which --max_rows allows; nothing from this "
                    "line on is read: split the file, or raise the limit"
                )
            yield row

    def _lines(self, lines: Iterable[bytes | None], suffix: str) -> Iterator[RawPrompt | Failure]:
        is_json = suffix in _JSON_SUFFIXES
        is_first = True
        for self.line, line in enumerate(lines, start=1):
            if line is None:
                yield self._failure(TOO_LONG)
            elif body := without_mark(line).strip():
                if is_first:
                    _refuse_other_format(body, suffix)
                if is_json and not _JSON_OBJECT.match(body):
                    advice = ", as jq -c .[] writes those of a list" if body[:1] == b"[" else ""
                    yield self._failure(f"expected a JSON object on one line{advice}", body=body)
                elif _ONLY_BRACKETS.fullmatch(body):
                    yield self._failure("has nothing but brackets and commas", body=body)
                elif self._encoding.is_doubtful(body):
                    yield self._failure(_OTHER_ENCODING, body=body)
                else:
                    yield self._raw_prompt(body)
                is_first = False

    def _csv(self, lines: Iterable[bytes | None]) -> Iterator[RawPrompt | Failure]:
        rows = CsvRows(lines)
        header: list[str] | None = None
        for row in rows:
            self.line = row.line
            if header is None:
                header = header_of(row, templated=self._templated)
                rows.columns = len(header)
                continue
            if row.cells is None:
                yield self._failure(row.problem, body=row.raw)
                continue
            if self._encoding.is_doubtful(row.raw):
                yield self._failure(_OTHER_ENCODING, body=row.raw)
                continue
            names = [name.lower() for name in names_in(row.cells)]
            if names == [name.lower() for name in header]:
                continue  # the header of the next of the files that were put together
            if row.begins_a_file and (self._templated or _NAMED.intersection(names)):
                # That of a file with other columns.
                header = header_of(row, templated=self._templated)
                rows.columns = len(header)
                continue
            try:
                body = json.dumps(fields_in(header, row.cells), ensure_ascii=False).encode("utf-8")
            except RowError as error:
                yield self._failure(str(error), body=row.raw)
            else:
                yield self._raw_prompt(body)

    def _break(self, detail: str, reason: Reason = Reason.INVALID_PROMPT) -> Failure:
        self.broken = detail
        return self._failure(detail, reason)

    def _failure(
        self, detail: str, reason: Reason = Reason.INVALID_PROMPT, body: bytes = b""
    ) -> Failure:
        location = self._origin() if self.line else self._path
        failure = invalid(
            f"{location}: {detail}",
            body,
            self._attributes(),
            origin=self._origin(),
            source=self._source,
        )
        return dataclasses.replace(failure, reason=reason)

    def _raw_prompt(self, body: bytes) -> RawPrompt:
        return RawPrompt(body=body, attributes=self._attributes(), origin=self._origin())

    def _origin(self) -> str:
        return f"{self._path}:{self.line}"

    def _attributes(self) -> dict[str, str]:
        name = self._path.encode()[-_MAX_ATTRIBUTE_BYTES:]
        return {"file": name.decode("utf-8", "ignore"), "line": str(self.line)}


def _refuse_other_format(first: bytes, suffix: str) -> None:
    """Check that the first row of a file of lines does not begin something over several lines.

    Raises:
        FileError: it begins a JSON list or object, or, in a `.txt` file, a table.
    """
    advice = "" if suffix in _JSON_SUFFIXES else ", and a name that ends in .jsonl"
    if _JSON_LIST.fullmatch(first):
        raise FileError(
            "is a JSON list over several lines; expected a JSON object on each line, "
            f"as jq -c .[] writes it{advice}"
        )
    if _JSON_OVER_LINES.fullmatch(first):
        raise FileError(
            "is a JSON object over several lines; expected each on one line, as jq -c . writes "
            f"it{advice}"
        )
    names = {
        name.strip(' "') for name in re.split("[,;\t|]", first.decode("utf-8", "replace").lower())
    }
    if suffix not in _JSON_SUFFIXES and "prompt" in names and names.issubset(FIELD_NAMES):
        raise FileError(
            "begins with the names of columns; rename it so that it ends in .csv, or remove this "
            "line"
        )
