"""The object store: contents and index together, and the rules for changing objects.

Every change is checked against its preconditions and committed atomically under one lock, so that
exactly one of any number of writers with the same condition succeeds. Knows nothing of HTTP.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from localcloud.storage import attributes, errors, listing
from localcloud.storage.contents import Contents, ContentWriter
from localcloud.storage.index import Index
from localcloud.storage.preconditions import NONE, Preconditions
from localcloud.storage.records import (
    Bucket,
    Checksums,
    Content,
    StoredObject,
    check_bucket_name,
    check_object_name,
)
from localcloud.storage.sessions import (
    UPLOAD_LIFE_SECONDS,
    UploadRequest,
    UploadSession,
    UploadSessions,
)


@dataclass(frozen=True, slots=True)
class Source:
    """An object to copy from. `generation` None means the live one."""

    bucket: str
    name: str
    generation: int | None = None
    conditions: Preconditions = NONE


class ObjectStore:
    """Buckets and objects under the folder `root`, which is created if missing.

    Methods are synchronous and thread-safe, and take well under a millisecond unless noted. They
    raise StorageError: 400 for an invalid request, 404 for a missing bucket or object, 412 for a
    precondition that does not hold. Committed changes survive a killed process.

    Raises:
        RuntimeError: another process serves the same folder.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._index = Index(root / "index.sqlite")
        self._contents = Contents(root / "contents")
        self._index.delete_uploads_before(time.time() - UPLOAD_LIFE_SECONDS)
        self._contents.sweep(self._index.content_ids())
        self._generation = self._index.last_generation()
        self.uploads = UploadSessions(self._index, self._contents, self._lock)

    def close(self) -> None:
        """Release the folder. Unfinished resumable uploads can be resumed after the next start."""
        self.uploads.close()
        with self._lock:
            self._index.close()

    def create_bucket(self, name: str, fields: Mapping[str, Any] | None = None) -> Bucket:
        """Create a bucket with these fields; 409 if it exists."""
        now = _now()
        bucket = Bucket(check_bucket_name(name), 1, now, now, attributes.patched({}, fields or {}))
        with self._lock:
            if self._index.bucket(name) is not None:
                raise errors.bucket_exists()
            self._index.put_bucket(bucket)
        return bucket

    def bucket(self, name: str, conditions: Preconditions = NONE) -> Bucket:
        """Return a bucket."""
        with self._lock:
            bucket = self._bucket(name)
        conditions.check(bucket, reading=True)
        return bucket

    def buckets(self, prefix: str = "", after: str = "") -> list[Bucket]:
        """Return the buckets whose names start with `prefix` and come after `after`, by name."""
        with self._lock:
            buckets = list(self._index.buckets())
        return [b for b in buckets if b.name.startswith(prefix) and b.name > after]

    def update_bucket(
        self,
        name: str,
        fields: Mapping[str, Any],
        conditions: Preconditions = NONE,
        *,
        merge: bool = True,
    ) -> Bucket:
        """Change a bucket's fields: like PATCH with `merge`, else replace all of them, like PUT."""
        with self._lock:
            bucket = self._bucket(name)
            conditions.check(bucket)
            changed = replace(
                bucket,
                metageneration=bucket.metageneration + 1,
                updated=_now(),
                fields=attributes.patched(bucket.fields if merge else {}, fields),
            )
            self._index.put_bucket(changed)
        return changed

    def delete_bucket(self, name: str, conditions: Preconditions = NONE) -> None:
        """Delete an empty bucket; 409 if it is not empty."""
        with self._lock:
            conditions.check(self._bucket(name))
            if self._index.objects(name, "", None, 1):
                raise errors.bucket_not_empty()
            self._index.delete_bucket(name)

    def new_content(self, *, md5: bool = True) -> ContentWriter:
        """Return a new content to write and then `put`, or else to discard."""
        return self._contents.create(md5=md5)

    def put(
        self,
        bucket: str,
        name: str,
        content: Content,
        fields: Mapping[str, Any] | None = None,
        conditions: Preconditions = NONE,
        expected: Checksums | None = None,
        upload: UploadSession | None = None,
    ) -> StoredObject:
        """Make a finished content the live version of an object.

        If this fails, `content` is deleted, unless it belongs to an `upload`.

        Args:
            bucket: the bucket.
            name: the object's name.
            content: the finished content.
            fields: an object resource; only its writable fields are used.
            conditions: preconditions on the version that is replaced.
            expected: checksums to verify.
            upload: the resumable upload of the content, which ends in the same commit. If the
                commit fails, the upload can be resumed.
        """
        try:
            check_object_name(name)
            writable = attributes.fresh(fields or {})
            if expected is not None:
                expected.verify(content)
            with self._lock:
                self._bucket(bucket)
                live = self._index.object(bucket, name)
                conditions.check(live)
                now = _now()
                generation = self._next_generation()
                stored = StoredObject(bucket, name, content, generation, 1, now, now, writable)
                self._index.put_object(stored, None if upload is None else upload.id)
        except BaseException:
            if upload is None:
                self._contents.remove(content.id)
            raise
        if live is not None:
            self._contents.remove(live.content.id)
        return stored

    def check_upload(self, request: UploadRequest) -> None:
        """Raise the StorageError that `request` would end in if its content were complete now."""
        attributes.fresh(request.fields)
        with self._lock:
            self._bucket(request.bucket)
            request.conditions.check(self._index.object(request.bucket, request.name))

    def finish_upload(
        self, session: UploadSession, owner: object, expected: Checksums | None = None
    ) -> StoredObject:
        """Turn a complete resumable upload into its object.

        After a restart, this takes as long as hashing what was received before it. If the object
        is rejected, the upload ends too. If the state folder fails, the upload can be resumed.

        Args:
            session: the upload.
            owner: who has taken the session.
            expected: checksums in addition to those of the upload's request.
        """
        request = session.request
        content = session.finish(owner)
        try:
            return self.put(
                request.bucket,
                request.name,
                content,
                request.fields,
                request.conditions,
                request.expected.overlaid(expected or Checksums()),
                session,
            )
        except errors.StorageError:
            self.uploads.drop(session)
            raise
        finally:
            self.uploads.forget(session)

    def write(
        self,
        bucket: str,
        name: str,
        data: bytes,
        fields: Mapping[str, Any] | None = None,
        conditions: Preconditions = NONE,
    ) -> StoredObject:
        """Store `data` as an object, in one call."""
        writer = self.new_content()
        writer.append((data,))
        return self.put(bucket, name, writer.finish(), fields, conditions)

    def get(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Preconditions = NONE,
    ) -> StoredObject:
        """Return the live object; 404 if it has another `generation`, 304 as `conditions` say."""
        with self._lock:
            stored = self._live(bucket, name, generation)
        conditions.check(stored, reading=True)
        return stored

    def open(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Preconditions = NONE,
    ) -> tuple[StoredObject, BinaryIO]:
        """Like `get`, but also open that version for reading, even if it is replaced later."""
        while True:
            stored = self.get(bucket, name, generation, conditions)
            try:
                return stored, self._contents.open(stored.content.id)
            except FileNotFoundError:
                # The object was replaced in between, unless the index still has this content.
                if self.get(bucket, name).content.id == stored.content.id:
                    raise errors.StorageError(
                        500,
                        "backendError",
                        f"The content of {bucket}/{name} is missing from the state folder",
                    ) from None

    def read(self, bucket: str, name: str) -> bytes:
        """Return the whole content of the live object."""
        _, file = self.open(bucket, name)
        with file:
            return file.read()

    def list_objects(self, bucket: str, query: listing.ListQuery) -> listing.ListPage:
        """Return one page of objects. A full page takes some 10 ms."""

        def fetch(start: str, end: str | None, limit: int) -> Sequence[StoredObject]:
            with self._lock:
                return self._index.objects(bucket, start, end, limit)

        with self._lock:
            self._bucket(bucket)
        return listing.walk(query, fetch)

    def update(
        self,
        bucket: str,
        name: str,
        fields: Mapping[str, Any],
        generation: int | None = None,
        conditions: Preconditions = NONE,
        *,
        merge: bool = True,
    ) -> StoredObject:
        """Change an object's metadata: like PATCH with `merge`, else replace all, like PUT."""
        changes = attributes.accepted(fields)
        with self._lock:
            stored = self._live(bucket, name, generation)
            conditions.check(stored)
            changed = replace(
                stored,
                metageneration=stored.metageneration + 1,
                updated=_now(),
                attributes=attributes.patched(stored.attributes if merge else {}, changes),
            )
            self._index.put_object(changed)
        return changed

    def delete(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Preconditions = NONE,
    ) -> None:
        """Delete the live object."""
        with self._lock:
            stored = self._live(bucket, name, generation)
            conditions.check(stored)
            self._index.delete_object(bucket, name)
        self._contents.remove(stored.content.id)

    def copy(
        self,
        source: Source,
        bucket: str,
        name: str,
        fields: Mapping[str, Any] | None = None,
        conditions: Preconditions = NONE,
    ) -> StoredObject:
        """Copy an object. Its metadata is copied too, unless `fields` has writable fields."""
        check_object_name(name)
        writable = attributes.accepted(fields or {})
        with self._lock:
            original = self._live(source.bucket, source.name, source.generation)
            source.conditions.check(original)
            content = self._contents.link(original.content)
            return self.put(bucket, name, content, writable or original.attributes, conditions)

    def compose(
        self,
        bucket: str,
        name: str,
        sources: Sequence[Source],
        fields: Mapping[str, Any] | None = None,
        conditions: Preconditions = NONE,
    ) -> StoredObject:
        """Concatenate objects of a bucket. Takes as long as reading and writing them."""
        pinned: list[Content] = []
        try:
            with self._lock:
                for source in sources:
                    original = self._live(source.bucket, source.name, source.generation)
                    source.conditions.check(original)
                    # Links keep the bytes even if the originals are overwritten meanwhile.
                    pinned.append(self._contents.link(original.content))
            content = self._contents.concatenate(pinned)
        finally:
            for link in pinned:
                self._contents.remove(link.id)
        return self.put(bucket, name, content, fields, conditions)

    def _bucket(self, name: str) -> Bucket:
        bucket = self._index.bucket(name)
        if bucket is None:
            raise errors.no_such_bucket()
        return bucket

    def _live(self, bucket: str, name: str, generation: int | None) -> StoredObject:
        stored = self._index.object(bucket, name)
        if stored is None:
            self._bucket(bucket)
            raise errors.no_such_object(bucket, name)
        if generation is not None and generation != stored.generation:
            raise errors.no_such_object(bucket, name)
        return stored

    def _next_generation(self) -> int:
        """Return a unique generation: microseconds since 1970, as in the service."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation


def _now() -> str:
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"
