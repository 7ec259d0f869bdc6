"""Reads Cloud Storage for the page: within a time limit, in bounded pieces, and nothing twice.

Objects are identified by name and generation, so an object is read again only after it changes. The
cache holds what the panels need of an object, not its bytes.
"""

import contextlib
import dataclasses
import itertools
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import IO, Any, TypeVar

import cachetools  # type: ignore[import-untyped]

from imagen_ops.google.clients import Clients
from imagen_ops.settings import Settings, SettingsError
from imagen_ops.ui.sharing import ReadError
from imagen_ops.ui.untrusted import records

# For all reads of one panel together. Each request gets what remains of it.
READ_TIMEOUT_S = 4.5
# Of a larger object only the end is read. A day of records is about 1 MB, an index object 0.2 MB.
MAX_BYTES = 4 << 20
MAX_IMAGE_BYTES = 32 << 20
_READERS = 8
MAX_DAYS = 32
# Threads that parse in Python hand its lock to one another in turns of 5 ms, and the API server's
# event loop waits for as many turns as there are threads. Parsing at once is no faster anyway.
_PARSING = threading.BoundedSemaphore(2)

_T = TypeVar("_T")
_DAY = re.compile(r"\d{4}-\d\d-\d\d\.jsonl")


@dataclasses.dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing returned it.

    Attributes:
        name: its name in the bucket.
        size: in bytes.
        generation: changes whenever the object is overwritten.
    """

    name: str
    size: int
    generation: int


class Deadline:
    """The time limit for all reads of one panel.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float = READ_TIMEOUT_S) -> None:
        self._seconds = seconds
        self._ends_at = time.monotonic() + seconds

    def remaining_s(self) -> float:
        """Return the seconds that remain.

        Raises:
            ReadError: none remain.
        """
        remaining = self._ends_at - time.monotonic()
        if remaining <= 0:
            raise ReadError(_too_slow(self._seconds))
        return remaining


