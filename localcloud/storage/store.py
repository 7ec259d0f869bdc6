"""The object store: contents and index together, and the rules by which objects change.

Every change is checked against its preconditions and committed in one step under one lock, so that
of any number of writers with the same condition exactly one wins. It knows nothing of HTTP.
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
    """An object to copy from: `generation` None is the live one, whatever it is."""

    bucket: str
    name: str
    generation: int | None = None
    conditions: Preconditions = NONE


class ObjectStore:
    """Buckets and objects under the folder `root`, which is created when missing.

    Methods are synchronous, take well under a millisecond unless said otherwise, and may be called
    from any thread. Refusals are StorageError. What is committed survives the process being killed.

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
        """Let go of the folder. Unfinished resumable uploads stay resumable."""
        self.uploads.close()
        with self._lock:
            self._index.close()

    # Buckets

    def create_bucket(self, name: str, fields: Mapping[str, Any] | None = None) -> Bucket:
        """Create a bucket with labels, lifecycle etc. as given; 409 when it exists."""
        now = _now()
        bucket = Bucket(check_bucket_name(name), 1, now, now, attributes.patched({}, fields or {}))
        with self._lock:
            if self._index.bucket(name) is not None:
                raise errors.bucket_exists()
            self._index.put_bucket(bucket)
        return bucket

    def bucket(self, name: str, conditions: Preconditions = NONE) -> Bucket:
        """The bucket, or 404."""
        with self._lock:
            bucket = self._bucket(name)
        conditions.check(bucket, reading=True)
        return bucket

    def buckets(self, prefix: str = "", after: str = "") -> list[Bucket]:
        """All buckets whose names start with `prefix` and come after `after`, by name."""
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
        """Change a bucket's fields: as PATCH when `merge`, else all of them, as PUT."""
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
        """Delete an empty bucket; 409 when it is not empty."""
        with self._lock:
            conditions.check(self._bucket(name))
            if self._index.objects(name, "", None, 1):
                raise errors.bucket_not_empty()
            self._index.delete_bucket(name)

    # Objects

    def new_content(self, *, md5: bool = True) -> ContentWriter:
        """A content to fill and then `put`; whoever does not put it discards it."""
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
        """Make a finished content the live version of an object, replacing what was there.

        `fields` is an object resource, of which the writable fields are kept. Whatever fails,
        `content` is removed; not with `upload`: that resumable upload, whose content it is, ends in
        the same commit, and goes on where that fails.
        """
        try:
            check_object_name(name)
            kept = attributes.fresh(fields or {})
            if expected is not None:
                expected.verify(content)
            with self._lock:
                self._bucket(bucket)
                live = self._index.object(bucket, name)
                conditions.check(live)
                now = _now()
                generation = self._next_generation()
                stored = StoredObject(bucket, name, content, generation, 1, now, now, kept)
                self._index.put_object(stored, None if upload is None else upload.id)
        except BaseException:
            if upload is None:
                self._contents.remove(content.id)
            raise
        if live is not None:
            self._contents.remove(live.content.id)
        return stored

    def check_upload(self, request: UploadRequest) -> None:
        """Raise the StorageError that `request` would end in if its content were there now."""
        attributes.fresh(request.fields)
        with self._lock:
            self._bucket(request.bucket)
            request.conditions.check(self._index.object(request.bucket, request.name))

    def finish_upload(
        self, session: UploadSession, owner: object, expected: Checksums | None = None
    ) -> StoredObject:
        """Make what a resumable upload received the object it was started for.

        Takes as long as digesting what was received before a restart. When the object is refused
        the upload is over, too; when the state folder fails it can be resumed.
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
        """The live object; 404 without one of that `generation`, 304 and 412 as asked."""
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
        """As `get`, with that version open for reading, whatever happens to it afterwards."""
        while True:
            stored = self.get(bucket, name, generation, conditions)
            try:
                return stored, self._contents.open(stored.content.id)
            except FileNotFoundError:
                # Replaced since we looked, unless it is still what the index says.
                if self.get(bucket, name).content.id == stored.content.id:
                    raise errors.StorageError(
                        500,
                        "backendError",
                        f"The content of {bucket}/{name} is missing from the state folder",
                    ) from None

    def read(self, bucket: str, name: str) -> bytes:
        """The whole content of the live object."""
        _, file = self.open(bucket, name)
        with file:
            return file.read()

    def list_objects(self, bucket: str, query: listing.ListQuery) -> listing.ListPage:
        """One page of objects; a full page takes some 10 ms."""

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
        """Change an object's metadata: as PATCH when `merge`, else all of them, as PUT."""
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
        """Delete the live object; 404 when there is none."""
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
        """Copy an object, with its metadata unless `fields` has writable fields."""
        check_object_name(name)
        given = attributes.accepted(fields or {})
        with self._lock:
            original = self._live(source.bucket, source.name, source.generation)
            source.conditions.check(original)
            content = self._contents.link(original.content)
            return self.put(bucket, name, content, given or original.attributes, conditions)

    def compose(
        self,
        bucket: str,
        name: str,
        sources: Sequence[Source],
        fields: Mapping[str, Any] | None = None,
        conditions: Preconditions = NONE,
    ) -> StoredObject:
        """Concatenate objects of the bucket. Takes as long as reading and writing them does."""
        pinned: list[Content] = []
        try:
            with self._lock:
                for source in sources:
                    original = self._live(source.bucket, source.name, source.generation)
                    source.conditions.check(original)
                    # Links hold the bytes while the originals may be overwritten.
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
        """Microseconds since the epoch, as the service's generations look, never twice the same."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation


def _now() -> str:
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"
