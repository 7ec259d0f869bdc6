"""The index of buckets, objects and uploads in SQLite. It stores rows; the rules are in the store.

One process at a time holds its exclusive lock, which also saves SQLite the shared memory for its
log. Writes are not synced: the state survives the process, but not a power cut.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from localcloud.storage.records import Bucket, Content, StoredObject

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, metageneration INTEGER, created TEXT, updated TEXT, fields TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT, name TEXT, content TEXT, size INTEGER, crc32c TEXT, md5 TEXT, components INTEGER,
    generation INTEGER, metageneration INTEGER, created TEXT, updated TEXT, attributes TEXT,
    PRIMARY KEY (bucket, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, content TEXT, started REAL, request TEXT, result TEXT
) WITHOUT ROWID;
"""
_OBJECT = (
    "bucket, name, content, size, crc32c, md5, components, generation, metageneration, created,"
    " updated, attributes"
)
_GET_OBJECT = f"SELECT {_OBJECT} FROM objects WHERE bucket = ? AND name = ?"  # noqa: S608 - constants
_PUT_OBJECT = "INSERT OR REPLACE INTO objects VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"


class Index:
    """The rows of the index. Not thread-safe: the store holds the lock.

    Raises:
        RuntimeError: another process uses the folder.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2.0)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.executescript(_SCHEMA)
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._db.close()
            raise RuntimeError(
                f"cannot open {path} ({error}); stop the other process that serves this folder, or"
                " use another folder"
            ) from error

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def last_generation(self) -> int:
        """Return the highest generation of any live object; 0 without objects."""
        return int(self._db.execute("SELECT ifnull(max(generation), 0) FROM objects").fetchone()[0])

    def content_ids(self) -> set[str]:
        """Return the contents that an object or an unfinished upload points to."""
        rows = self._db.execute(
            "SELECT content FROM objects UNION ALL SELECT content FROM uploads WHERE result IS NULL"
        )
        return {row[0] for row in rows}

    def bucket(self, name: str) -> Bucket | None:
        """Return the bucket, or None if it does not exist."""
        row = self._db.execute("SELECT * FROM buckets WHERE name = ?", (name,)).fetchone()
        return None if row is None else _bucket(row)

    def put_bucket(self, bucket: Bucket) -> None:
        """Insert or replace a bucket."""
        self._db.execute(
            "INSERT OR REPLACE INTO buckets VALUES (?,?,?,?,?)",
            (
                bucket.name,
                bucket.metageneration,
                bucket.created,
                bucket.updated,
                json.dumps(dict(bucket.fields)),
            ),
        )

    def delete_bucket(self, name: str) -> None:
        """Delete the bucket's row."""
        self._db.execute("DELETE FROM buckets WHERE name = ?", (name,))

    def buckets(self) -> Iterator[Bucket]:
        """Yield all buckets, sorted by name."""
        for row in self._db.execute("SELECT * FROM buckets ORDER BY name").fetchall():
            yield _bucket(row)

    def object(self, bucket: str, name: str) -> StoredObject | None:
        """Return the live object, or None if it does not exist."""
        row = self._db.execute(_GET_OBJECT, (bucket, name)).fetchone()
        return None if row is None else _stored(row)

    def put_object(self, stored: StoredObject, upload_id: str | None = None) -> None:
        """Insert or replace an object, which makes its content visible to readers.

        The same transaction ends the resumable upload `upload_id`, if any. Otherwise resuming the
        upload after a crash would write into the object.
        """
        if upload_id is None:
            self._db.execute(_PUT_OBJECT, _row(stored))
            return
        self._db.execute("BEGIN")
        try:
            self._db.execute(_PUT_OBJECT, _row(stored))
            result = json.dumps(_row(stored))
            self._db.execute("UPDATE uploads SET result = ? WHERE id = ?", (result, upload_id))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def delete_object(self, bucket: str, name: str) -> None:
        """Delete the object's row."""
        self._db.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (bucket, name))

    def objects(
        self, bucket: str, start: str, end: str | None, limit: int
    ) -> Sequence[StoredObject]:
        """Return at most `limit` objects with names in [start, end), sorted by name."""
        below, names = ("", ()) if end is None else (" AND name < ?", (end,))
        rows = self._db.execute(
            f"SELECT {_OBJECT} FROM objects WHERE bucket = ? AND name >= ?{below}"  # noqa: S608 - constants
            " ORDER BY name LIMIT ?",
            (bucket, start, *names, limit),
        )
        return [_stored(row) for row in rows]

    def put_upload(
        self, upload_id: str, content_id: str, started: float, request: Mapping[str, Any]
    ) -> None:
        """Save a resumable upload.

        Args:
            upload_id: the upload's id.
            content_id: the id of its content.
            started: when it started, in seconds since 1970.
            request: what the upload will become, as JSON.
        """
        self._db.execute(
            "INSERT INTO uploads VALUES (?,?,?,?,NULL)",
            (upload_id, content_id, started, json.dumps(request)),
        )

    def upload(self, upload_id: str) -> tuple[str, dict[str, Any], StoredObject | None] | None:
        """Return a resumable upload's content id, request, and, once finished, its object."""
        row = self._db.execute(
            "SELECT content, request, result FROM uploads WHERE id = ?", (upload_id,)
        ).fetchone()
        if row is None:
            return None
        result = None if row[2] is None else _stored(tuple(json.loads(row[2])))
        return row[0], json.loads(row[1]), result

    def delete_upload(self, upload_id: str) -> None:
        """Delete an upload's row."""
        self._db.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))

    def delete_uploads_before(self, started: float) -> None:
        """Delete the rows of uploads that started earlier, in seconds since 1970."""
        self._db.execute("DELETE FROM uploads WHERE started < ?", (started,))


def _stored(row: tuple[Any, ...]) -> StoredObject:
    return StoredObject(
        row[0],
        row[1],
        Content(*row[2:7]),
        row[7],
        row[8],
        row[9],
        row[10],
        json.loads(row[11]),
    )


def _bucket(row: tuple[Any, ...]) -> Bucket:
    return Bucket(row[0], row[1], row[2], row[3], json.loads(row[4]))


def _row(stored: StoredObject) -> tuple[Any, ...]:
    content = stored.content
    return (
        stored.bucket,
        stored.name,
        content.id,
        content.size,
        content.crc32c,
        content.md5,
        content.components,
        stored.generation,
        stored.metageneration,
        stored.created,
        stored.updated,
        json.dumps(stored.attributes),
    )
