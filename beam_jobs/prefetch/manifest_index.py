"""Finds the manifest's row for an image, among up to 200,000 of them, in little memory.

The rows of a part take up to a gigabyte, with texts of prompts, so they are kept in a file on the
worker's disk: SQLite finds one in 20 µs. The file is made once in a process, and is gone with it.
"""

import itertools
import logging
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from google.cloud import storage

from beam_jobs.prefetch.manifest import ManifestError, ManifestRow

_log = logging.getLogger(__name__)

ROWS_AT_ONCE = 1000
# How much of a manifest is in memory while it is read.
CHUNK_BYTES = 4 << 20


class ManifestIndex:
    """The rows of one manifest. Made in one thread, and used in one thread, maybe another one.

    Args:
        lines: those of the manifest.
        file: where to keep them; it must not exist.
    """

    def __init__(self, lines: Iterable[bytes], file: Path) -> None:
        self._rows = sqlite3.connect(file, check_same_thread=False)
        # Nobody reads the file after a crash.
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.execute("CREATE TABLE row (image TEXT PRIMARY KEY, line BLOB) WITHOUT ROWID")
        pairs = _pairs(lines)
        while batch := list(itertools.islice(pairs, ROWS_AT_ONCE)):
            self._rows.executemany("INSERT OR IGNORE INTO row VALUES (?, ?)", batch)
        self._rows.commit()

    def find(self, image: str) -> ManifestRow | None:
        """Return what is known of the request for an image; None if there is none in the part."""
        try:
            found = self._rows.execute("SELECT line FROM row WHERE image = ?", (image,)).fetchone()
        except UnicodeEncodeError:  # a label may be any text
            return None
        return ManifestRow.parse(found[0]) if found else None


class Manifests:
    """The manifests that this process has read.

    Args:
        open_manifest: returns the lines of the manifest at a gs:// path.
    """

    def __init__(self, open_manifest: Callable[[str], Iterable[bytes]]) -> None:
        self._open = open_manifest
        self._folder = tempfile.TemporaryDirectory(prefix="imagen-manifests-")
        self._indexes: dict[str, ManifestIndex] = {}
        self._reading = threading.Lock()

    def index(self, url: str) -> ManifestIndex:
        """Return the index of a manifest, and make it first if need be. Call from any thread.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: the manifest cannot be read.
        """
        with self._reading:
            if url not in self._indexes:
                file = Path(self._folder.name, f"{len(self._indexes)}.sqlite")
                self._indexes[url] = ManifestIndex(self._open(url), file)
            return self._indexes[url]


def manifest_lines(url: str) -> Iterator[bytes]:
    """Yield the lines of a manifest in Cloud Storage, in bounded memory."""
    bucket, _, name = url.removeprefix("gs://").partition("/")
    # Access to objects depends on the bucket, so no project is needed.
    blob: Any = storage.Client(project=None).bucket(bucket).blob(name)
    with blob.open("rb", chunk_size=CHUNK_BYTES) as file:
        yield from file


def _pairs(lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(lines, 1):
        try:
            yield ManifestRow.parse(line).image, line
        except ManifestError as error:
            # The rows of output for its image count as another job's, and the backfill's own job
            # makes the image.
            _log.warning("manifest: line %d is none of a manifest: %s", number, error)
