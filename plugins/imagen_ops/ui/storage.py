"""Cloud Storage as the page reads it: soon or not at all, in bounded pieces, and no piece twice.

Objects are known by name and generation, so what was read once is not read again until it changes.
What is kept of one is what the panels need of it, not its bytes.
"""

import contextlib
import dataclasses
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import IO, Any, TypeVar

import cachetools  # type: ignore[import-untyped]

from imagen_ops.google.clients import Clients
from imagen_ops.settings import Settings, SettingsError
from imagen_ops.ui.sharing import TroubleError
from imagen_ops.ui.untrusted import records

# Of one panel's reading; a request within it gets what is left.
BUDGET_S = 4.5
# The end of an object that is larger counts: a day of records has 1 MB, an object of lines 0.2.
MAX_BYTES = 4 << 20
MAX_IMAGE_BYTES = 32 << 20
_READERS = 8
# Of kept pieces, by the length of their text: in memory they take about three times as much.
_KEPT_CHARACTERS = 8_000_000
_MAX_DAYS = 32

_T = TypeVar("_T")
_DAY = re.compile(r"\d{4}-\d\d-\d\d\.jsonl")


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was listed."""

    name: str
    size: int
    generation: int


class Deadline:
    """The time that one panel's reading has left."""

    def __init__(self, seconds: float = BUDGET_S) -> None:
        self._seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left.

        Raises:
            TroubleError: there are none.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise TroubleError(_too_slow(self._seconds))
        return left


