"""The public keys that canaries are checked with, read from Cloud Storage when they are needed.

Anybody who may publish prompts can claim to send canaries, any number of them. So their form is
checked first, and the keys are read at most every `READ_EVERY_S` seconds, whatever arrives.
"""

import datetime
import logging
import threading
import time
from collections.abc import Callable

from google.api_core import exceptions as api_exceptions
from google.cloud import storage

from beam_jobs.prompts.canary import (
    READ_EVERY_S,
    CanaryKey,
    check_signature,
    keys_from_json,
    refused,
)

_log = logging.getLogger(__name__)

# Keys are read again after this long, so that one that was taken out of the object counts no more.
REFRESH_S = 300.0
# While they cannot be read, those that are known count for this long.
TRUSTED_S = 3600.0
# A bundle of prompts may wait for this read.
_TIMEOUT_S = 5.0
_WARN_EVERY_S = 60.0


class CanaryKeys:
    """The keys in one object. For all threads of a process.

    Args:
        url: the object's `gs://` path, for messages.
        read: returns the object's content; empty if there is no object. Any exception means that
            it could not be read.
        clock: seconds that only go forward.
    """

    def __init__(
        self, url: str, read: Callable[[], bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._read_object = read
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, CanaryKey] = {}
        self._asked_at = self._read_at = self._warned_at = float("-inf")

    def check(self, name: str, signature: str) -> None:
        """Check that Airflow has signed the canary of that name.

        Raises:
            InvalidPromptError: it has not, or the keys cannot be read.
        """
        now = datetime.datetime.now(datetime.UTC)
        check_signature(name, signature, find=self._find, at=now)

    def _find(self, key_id: str) -> CanaryKey | None:
        with self._lock:
            now = self._clock()
            wanted = key_id not in self._keys or now - self._read_at > REFRESH_S
            if wanted and now - self._asked_at >= READ_EVERY_S:
                self._asked_at = now
                self._read()
            if self._clock() - self._read_at > TRUSTED_S:
                raise refused("cannot be checked, because the public keys cannot be read")
            return self._keys.get(key_id)

    def _read(self) -> None:
        try:
            content = self._read_object()
            self._keys = {key.id: key for key in keys_from_json(content or b"[]")}
            self._read_at = self._clock()
        except Exception as error:  # whatever storage does must not stop the prompts
            if self._clock() - self._warned_at > _WARN_EVERY_S:
                self._warned_at = self._clock()
                _log.warning(
                    "cannot read the public keys of canaries in %s; health checks may miss their "
                    "canaries, and prompts are not affected: %s: %s",
                    self._url,
                    type(error).__name__,
                    str(error)[:200],
                )


_keys: dict[str, CanaryKeys] = {}
_keys_lock = threading.Lock()


def keys_at(url: str) -> CanaryKeys:
    """Return this process's public keys of the object at `url`."""
    with _keys_lock:
        if url not in _keys:
            _keys[url] = CanaryKeys(url, _reader(url))
        return _keys[url]


def _reader(url: str) -> Callable[[], bytes]:
    bucket, _, name = url.removeprefix("gs://").partition("/")
    client: list[storage.Client] = []

    def read() -> bytes:
        if not client:
            # Access to objects depends on the bucket, so no project is needed.
            client.append(storage.Client(project=None))
        blob = client[0].bucket(bucket).blob(name)
        try:
            return bytes(blob.download_as_bytes(timeout=_TIMEOUT_S, retry=None))
        except api_exceptions.NotFound:
            return b""

    return read
