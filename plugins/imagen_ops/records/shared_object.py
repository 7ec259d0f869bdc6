"""An object in the bucket that several tasks change: none overwrites what another has written."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from imagen_ops.records.patience import RETRY_SECONDS, storage_patience

if TYPE_CHECKING:
    from google.cloud.storage import Bucket


class SharedObject:
    """A JSON object. Google's exceptions pass through.

    Args:
        bucket: where it is, with a client that may read and write it.
        name: its name in the bucket.
    """

    def __init__(self, bucket: "Bucket", name: str) -> None:
        self._bucket = bucket
        self._name = name

    def read(self) -> bytes | None:
        """Return its content; None if it does not exist."""
        return self._read()[0]

    def change(self, change: Callable[[bytes | None], bytes]) -> bytes:
        """Rewrite it. Of several writers at once, each sees what the others have written.

        Args:
            change: takes the content, None if there is none, and returns the new one. It may be
                called several times.

        Returns:
            The content that was written.
        """
        from google.api_core.exceptions import PreconditionFailed
        from google.api_core.retry import Retry, if_exception_type

        def once() -> bytes:
            was, generation = self._read()
            content = change(was)
            self._bucket.blob(self._name).upload_from_string(
                content,
                content_type="application/json",
                if_generation_match=generation,
                **storage_patience(),
            )
            return content

        overtaken = if_exception_type(PreconditionFailed)
        retry = Retry(predicate=overtaken, initial=0.1, maximum=1.0, timeout=RETRY_SECONDS)
        content: bytes = retry(once)()
        return content

    def _read(self) -> tuple[bytes | None, int]:
        """Return its content and its generation: 0 if there is none."""
        from google.api_core.exceptions import NotFound

        blob = self._bucket.blob(self._name)
        try:
            content: bytes = blob.download_as_bytes(**storage_patience())
        except NotFound:
            return None, 0
        return content, int(blob.generation)