class Storage:
    """The deployment's bucket. Methods block, and raise `TroubleError` when it is out of reach.

    Args:
        settings: gives the deployment's, or raises `SettingsError`.
    """

    def __init__(self, settings: Callable[[], Settings] = Settings.from_environment) -> None:
        self._settings = settings
        self._connecting = threading.Lock()
        self._client: Any = None
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="imagen-ui-reader")
        self._keeping = threading.Lock()
        self._kept: cachetools.LRUCache[Any, tuple[Any, int]] = cachetools.LRUCache(
            _KEPT_CHARACTERS, getsizeof=lambda kept: kept[1]
        )

    def settings(self) -> Settings:
        """Return the deployment's settings."""
        try:
            return self._settings()
        except SettingsError as error:
            raise TroubleError(str(error)) from None

    def warm_up(self) -> None:
        """Do what the first reading would have to do first."""
        with contextlib.suppress(Exception):  # the first reading tells
            self._bucket(self.settings().bucket)

    def listed(
        self, prefix: str, most: int, deadline: Deadline, *, start: str = "", end: str = ""
    ) -> tuple[list[Stored], bool]:
        """Return the first objects under `prefix`, by name, from `start` and before `end`.

        The second is whether there are more. It is one request, however many there are.
        """
        bucket = self.settings().bucket
        with self._explained(bucket):
            blobs = self._bucket(bucket).list_blobs(
                prefix=prefix,
                start_offset=start or None,
                end_offset=end or None,
                max_results=most + 1,
                fields="items(name,size,generation),nextPageToken",
                timeout=deadline.left(),
                retry=None,
            )
            found = [Stored(blob.name, blob.size or 0, blob.generation or 0) for blob in blobs]
        return found[:most], len(found) > most

    def days(
        self, folder: str, since: datetime, deadline: Deadline, most: int = _MAX_DAYS
    ) -> list[Stored]:
        """Return the newest days of a `History` folder, one object a day, oldest first."""
        prefix = f"{folder}/ds="
        start = f"{prefix}{since.date().isoformat()}"
        found, _ = self.listed(prefix, _MAX_DAYS, deadline, start=start)
        return [one for one in found if _DAY.fullmatch(one.name, len(prefix))][-most:]

    def read(
        self,
        objects: Sequence[Stored],
        digest: Callable[[Iterator[dict[str, Any]]], _T],
        deadline: Deadline,
    ) -> list[_T]:
        """Return what `digest` makes of each object's records, several at a time.

        `digest` is a function of its module: what it made of an object is kept under its name.
        """
        bucket = self.settings().bucket
        reading = [
            self._readers.submit(self._digested, bucket, one, digest, deadline) for one in objects
        ]
        try:
            return [future.result() for future in reading]
        finally:
            for future in reading:
                future.cancel()

    def copy(self, name: str, into: IO[bytes]) -> bool:
        """Write an object into a file; False if there is none, or none of a sane size."""
        from google.api_core.exceptions import NotFound

        bucket = self.settings().bucket
        with self._explained(bucket):
            blob = self._bucket(bucket).blob(name)
            try:
                blob.download_to_file(_Limited(into), timeout=BUDGET_S, retry=None)
            except (NotFound, TooLargeError):
                return False
        return True

    def _digested(
        self,
        bucket: str,
        one: Stored,
        digest: Callable[[Iterator[dict[str, Any]]], _T],
        deadline: Deadline,
    ) -> _T:
        key = (bucket, one.name, one.generation, digest.__qualname__)
        with self._keeping:
            kept = self._kept.get(key)
        if kept is None:
            made = digest(records(self._content(bucket, one, deadline)))
            kept = (made, len(repr(made)))
            # One that is too large for the cache is none the worse for it.
            with self._keeping, contextlib.suppress(ValueError):
                self._kept[key] = kept
        found: _T = kept[0]
        return found

    def _content(self, bucket: str, one: Stored, deadline: Deadline) -> bytes:
        from google.api_core.exceptions import NotFound

        start = max(0, one.size - MAX_BYTES) or None
        with self._explained(bucket):
            blob = self._bucket(bucket).blob(one.name)
            try:
                content: bytes = blob.download_as_bytes(
                    start=start, timeout=deadline.left(), retry=None
                )
            except NotFound:  # its days were over just now
                return b""
        return content.partition(b"\n")[2] if start else content

    def _bucket(self, name: str) -> Any:
        with self._connecting:
            if self._client is None:
                # The connection is read from where this process of Airflow's has it.
                client = Clients(self.settings()).storage.client()
                _widen(client)
                self._client = client
        return self._client.bucket(name)

    @contextlib.contextmanager
    def _explained(self, bucket: str) -> Iterator[None]:
        """Turn what Google's client and Airflow raise into `TroubleError`."""
        from airflow.sdk.exceptions import AirflowException
        from google.api_core import exceptions as google
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import Timeout

        try:
            yield
        except google.NotFound:
            raise TroubleError(
                f"there is no bucket gs://{bucket}: look at IMAGEN_BUCKET, and whether composer.tf "
                "has been applied"
            ) from None
        except (google.Unauthorized, google.Forbidden) as error:
            raise TroubleError(
                f"Cloud Storage does not let Airflow read gs://{bucket}: {error.message}; "
                "composer.tf lists the roles that it needs"
            ) from error
        except google.GoogleAPICallError as error:
            raise TroubleError(
                f"Cloud Storage answered {error.code} for gs://{bucket}: {error.message}"
            ) from error
        except Timeout:
            raise TroubleError(_too_slow(BUDGET_S)) from None
        except (GoogleAuthError, AirflowException) as error:
            raise TroubleError(
                f"there are no credentials for Cloud Storage: {error}; look at the Airflow "
                "connection that IMAGEN_GCP_CONN_ID names"
            ) from error
        except OSError as error:  # what requests raises, too
            raise TroubleError(
                f"Cloud Storage cannot be reached for gs://{bucket} ({type(error).__name__}): look "
                "at the network"
            ) from error


class TooLargeError(OSError):
    """There is more of it than anybody may ask for."""


class _Limited:
    """A file that takes so many bytes and no more."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = MAX_IMAGE_BYTES

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise TooLargeError(f"more than {MAX_IMAGE_BYTES:,} bytes")
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _widen(client: Any) -> None:
    """Let the client keep a connection for each thread; it has ten, and complains of the rest."""
    from requests.adapters import HTTPAdapter

    for scheme in ("http://", "https://"):
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=2 * _READERS))


def _too_slow(seconds: float) -> str:
    return f"Cloud Storage has not answered within {seconds:g} s"