class Storage:
    """The deployment's bucket. Methods block, and raise `ReadError` when they cannot read it.

    Args:
        settings: returns the deployment's settings, or raises `SettingsError`.
        at_once: maximum number of objects that one call of `read` reads at the same time.
        cached_characters: size of the cache, in characters of the `repr` of its entries. In memory
            they take about three times as much.
    """

    def __init__(
        self,
        settings: Callable[[], Settings] = Settings.from_environment,
        *,
        at_once: int = _READERS,
        cached_characters: int = 8_000_000,
    ) -> None:
        self._settings = settings
        self._at_once = at_once
        self._client_lock = threading.Lock()
        self._client: Any = None
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="imagen-ui-reader")
        self._cache_lock = threading.Lock()
        # Each value comes with its size in characters.
        self._cache: cachetools.LRUCache[Any, tuple[Any, int]] = cachetools.LRUCache(
            cached_characters, getsizeof=lambda cached: cached[1]
        )

    def apart(self, *, reads: int, cached_characters: int) -> "Storage":
        """Return the same bucket, with threads, connections, and a cache of its own.

        What users choose to read then takes none of those from the panels.

        Args:
            reads: maximum number of calls of `read` at the same time: none of them waits for
                another one's objects.
            cached_characters: size of the cache, as for the class.
        """
        at_once = max(1, _READERS // reads)
        return Storage(self._settings, at_once=at_once, cached_characters=cached_characters)

    def settings(self) -> Settings:
        """Return the deployment's settings.

        Raises:
            ReadError: a setting is missing or invalid.
        """
        try:
            return self._settings()
        except SettingsError as error:
            raise ReadError(str(error), cause="settings") from None

    def warm_up(self) -> None:
        """Import Google's client and connect, so that the first read does not have to."""
        with contextlib.suppress(Exception):  # the first read tries again and reports it
            self._bucket(self.settings().bucket)

    def list_objects(
        self, prefix: str, limit: int, deadline: Deadline, *, start: str = "", end: str = ""
    ) -> tuple[list[StoredObject], bool]:
        """List the first objects under `prefix`, in the order of their names, with one request.

        Args:
            prefix: of the objects' names.
            limit: maximum number of objects to return.
            deadline: of the panel.
            start: the first name to return, if it exists; empty: from the beginning.
            end: the name to stop before; empty: no end.

        Returns:
            The objects, and whether there are more.

        Raises:
            ReadError: they cannot be listed.
        """
        bucket = self.settings().bucket
        with self._explain_errors(bucket):
            blobs = self._bucket(bucket).list_blobs(
                prefix=prefix,
                start_offset=start or None,
                end_offset=end or None,
                max_results=limit + 1,
                fields="items(name,size,generation),nextPageToken",
                timeout=deadline.remaining_s(),
                retry=None,
            )
            listed = [
                StoredObject(blob.name, blob.size or 0, blob.generation or 0) for blob in blobs
            ]
        return listed[:limit], len(listed) > limit

    def list_days(
        self,
        folder: str,
        since: datetime,
        deadline: Deadline,
        limit: int = MAX_DAYS,
        *,
        until: datetime | None = None,
    ) -> list[StoredObject]:
        """List the newest days of a `History` folder: one object per day, oldest first.

        Args:
            folder: of the history, such as `records/health`.
            since: days before this one are left out.
            deadline: of the panel.
            limit: maximum number of days to return.
            until: days after this one are left out.

        Raises:
            ReadError: they cannot be listed.
        """
        prefix = f"{folder}/ds="
        start = f"{prefix}{since.date().isoformat()}"
        end = f"{prefix}{(until + timedelta(days=1)).date().isoformat()}" if until else ""
        listed, _ = self.list_objects(prefix, MAX_DAYS, deadline, start=start, end=end)
        return [stored for stored in listed if _DAY.fullmatch(stored.name, len(prefix))][-limit:]

    def read(
        self,
        objects: Sequence[StoredObject],
        extract: Callable[[Iterator[dict[str, Any]]], _T],
        deadline: Deadline,
    ) -> list[_T]:
        """Read objects in parallel and return what `extract` takes out of each one's records.

        Args:
            objects: JSON lines files.
            extract: a module-level function: its results are cached under its name.
            deadline: of the panel.

        Raises:
            ReadError: one of them cannot be read.
        """
        bucket = self.settings().bucket
        remaining = iter(objects)
        futures: deque[Future[_T]] = deque()
        extracted: list[_T] = []

        def submit(count: int) -> None:
            for stored in itertools.islice(remaining, count):
                futures.append(
                    self._readers.submit(self._extract, bucket, stored, extract, deadline)
                )

        try:
            submit(self._at_once)
            while futures:
                extracted.append(futures.popleft().result())
                submit(1)
            return extracted
        finally:
            for future in futures:
                future.cancel()

    def download(self, name: str, into: IO[bytes]) -> bool:
        """Write an object's content to a file.

        Returns:
            Whether it did; False if the object does not exist or is over `MAX_IMAGE_BYTES`.

        Raises:
            ReadError: the object cannot be read.
        """
        from google.api_core.exceptions import NotFound

        bucket = self.settings().bucket
        with self._explain_errors(bucket):
            blob = self._bucket(bucket).blob(name)
            try:
                blob.download_to_file(_SizeLimited(into), timeout=READ_TIMEOUT_S, retry=None)
            except (NotFound, TooLargeError):
                return False
        return True

    def find(self, names: Sequence[str], deadline: Deadline) -> list[Any]:
        """Look up objects in parallel.

        Args:
            names: of objects in the bucket.
            deadline: of the panel.

        Returns:
            For each, its `google.cloud.storage.Blob`; None if it does not exist, and a `ReadError`
            if it cannot be looked up.
        """
        return list(self._readers.map(lambda name: self._find(name, deadline), names))

    def _find(self, name: str, deadline: Deadline) -> Any:
        try:
            bucket = self.settings().bucket
            with self._explain_errors(bucket):
                return self._bucket(bucket).get_blob(
                    name, timeout=deadline.remaining_s(), retry=None
                )
        except ReadError as error:
            return error

    def _extract(
        self,
        bucket: str,
        stored: StoredObject,
        extract: Callable[[Iterator[dict[str, Any]]], _T],
        deadline: Deadline,
    ) -> _T:
        key = (bucket, stored.name, stored.generation, extract.__qualname__)
        with self._cache_lock:
            cached = self._cache.get(key)
        if cached is None:
            content = self._content(bucket, stored, deadline)
            with _PARSING:
                extracted = extract(records(content))
                cached = (extracted, len(repr(extracted)))
            # A value too large for the cache is returned without being cached.
            with self._cache_lock, contextlib.suppress(ValueError):
                self._cache[key] = cached
        value: _T = cached[0]
        return value

    def _content(self, bucket: str, stored: StoredObject, deadline: Deadline) -> bytes:
        from google.api_core.exceptions import NotFound

        start = max(0, stored.size - MAX_BYTES) or None
        with self._explain_errors(bucket):
            blob = self._bucket(bucket).blob(stored.name)
            try:
                content: bytes = blob.download_as_bytes(
                    start=start, timeout=deadline.remaining_s(), retry=None
                )
            except NotFound:  # its retention ended after the listing
                return b""
        return content.partition(b"\n")[2] if start else content

    def _bucket(self, name: str) -> Any:
        with self._client_lock:
            if self._client is None:
                # Takes the Airflow connection from wherever this Airflow process finds it.
                client = Clients(self.settings()).storage.client()
                _enlarge_connection_pool(client)
                self._client = client
        return self._client.bucket(name)

    @contextlib.contextmanager
    def _explain_errors(self, bucket: str) -> Iterator[None]:
        """Turn the errors of Google's client and of Airflow into `ReadError`."""
        from airflow.sdk.exceptions import AirflowException
        from google.api_core import exceptions as google
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import Timeout

        try:
            yield
        except google.NotFound:
            raise ReadError(
                f"bucket gs://{bucket} does not exist: check IMAGEN_BUCKET, and whether "
                "composer.tf has been applied"
            ) from None
        except (google.Unauthorized, google.Forbidden) as error:
            raise ReadError(
                f"Airflow may not read gs://{bucket}: {error.message}. composer.tf lists the roles "
                "that Airflow's service account needs"
            ) from error
        except google.GoogleAPICallError as error:
            raise ReadError(
                f"Cloud Storage answered {error.code} for gs://{bucket}: {error.message}"
            ) from error
        except Timeout:
            raise ReadError(_too_slow(READ_TIMEOUT_S)) from None
        except (GoogleAuthError, AirflowException) as error:
            raise ReadError(
                f"no credentials for Cloud Storage: {error}. Check the Airflow connection that "
                "IMAGEN_GCP_CONN_ID names"
            ) from error
        except OSError as error:  # includes what requests raises
            raise ReadError(
                f"cannot reach Cloud Storage for gs://{bucket} ({type(error).__name__}): check the "
                "network of Airflow's API server"
            ) from error


class TooLargeError(OSError):
    """An image is larger than `MAX_IMAGE_BYTES`."""


class _SizeLimited:
    """A file that accepts up to `MAX_IMAGE_BYTES`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._remaining = MAX_IMAGE_BYTES

    def write(self, data: bytes) -> int:
        self._remaining -= len(data)
        if self._remaining < 0:
            raise TooLargeError(f"the image is larger than {MAX_IMAGE_BYTES / 1e6:.0f} MB")
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _enlarge_connection_pool(client: Any) -> None:
    """Let the client keep one connection per thread: by default it keeps 10, and warns."""
    from requests.adapters import HTTPAdapter

    for scheme in ("http://", "https://"):
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=2 * _READERS))


def _too_slow(seconds: float) -> str:
    return f"Cloud Storage has not answered within {seconds:g} s"
