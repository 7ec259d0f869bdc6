"""One prompt file, counted: its prompts by their digests, its bad rows, and what ails it.

Read in pieces of the generation that was listed, so that memory is bounded whatever the size, and
a file that is replaced meanwhile is not half of each.
"""

import contextlib
import dataclasses
import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from imagen_ops.backfill.listing import ListedFile

if TYPE_CHECKING:
    from google.cloud.storage import Bucket

    from beam_jobs.prompts.parse import PromptDefaults

PIECE_BYTES = 1 << 20
SHOWN_ROWS = 20
_SHOWN_CHARS = 300
# As Python writes strings; one that was cut has no end.
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*(?:'|\\?$)|"(?:[^"\\]|\\.)*(?:"|\\?$)""")


class PriceGroup(NamedTuple):
    """What decides a prompt's price. `above_1k`: asks for images larger than 1K, which cost more
    than the price table says.
    """

    model: str
    images: int
    above_1k: bool


@dataclasses.dataclass(frozen=True, slots=True)
class FileCount:
    """What is in one file.

    `digests` holds, by kind, the prompts' digests in 16 bytes each, one after the other;
    `first_invalid` at most `SHOWN_ROWS` bad rows as `path:line: what`; `problem` what is wrong
    with the file as a whole.
    """

    file: ListedFile
    prompts: int = 0
    invalid: int = 0
    first_invalid: tuple[str, ...] = ()
    problem: str | None = None
    digests: Mapping[PriceGroup, bytes] = dataclasses.field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Prompts and bad rows."""
        return self.prompts + self.invalid


def count_file(
    bucket: "Bucket", file: ListedFile, path: str, defaults: "PromptDefaults"
) -> FileCount:
    """Read a file through; `path` is its name as the job knows it.

    What storage refuses for this one file is its problem. What goes wrong with storage as such is
    raised: a plan that left out what it could not reach would promise too little.
    """
    from beam_jobs.outcomes import Failure
    from beam_jobs.prompts.parse import Prompt, parse
    from beam_jobs.prompts.rows import PromptFile

    if file.name.endswith("/"):
        return FileCount(file, problem=f"{path}: a folder's placeholder, not a file of prompts")
    if file.size == 0:
        return FileCount(file, problem=f"{path}: is empty")
    pieces = _Pieces(bucket, file)
    prompts = PromptFile(path, defaults.source)
    digests: dict[PriceGroup, bytearray] = {}
    counted = invalid = 0
    shown: list[str] = []
    for row in prompts.read(lambda: contextlib.closing(pieces.buffered())):
        if prompts.broken is not None:
            break  # this is no row: it says that the file ends here
        item: Any = row
        if not isinstance(row, Failure):
            item = parse(row.body, row.attributes, origin=row.origin, defaults=defaults)
        if isinstance(item, Prompt):
            counted += 1
            kind = PriceGroup(item.model, item.images, item.image_size not in (None, "1K"))
            digests.setdefault(kind, bytearray()).extend(bytes.fromhex(item.digest))
        elif isinstance(item, Failure):
            invalid += 1
            if len(shown) < SHOWN_ROWS:
                shown.append(_shown(path, prompts.line, item.detail))
    return FileCount(
        file,
        counted,
        invalid,
        tuple(shown),
        _problem(path, prompts, pieces.error, counted + invalid),
        {kind: bytes(raw) for kind, raw in digests.items()},
    )


def _problem(path: str, prompts: Any, error: Exception | None, rows: int) -> str | None:
    from google.api_core.exceptions import Forbidden, NotFound

    after = f"after line {prompts.line}" if prompts.line else "before its first line"
    match error:
        case None:
            pass
        case NotFound():
            return f"{path}: was changed or deleted {after}, while it was read; plan again"
        case Forbidden():
            return f"{path}: may not be read: {error.message}"[:_SHOWN_CHARS]
        case _:
            raise error
    if prompts.broken is not None:
        place = f"{path}:{prompts.line}" if prompts.line else path
        return f"{place}: {_unquoted(prompts.broken)}"
    return None if rows else f"{path}: has no prompts"


def _shown(path: str, line: int, detail: str) -> str:
    """Return a bad row as `path:line: what`; failures of reading name their place themselves."""
    what = detail.removeprefix(f"{path} line {line}: ")
    return f"{path}:{line}: {_unquoted(what)}"


def _unquoted(what: str) -> str:
    """Return `what` without what it quotes of a file, but for the names of our own fields.

    That may be somebody's prompt, which belongs in its dead letter: a plan is logged, and kept.
    """
    from beam_jobs.prompts.parse import FIELDS

    def left(quoted: re.Match[str]) -> str:
        return quoted[0] if quoted[0][1:-1] in FIELDS else "'…'"

    return _QUOTED.sub(left, what)[:_SHOWN_CHARS]


class _Pieces(io.RawIOBase):
    """One generation of an object as a stream; `error` is what storage answered instead of it."""

    def __init__(self, bucket: "Bucket", file: ListedFile) -> None:
        super().__init__()
        self._blob = bucket.blob(file.name, generation=file.generation)
        self._size = file.size
        self._at = 0
        self.error: Exception | None = None

    def buffered(self) -> io.BufferedReader:
        """Return the stream to read from."""
        return io.BufferedReader(self, min(PIECE_BYTES, self._size))

    def readable(self) -> bool:
        """Yes, and only that."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fetch the next piece, as stored."""
        count = min(len(buffer), self._size - self._at)
        if count == 0:
            return 0
        try:
            piece = self._blob.download_as_bytes(
                start=self._at,
                end=self._at + count - 1,
                raw_download=True,
                # Of the whole object: nothing to check a piece against.
                checksum=None,
            )
        except Exception as error:
            self.error = error
            raise
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
