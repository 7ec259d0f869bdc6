"""Cloud Storage as Vertex AI's service agent reaches it: over HTTP, with its own permissions.

Everything here blocks, and is called in threads: the storage that it asks may be served by the same
event loop.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Protocol

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from requests import RequestException

from localcloud.metadata import project_number
from localcloud.vertex.batch.settings import Settings

# Codes of google.rpc.Code, which a job's error has.
CANCELLED = 1
INVALID_ARGUMENT = 3
NOT_FOUND = 5
PERMISSION_DENIED = 7
INTERNAL = 13

# How much of a file waits in memory until it is sent.
_CHUNK_BYTES = 8 << 20
_RETRY = DEFAULT_RETRY.with_timeout(30.0)


class AgentError(Exception):
    """What ends a job.

    Args:
        code: a google.rpc.Code.
        message: for the reader.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    def status(self) -> dict[str, object]:
        """Return it as a google.rpc.Status."""
        return {"code": self.code, "message": str(self)}


class ObjectWriter(Protocol):
    """A file that becomes an object when it is closed: google.cloud.storage.fileio.BlobWriter."""

    def write(self, data: bytes, /) -> int:
        """Write bytes, and send what fills a chunk."""

    def close(self) -> None:
        """Send the rest."""

    def terminate(self) -> None:
        """Forget what was sent."""


class ServiceAgent:
    """The service agent of a project's Vertex AI.

    Args:
        project: the project's id.
        settings: whether the agent may read and write, and where.
        url: of Cloud Storage, unless the settings say otherwise.
    """

    def __init__(self, project: str, settings: Settings, url: str) -> None:
        # https://docs.cloud.google.com/iam/docs/service-agents#ai-platform-service-agent
        number = project_number(project)
        self._email = f"service-{number}@gcp-sa-aiplatform.iam.gserviceaccount.com"
        self._settings = settings
        self._client = storage.Client(
            project=project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": settings.storage_url or url},
        )

    def fetch(self, uri: str, into: BinaryIO) -> None:
        """Copy an object's content.

        Raises:
            AgentError: it is larger than an input may be, is not there, or cannot be read.
        """
        with self._errors("storage.objects.get", uri):
            if not self._settings.agent_reads:
                raise exceptions.Forbidden("")
            blob = storage.Blob.from_uri(uri, client=self._client)
            blob.reload(retry=_RETRY)
            if blob.size > self._settings.max_file_bytes:
                raise AgentError(
                    INVALID_ARGUMENT,
                    f"The input file {uri} has {blob.size} bytes; the maximum is "
                    f"{self._settings.max_file_bytes}.",
                )
            blob.download_to_file(into, retry=_RETRY)

    def read(self, bucket: str, name: str) -> bytes:
        """Return an object's content, such as a picture that a request names.

        Raises:
            LookupError: it is not there, or cannot be read.
        """
        try:
            return bytes(self._client.bucket(bucket).blob(name).download_as_bytes(retry=_RETRY))
        except (exceptions.GoogleAPICallError, RequestException) as error:
            raise LookupError(f"gs://{bucket}/{name}") from error

    def create(self, uri: str) -> ObjectWriter:
        """Return a file to write, which is an object once it is closed.

        Raises:
            AgentError: the agent may not write. What writing and closing raise, `writing` turns
                into one.
        """
        with self.writing(uri):
            if not self._settings.agent_writes:
                raise exceptions.Forbidden("")
            blob = storage.Blob.from_uri(uri, client=self._client)
            opened: ObjectWriter = blob.open(
                "wb",
                chunk_size=_CHUNK_BYTES,
                retry=_RETRY,
                checksum=None,
                # Its folder is new. Without this, it would need the right to replace objects.
                if_generation_match=0,
            )
            return opened

    def discard(self, file: ObjectWriter) -> None:
        """Forget a file that is not closed."""
        with suppress(exceptions.GoogleAPICallError, InvalidResponse, RequestException):
            file.terminate()

    @contextmanager
    def writing(self, uri: str) -> Iterator[None]:
        """Turn errors of Cloud Storage while an object is written into AgentError."""
        with self._errors("storage.objects.create", uri):
            yield

    @contextmanager
    def _errors(self, permission: str, uri: str) -> Iterator[None]:
        try:
            yield
        except (exceptions.GoogleAPICallError, InvalidResponse, RequestException) as error:
            code = _http_status(error)
            if code in (401, 403):
                raise AgentError(
                    PERMISSION_DENIED,
                    f"{self._email} does not have {permission} access to the Google Cloud Storage "
                    f"object. Permission '{permission}' denied on resource (or it may not exist): "
                    f"{uri}",
                ) from None
            if code == 404:
                raise AgentError(NOT_FOUND, f"No such object: {uri}") from None
            raise AgentError(INTERNAL, f"INTERNAL: {uri}: {type(error).__name__}") from error


def _http_status(error: Exception) -> int | None:
    # Uploads in chunks raise InvalidResponse where all else raises a subclass of the former.
    if isinstance(error, InvalidResponse):
        return int(error.response.status_code)
    return error.code if isinstance(error, exceptions.GoogleAPICallError) else None
