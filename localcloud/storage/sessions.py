"""Resumable uploads in progress, across lost connections and restarts.

The length of the content file is how much a session has received; the rest is a row in the index.
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
    """The object that an upload will become, with its preconditions and expected checksums."""

    bucket: str
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    conditions: Preconditions = field(default_factory=Preconditions)
    expected: Checksums = field(default_factory=Checksums)

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON for the index."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "UploadRequest":
        """Return the request that `to_json` saved."""
        return cls(
            value["bucket"],
            value["name"],
            value["fields"],
            Preconditions(**value["conditions"]),
            Checksums(**value["expected"]),
        )


class UploadSession:
    """One resumable upload, which one connection at a time can append to.

    A client can reconnect before the server notices that its old connection is lost. `take` passes
    the session to the new connection, and late bytes of the old one are rejected. A finished
    session accepts nothing.
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
        """The bytes that `finish` still has to read."""
        return self._writer.undigested

    def take(self, owner: object) -> int:
        """Make `owner` the only one who can append; return the bytes received so far.

        Raises:
            StorageError: 503; another request is finishing the upload.
        """
        with self._lock:
            self._refuse_if(self._over)
            self._owner = owner
            return self._writer.size

    def append(self, owner: object, chunks: Iterable[bytes]) -> None:
        """Append bytes.

        Raises:
            StorageError: 503; another request has taken over the session.
        """
        with self._lock:
            self._refuse_if(self._over or owner is not self._owner)
            self._writer.append(chunks)

    def finish(self, owner: object) -> Content:
        """Complete and return the content, which then belongs to the caller.

        After a restart, this takes as long as hashing what was received before it.

        Raises:
            StorageError: 503; another request has taken over the session.
        """
        with self._lock:
            self._refuse_if(self._over or owner is not self._owner)
            content = self._writer.finish()
            self._over = True
            return content

    def discard(self) -> None:
        """Delete what was received.

        Raises:
            StorageError: 503; another request is finishing the upload.
        """
        with self._lock:
            self._refuse_if(self._over)
            self._over = True
            self._writer.discard()

    def close(self) -> None:
        """Close the session, and keep what was received for the next start."""
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
    """All resumable uploads. Shares the store's lock on the index."""

    def __init__(self, index: Index, contents: Contents, lock: threading.RLock) -> None:
        self._index = index
        self._contents = contents
        self._lock = lock
        self._open: dict[str, UploadSession] = {}

    def start(self, request: UploadRequest) -> UploadSession:
        """Start an upload."""
        session = UploadSession(secrets.token_urlsafe(32), request, self._contents.create())
        with self._lock:
            self._index.put_upload(session.id, session.content_id, time.time(), request.to_json())
            self._open[session.id] = session
        return session

    def get(self, upload_id: str) -> UploadSession | StoredObject:
        """Return an upload's session, or its object if it is finished.

        Raises:
            StorageError: 404; there is no such upload.
        """
        with self._lock:
            session = self._open.get(upload_id)
            if session is not None:
                return session
            row = self._index.upload(upload_id)
            if row is None:
                raise errors.no_such_upload()
            content_id, request, result = row
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
        """Forget an open session. The index still knows its object or its resumable upload."""
        with self._lock:
            self._open.pop(session.id, None)

    def drop(self, session: UploadSession) -> None:
        """Delete an ended session and what it received."""
        with self._lock:
            # This comes first: if the index fails, no unusable session must remain.
            self._open.pop(session.id, None)
            self._index.delete_upload(session.id)
        self._contents.remove(session.content_id)

    def cancel(self, session: UploadSession) -> None:
        """Cancel an upload.

        Raises:
            StorageError: 503; another request is finishing the upload.
        """
        session.discard()
        self.drop(session)

    def close(self) -> None:
        """Close the files of all sessions; they stay resumable."""
        with self._lock:
            for session in self._open.values():
                session.close()
            self._open.clear()
