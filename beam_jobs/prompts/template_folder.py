"""The prompt templates in a bucket, read when prompts need them.

A prompt's name of a template is only compared with the names in a listing. So whatever prompts name
reaches no request, and costs at most one listing in `REFRESH_S` per process.

Must not import Google's client: whoever reads brings one.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from beam_jobs.names import PROMPT_TEMPLATES_FOLDER
from beam_jobs.outcomes import Reason
from beam_jobs.prompts.templates import (
    MAX_TEMPLATE_BYTES,
    FindTemplate,
    PromptTemplate,
    TemplateError,
)

if TYPE_CHECKING:
    from google.cloud.storage import Client

T = TypeVar("T")

_log = logging.getLogger(__name__)

# A changed template is seen after this long.
REFRESH_S = 10.0
# While the folder cannot be listed, what is known of it counts for this long.
TRUSTED_S = 3600.0
# One page of a listing.
MAX_TEMPLATES = 1_000
# A bundle of prompts may wait for a read.
_TIMEOUT_S = 5.0
_MAX_RETRY_S = 10.0
_SUFFIX = ".txt"


class TemplateFolder:
    """The templates of one bucket. For all threads of a process.

    Args:
        client: returns a client that may list and read the folder.
        bucket: its name, without `gs://`.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        client: "Callable[[], Client]",
        bucket: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._clock = clock
        self._lock = threading.Lock()
        # By template: its generation and size.
        self._listed: dict[str, tuple[int, int]] = {}
        # By template: its generation, and what was read of it.
        self._known: dict[str, tuple[int, PromptTemplate | TemplateError]] = {}
        self._listed_at = float("-inf")
        # The newest request that failed: its error counts until then.
        self._failure: tuple[float, Exception] | None = None

    def find(self, name: str) -> PromptTemplate:
        """Return the template of a name, as it was at most `REFRESH_S` ago.

        Raises:
            TemplateError: there is none, or what is there is none.
            google.api_core.exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError,
            OSError: it cannot be read.
        """
        with self._lock:
            self._list()
            if name not in self._listed:
                among = (
                    f" among the first {MAX_TEMPLATES:,} there"
                    if len(self._listed) >= MAX_TEMPLATES
                    else ""
                )
                raise TemplateError(
                    f"template {name}: there is no {self.url(name)}{among}; put it there, or name "
                    "another one"
                )
            generation, size = self._listed[name]
            if self._known.get(name, (0, None))[0] != generation:
                found = self._asked(lambda: self._read(name, generation, size))
                self._known[name] = (generation, found)
            template = self._known[name][1]
        if isinstance(template, TemplateError):
            raise TemplateError(str(template))  # another one, for its own traceback
        return template

    def url(self, name: str) -> str:
        """Return the gs:// path of a template."""
        return f"gs://{self._bucket}/{_object_of(name)}"

    def _list(self) -> None:
        if self._clock() - self._listed_at < REFRESH_S:
            return
        try:
            self._listed = self._asked(self._listing)
        except Exception as error:
            if self._clock() - self._listed_at > TRUSTED_S:
                raise
            _log.warning(
                "cannot list the prompt templates in gs://%s; those known count: %s",
                self._bucket,
                type(error).__name__,
            )
            return
        self._listed_at = self._clock()
        self._known = {name: known for name, known in self._known.items() if name in self._listed}

    def _listing(self) -> dict[str, tuple[int, int]]:
        from google.cloud.storage.retry import DEFAULT_RETRY

        blobs = self._client().list_blobs(
            self._bucket,
            prefix=_object_of("").removesuffix(_SUFFIX),
            delimiter="/",
            max_results=MAX_TEMPLATES,
            fields="items(name,generation,size),nextPageToken",
            timeout=_TIMEOUT_S,
            retry=DEFAULT_RETRY.with_timeout(_MAX_RETRY_S),
        )
        return {
            blob.name.rpartition("/")[2].removesuffix(_SUFFIX): (
                int(blob.generation),
                int(blob.size or 0),
            )
            for blob in blobs
            if blob.name.endswith(_SUFFIX)
        }

    def _read(self, name: str, generation: int, size: int) -> PromptTemplate | TemplateError:
        from google.api_core.exceptions import NotFound
        from google.cloud.storage.retry import DEFAULT_RETRY

        version = f"{name}@{generation}"
        if size > MAX_TEMPLATE_BYTES:
            return TemplateError(
                f"template {version} has {size:,} bytes; the limit is {MAX_TEMPLATE_BYTES:,}"
            )
        blob = self._client().bucket(self._bucket).blob(_object_of(name), generation=generation)
        try:
            content = blob.download_as_bytes(
                timeout=_TIMEOUT_S, retry=DEFAULT_RETRY.with_timeout(_MAX_RETRY_S)
            )
            return PromptTemplate.parse(version, content)
        except NotFound:
            return TemplateError(f"template {version} was replaced or deleted just now; try again")
        except TemplateError as error:
            return error

    def _asked(self, request: Callable[[], T]) -> T:
        """Return what a request returns, unless one failed less than `REFRESH_S` ago."""
        if self._failure is not None and self._clock() < self._failure[0]:
            raise self._failure[1]
        try:
            answer = request()
        except Exception as error:
            self._failure = (self._clock() + REFRESH_S, error)
            raise
        self._failure = None
        return answer


_finders: dict[str, FindTemplate] = {}
_finders_lock = threading.Lock()


def templates_in(bucket: str) -> FindTemplate:
    """Return what finds the templates of a bucket for this process's prompts.

    Whatever storage does is a `TemplateError`: it must not stop the other prompts.
    """
    with _finders_lock:
        if bucket not in _finders:
            _finders[bucket] = _finder(bucket)
        return _finders[bucket]


def _finder(bucket: str) -> FindTemplate:
    @functools.cache
    def client() -> "Client":
        from google.cloud import storage

        # Access to objects depends on the bucket, so no project is needed.
        return storage.Client(project=None)

    folder = TemplateFolder(client, bucket)

    def find(name: str) -> PromptTemplate:
        try:
            return folder.find(name)
        except TemplateError:
            raise
        except Exception as error:
            raise TemplateError(
                f"template {name}: {folder.url(name)} cannot be read: {type(error).__name__}: "
                f"{error}"[:500],
                Reason.STORAGE_ERROR,
            ) from error

    return find


def _object_of(name: str) -> str:
    return f"{PROMPT_TEMPLATES_FOLDER}/{name}{_SUFFIX}"
