"""One generation of an object in Cloud Storage, as a stream of the bytes as they are stored.

The job and a backfill's plan both read objects with this class, so that they cannot see different
bytes. It fetches piece by piece, so that memory is bounded whatever the object's size, and each
piece is of the same generation, so that an object that is replaced meanwhile is not read half and
half.

Must not import Google's client: whoever reads brings a blob of it.
"""

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from google.cloud.storage import Blob

PIECE_BYTES = 1 << 20


class StoredObject:
    """An object's bytes, never decompressed on the way; a context manager, as an open file is.

    Cloud Storage would decompress an object with `Content-Encoding: gzip`, ignoring the range
    (https://cloud.google.com/storage/docs/transcoding), unless it is asked for the bytes as stored,
    which is what `raw_download` does.

    Args:
        blob: the object, with the generation to read.
        size: its size in bytes, as stored.

    Attributes:
        error: the last error of reading; None if there was none.
    """

    def __init__(self, blob: "Blob", size: int) -> None:
        self._blob = blob
        self._size = size
        self._fetched = 0
        self._piece = b""
        self._position = 0
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: each piece has a request of its own."""

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size` and perhaps fewer; none at the end.

        Raises:
            OSError: Cloud Storage sent another number of bytes than it was asked for.
            google.api_core.exceptions.GoogleAPICallError: it refuses, or the generation is gone.
        """
        if self._position == len(self._piece) and self._fetched < self._size:
            try:
                self._piece = self._fetch(min(PIECE_BYTES, self._size - self._fetched))
            except Exception as error:
                self.error = error
                raise
            self._position = 0
            self._fetched += len(self._piece)
        part = self._piece[self._position : self._position + size]
        self._position += len(part)
        return part

    def _fetch(self, count: int) -> bytes:
        piece: bytes = self._blob.download_as_bytes(
            start=self._fetched,
            end=self._fetched + count - 1,
            raw_download=True,
            # The stored checksum is of the whole object, not of a piece.
            checksum=None,
        )
        if len(piece) != count:
            raise OSError(
                f"Cloud Storage sent {len(piece):,} bytes for the {count:,} from offset "
                f"{self._fetched:,}; set the object's Content-Type to text/plain, or upload it "
                "again"
            )
        return piece
