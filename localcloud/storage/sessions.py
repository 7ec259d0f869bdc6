"""Resumable uploads in progress: how far each got, across lost connections and restarts.

What a session has received is the length of its content file; the rest is a row in the index.
"""

import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from localcloud.storage import errors
from localcloud.storage.contents import Contents, ContentWriter
from localcloud.storage.index import Index
from localcloud.storage.preconditions import Preconditions
from localcloud.storage.records import Checksums, Content, StoredObject

UPLOAD_LIFE_SECONDS = 7 * 24 * 3600.0
"""How long an unfinished upload can be resumed, as on the service."""


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """What an upload is to become: the object, and what has to hold when it does."""

    bucket: str
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    conditions: Preconditions = field(default_factory=Preconditions)
    expected: Checksums = field(default_factory=Checksums)

    def to_json(self) -> dict[str, Any]:
        """For the index."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "UploadRequest":
        """The reverse of `to_json`."""
        return cls(
            value["bucket"],
            value["name"],
            value["fields"],
            Preconditions(**value["conditions"]),
            Checksums(**value["expected"]),
        )


class UploadSession:
    """One resumable upload. Appends of several connections exclude each other.

    A client that lost its connection may be back before the server has noticed the loss: `take`
    hands the session to the newcomer, and late bytes of the old connection are refused. Once it is
    finished it is nobody's any more.
    """

    def __init__(self, upload_id: str, request: UploadRequest, writer: ContentWriter) -> None:
        self.id = upload_id
        self.request = request
        self.content_id = writer.id
        self._writer = writer
        self._lock = threading.Lock()
        self._owner: object = None
        self._over = False

    @property
    def undigested(self) -> int:
        """The bytes that `finish` has yet to read."""
        return self._writer.undigested

    def take(self, owner: object) -> int:
        """Make `owner` the one who may append; return the bytes received so far.

        StorageError (503) when another is finishing it.
        """
        with self._lock:
            self._refuse_if(self._over)
            self._owner = owner
            return self._writer.size

    def append(self, owner: object, chunks: Iterable[bytes]) -> None:
        """Append for `owner`; StorageError (503) when another has taken the session since."""
        with self._lock:
            self._refuse_if(self._over or owner is not self._owner)
            self._writer.append(chunks)

    def finish(self, owner: object) -> Content:
        """The content, complete. Takes as long as digesting what a restart left undigested.

        What becomes of the content is then the caller's business, and nobody else's.
        """
        with self._lock:
            self._refuse_if(self._over or owner is not self._owner)
            content = self._writer.finish()
            self._over = True
            return content

    def discard(self) -> None:
        """Remove what was received; StorageError (503) when another is finishing it."""
        with self._lock:
            self._refuse_if(self._over)
            self._over = True
            self._writer.discard()

    def close(self) -> None:
        """Keep what was received, for the next start."""
        with self._lock:
            self._over = True
            self._writer.close()

    def _refuse_if(self, taken_over: bool) -> None:
        if taken_over:
            raise errors.StorageError(
                503,
                "backendError",
                "Another request has taken over this upload. Ask how far it is.",
            )


class UploadSessions:
    """All resumable uploads. Shares the store's lock over the index."""

    def __init__(self, index: Index, contents: Contents, lock: threading.RLock) -> None:
        self._index = index
        self._contents = contents
        self._lock = lock
        self._open: dict[str, UploadSession] = {}

    def start(self, request: UploadRequest) -> UploadSession:
        """Begin an upload."""
        session = UploadSession(secrets.token_urlsafe(32), request, self._contents.create())
        with self._lock:
            self._index.put_upload(session.id, session.content_id, time.time(), request.to_json())
            self._open[session.id] = session
        return session

    def get(self, upload_id: str) -> UploadSession | StoredObject:
        """The session, or the object that it has become. StorageError 404."""
        with self._lock:
            session = self._open.get(upload_id)
            if session is not None:
                return session
            known = self._index.upload(upload_id)
            if known is None:
                raise errors.no_such_upload()
            content_id, request, result = known
            if result is not None:
                return result
            try:
                writer = self._contents.reopen(content_id)
            except FileNotFoundError:
                raise errors.no_such_upload() from None
            session = UploadSession(upload_id, UploadRequest.from_json(request), writer)
            self._open[upload_id] = session
            return session

    def forget(self, session: UploadSession) -> None:
        """Leave to the index what is left of a session: an object, or an upload to be resumed."""
        with self._lock:
            self._open.pop(session.id, None)

    def drop(self, session: UploadSession) -> None:
        """Forget a session that is over, and what it received."""
        with self._lock:
            # First: an index that fails must not leave a session that nobody can go on with.
            self._open.pop(session.id, None)
            self._index.delete_upload(session.id)
        self._contents.remove(session.content_id)

    def cancel(self, session: UploadSession) -> None:
        """End a session and forget it; StorageError (503) when another is finishing it."""
        session.discard()
        self.drop(session)

    def close(self) -> None:
        """Close the files of all sessions; they stay resumable."""
        with self._lock:
            for session in self._open.values():
                session.close()
            self._open.clear()
