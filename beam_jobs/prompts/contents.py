"""What a file holds, told by its first bytes: text, gzip around text, or neither.

Must not import Beam or a file system: see `beam_jobs.prompts.rows`.
"""

import gzip
import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from beam_jobs.prompts.damage import is_clean, is_mostly_binary

GZIP_MAGIC = b"\x1f\x8b"
# A `.gz` file that was gzipped once more on its way into the bucket, as `gcloud storage cp
# --gzip-in-flight-all` and `gsutil cp -Z` do. More layers are an accident or an attack: a gzip file
# can be made to hold itself.
MAX_GZIP_LAYERS = 2
_CHUNK_BYTES = 64 * 1024
# Longer than any signature below except the one of tar, which is looked for where there is more.
_SIGNATURE_BYTES = 256
# A shorter row before binary is taken for a part of it.
_MIN_ROW_BYTES = 4

# Each begins as no text does. From the formats' own specifications, as listed in
# https://en.wikipedia.org/wiki/List_of_file_signatures and by file(1).
_SIGNATURES = {
    rb"PK(\x03\x04|\x05\x06|\x07\x08)": "ZIP (an .xlsx file is ZIP too)",
    rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": "bzip2",
    rb"\xfd7zXZ\x00": "xz",
    rb"(\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)": "Zstandard",
    rb"\x04\x22\x4d\x18": "LZ4",
    rb"\xff\x06\x00\x00sNaPpY": "Snappy",
    rb"\x5d\x00\x00": "LZMA",
    rb"LZIP\x01": "lzip",
    rb"\x1f[\x9d\xa0]": "compress (.Z)",
    rb"7z\xbc\xaf\x27\x1c": "7-Zip",
    rb"Rar!\x1a\x07": "RAR",
    rb".{257}ustar": "tar",
    rb"PAR1\x15": "Parquet",
    rb"Obj\x01": "Avro",
    rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Office format",
    rb"%PDF-": "PDF",
    rb"\x89PNG\r\n\x1a\n": "PNG",
    rb"\xff\xd8\xff": "JPEG",
    rb"SQLite format 3\x00": "SQLite",
}
# Formats that are text, but hold no prompts: told after white space and a byte order mark.
_TEXT_SIGNATURES = {
    rb"\{\\rtf": "RTF; save it as plain text",
    rb"<(?:(?:!doctype|html|head|body)\b|!--)": "HTML, such as the page of a login or an error",
    rb"<(?:\?xml|error|svg)\b": "XML, such as an answer of Cloud Storage",
    rb"version https://git-lfs\.": "a Git LFS pointer; run `git lfs pull` and upload it again",
    rb"-----BEGIN [A-Z]": "encrypted, signed or a key",
    rb"%!PS": "PostScript",
    rb"MIME-Version:": "an e-mail or a web archive",
    rb"begin(?:-base64)? [0-7]{3} ": "uuencoded; decode it first",
    rb"\+/v[89+/]": "UTF-7; save it as UTF-8",
    # Two lines as `base64` breaks them, or longer.
    rb"[A-Za-z0-9+/]{60,}\r?\n(?:[A-Za-z0-9+/]{60,}|[A-Za-z0-9+/]{1,60}={0,2}\s*\Z)": (
        "base64; decode it first"
    ),
}
_TEXT_SIGNATURE = [
    (re.compile(rb"(?:\xef\xbb\xbf|\s)*" + pattern, re.IGNORECASE), name)
    for pattern, name in _TEXT_SIGNATURES.items()
]
_SIGNATURE = re.compile(
    b"|".join(b"(?P<s%d>%s)" % pair for pair in enumerate(_SIGNATURES)), re.DOTALL
)
_NAMES = {f"s{number}": name for number, name in enumerate(_SIGNATURES.values())}
_UTF_16_OR_32_MARK = re.compile(rb"\xff\xfe|\xfe\xff|\x00\x00\xfe\xff")


class Stored(Protocol):
    """A file as stored, from its beginning."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""


class NotTextError(ValueError):
    """The file holds something other than text. The message says what, and what is expected."""


def text_chunks(stored: Stored) -> Iterator[bytes]:
    """Yield the text in a file, chunk by chunk, decompressed.

    Args:
        stored: the file.

    Raises:
        NotTextError: the file is no text; nothing has been yielded.
        EOFError, gzip.BadGzipFile, zlib.error: the file is a damaged gzip.
    """
    stream = _Peeked(stored)
    layers = 0
    while stream.head.startswith(GZIP_MAGIC):
        layers += 1
        if layers > MAX_GZIP_LAYERS:
            raise NotTextError(
                f"is gzipped more than {MAX_GZIP_LAYERS} times; expected text, gzipped once or "
                "not at all"
            )
        compressed: Any = stream  # GzipFile would need `seek` only to go back
        stream = _Peeked(gzip.GzipFile(fileobj=compressed))
    _check_that_it_is_text(stream.head)
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk


class _Peeked:
    """A stream whose first bytes, `head`, are known before they are read."""

    def __init__(self, stream: Stored) -> None:
        # A buffered `read` loses what it has if the stream breaks off before it has enough.
        self._read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        self.head = self._read(_CHUNK_BYTES)
        while self.head and len(self.head) < _SIGNATURE_BYTES:
            try:
                more = self._read(_CHUNK_BYTES)
            except Exception:
                break  # whoever reads on gets it again, after the head
            if not more:
                break
            self.head += more
        self._unread = self.head

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""
        if self._unread:
            chunk, self._unread = self._unread[:size], self._unread[size:]
            return chunk
        return self._read(size)


def _check_that_it_is_text(head: bytes) -> None:
    """Look at the first bytes of a file's content.

    Raises:
        NotTextError: they are of a known binary format, of UTF-16 or UTF-32, or of neither text nor
            any format known here.
    """
    if match := _SIGNATURE.match(head):
        name = _NAMES[match.lastgroup] if match.lastgroup else "binary"
        raise NotTextError(f"is {name}; expected text in UTF-8, plain or gzipped")
    for pattern, name in _TEXT_SIGNATURE:
        if pattern.match(head):
            raise NotTextError(f"is {name}; expected prompts, in text, JSON lines or CSV")
    if is_clean(head):
        return
    lines = [line for line in head.splitlines() if line.strip()]
    clean = sum(map(is_clean, lines))
    if _UTF_16_OR_32_MARK.match(head) and clean * 2 < len(lines):
        raise NotTextError("is UTF-16 or UTF-32; save it as UTF-8")
    # In a text with bad rows, other rows are clean. Of random bytes, a line in 300 is, by chance,
    # and then is short.
    if clean * 20 >= len(lines) and not (len(lines[0]) < _MIN_ROW_BYTES and is_clean(lines[0])):
        return
    if head.count(0) * 4 > len(head):
        raise NotTextError("is UTF-16 without a byte order mark, or binary; expected text in UTF-8")
    if is_mostly_binary(lines):
        raise NotTextError("is binary; expected text in UTF-8, plain or gzipped")
