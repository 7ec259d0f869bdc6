"""The pictures in Cloud Storage that a request names, as `fileData`."""

from collections.abc import Callable
from typing import Any

from localcloud.vertex import pictures
from localcloud.vertex.calls import ApiError

# Takes a bucket and a name, and returns what the object holds. Raises LookupError.
ReadFile = Callable[[str, str], bytes]


def no_files(bucket: str, name: str) -> bytes:
    """Read nothing, where there is no Cloud Storage."""
    raise LookupError(f"gs://{bucket}/{name}")


class Files:
    """Reads what requests name.

    Args:
        read: reads an object.
    """

    def __init__(self, read: ReadFile) -> None:
        self._read = read

    def shown_by(self, parts: list[dict[str, Any]]) -> tuple[bytes, ...]:
        """Return the pictures that the parts of a request name, made small.

        Raises:
            ApiError: one is not there, or is no picture.
        """
        return tuple(self._picture(part["fileData"]) for part in parts if "fileData" in part)

    def _picture(self, file: Any) -> bytes:
        path = str(file.get("fileUri")) if isinstance(file, dict) else ""
        bucket, _, name = path.removeprefix("gs://").partition("/")
        if not path.startswith("gs://") or not name or not file.get("mimeType"):
            # https://github.com/googleapis/python-genai/issues/71
            raise ApiError(400, f"Invalid or unsupported file uri: {path}")
        try:
            return pictures.small(self._read(bucket, name))
        except LookupError:
            # https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors: "A
            # valid object was not found at the specified URL."
            raise ApiError(404, f"No valid object was found at {path}.") from None
        except ValueError:
            # https://github.com/AmberSahdev/Open-Interface/issues/64
            raise ApiError(400, "Provided image is not valid") from None
