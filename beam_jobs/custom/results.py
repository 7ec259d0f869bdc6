"""Keeps what a preprocess function has made of each prompt: `preprocessed/` beside the images.

A function may answer otherwise each time, as a language model does. A message that is delivered
again would then ask for other images, and they would be paid for besides the first. So the first
answer counts, on every worker, for as long as the bucket keeps it.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from beam_jobs.images.location import PREPROCESSED, Location
from beam_jobs.prompts.parse import Prompt

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

SCHEMA = "imagen.preprocessed/1"
REQUEST_TIMEOUT_S = 60.0

Fields = Sequence[dict[str, Any]]


class KeptResults:
    """The results of one function. Safe to use from several threads.

    Args:
        client: returns what reaches Cloud Storage.
        location: the image folder.
        function: the function, as MODULE:FUNCTION@VERSION.
        max_retry_s: how many seconds a failing request is retried.
    """

    def __init__(
        self, client: Callable[[], "Client"], location: Location, function: str, max_retry_s: float
    ) -> None:
        self._client = client
        self._location = location
        self._function = function
        self._max_retry_s = max_retry_s

    def find(self, prompt: Prompt) -> Fields | None:
        """Return the fields of the prompts that were made of `prompt`; None if none were yet.

        Raises:
            google.api_core.exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError,
            OSError: it cannot be read.
            ValueError: somebody has changed the object.
        """
        from google.api_core.exceptions import NotFound
        from google.cloud.storage.retry import DEFAULT_RETRY

        blob = self._blob(prompt)
        try:
            content = blob.download_as_bytes(
                timeout=REQUEST_TIMEOUT_S, retry=DEFAULT_RETRY.with_timeout(self._max_retry_s)
            )
        except NotFound:
            return None
        try:
            kept = json.loads(content)
            if kept["schema"] == SCHEMA and all(isinstance(each, dict) for each in kept["prompts"]):
                return list(kept["prompts"])
        except (ValueError, LookupError, TypeError, RecursionError):
            pass
        raise ValueError(
            f"gs://{self._location.bucket}/{blob.name} is not what a custom function has made; "
            "delete it, then replay the prompt"
        )

    def keep(self, prompt: Prompt, fields: Fields, digests: Sequence[str]) -> Fields:
        """Keep what was made of `prompt`, and return it; if there is something already, that.

        Args:
            prompt: what the function was given.
            fields: of the prompts that it made.
            digests: of the same, by which they can be found and erased.

        Raises:
            google.api_core.exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError,
            OSError: it cannot be written.
            ValueError: somebody has changed the object.
        """
        from google.api_core.exceptions import PreconditionFailed
        from google.cloud.storage.retry import DEFAULT_RETRY

        # One line, in the form of the index: `beam_jobs erase` finds both alike.
        line = {
            "schema": SCHEMA,
            "prompt_id": prompt.prompt_id,
            "attributes": dict(prompt.attributes),
            "digests": list(digests),
            "function": self._function,
            "prompts": list(fields),
        }
        try:
            self._blob(prompt).upload_from_string(
                f"{json.dumps(line)}\n",
                content_type="application/x-ndjson",
                if_generation_match=0,
                timeout=REQUEST_TIMEOUT_S,
                retry=DEFAULT_RETRY.with_timeout(self._max_retry_s),
            )
        except PreconditionFailed:
            return self.find(prompt) or fields
        return fields

    def _blob(self, prompt: Prompt) -> "Blob":
        # All that the function could see of the prompt, however often it was replayed.
        told = json.dumps([self._function, prompt.deduplication_key])
        key = hashlib.sha256(told.encode("ascii")).hexdigest()[:32]
        name = f"{self._location.prefix}{PREPROCESSED}{key[:2]}/{key}.jsonl"
        return self._client().bucket(self._location.bucket).blob(name)
