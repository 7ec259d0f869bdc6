"""Cloud Storage: whether buckets and objects exist, and what is in them."""

import contextlib
import json
from typing import IO, Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from google.api_core import exceptions as api_exceptions

from imagen_ops.errors import ApiError
from imagen_ops.google.rest import explained
from imagen_ops.records.patience import storage_patience


class StorageHook(GCSHook):
    """Buckets and objects.

    Raises:
        ApiError: by every method but `client`, if Cloud Storage refuses or does not answer.
    """

    def client(self) -> Any:
        """Return a `google.cloud.storage.Client`."""
        return self.get_conn()

    def bucket_exists(self, bucket: str) -> bool:
        """Whether the bucket exists. This needs only the permission to see it, `buckets.get`."""
        with explained(f"checking whether gs://{bucket} exists"):
            try:
                self.get_conn().get_bucket(bucket, **storage_patience())
            except api_exceptions.NotFound:
                return False
        return True

    def read(self, path: str) -> bytes | None:
        """Return the content of the object at gs://BUCKET/NAME, or None if it does not exist."""
        bucket, _, name = path.removeprefix("gs://").partition("/")
        with explained(f"reading {path}"):
            try:
                blob = self.get_conn().bucket(bucket).blob(name)
                content: bytes = blob.download_as_bytes(**storage_patience())
            except api_exceptions.NotFound:
                return None
        return content

    def template_image(self, path: str) -> str | None:
        """Return the image that a flex template launches; None if it cannot be read."""
        try:
            return str(json.loads(self.read(path) or b"")["image"])
        except (ApiError, ValueError, KeyError, TypeError):
            return None

    def read_folder(self, path: str, *, most: int) -> list[bytes]:
        """Return the contents of the objects below gs://BUCKET/PREFIX, by name.

        Args:
            path: where they are.
            most: how many to read at most.
        """
        bucket, _, prefix = path.removeprefix("gs://").partition("/")
        contents = []
        with explained(f"reading {path}"):
            blobs = self.get_conn().list_blobs(
                bucket, prefix=prefix, max_results=most, **storage_patience()
            )
            for blob in blobs:
                with contextlib.suppress(api_exceptions.NotFound):  # removed since the listing
                    contents.append(blob.download_as_bytes(**storage_patience()))
        return contents

    def write(self, path: str, file: IO[bytes], content_type: str) -> None:
        """Write the object at gs://BUCKET/NAME, from the beginning of a file."""
        bucket, _, name = path.removeprefix("gs://").partition("/")
        with explained(f"writing {path}"):
            blob = self.get_conn().bucket(bucket).blob(name)
            blob.upload_from_file(
                file, rewind=True, content_type=content_type, **storage_patience()
            )

    def delete_below(self, path: str) -> int:
        """Delete the objects below gs://BUCKET/PREFIX, and return how many there were."""
        bucket, _, prefix = path.removeprefix("gs://").partition("/")
        count = 0
        with explained(f"deleting what is below {path}"):
            for blob in self.get_conn().list_blobs(bucket, prefix=prefix, **storage_patience()):
                with contextlib.suppress(api_exceptions.NotFound):
                    blob.delete(**storage_patience())
                count += 1
        return count

    def object_exists(self, path: str) -> bool:
        """Whether the object at gs://BUCKET/NAME exists."""
        bucket, _, name = path.removeprefix("gs://").partition("/")
        with explained(f"checking whether {path} exists"):
            return bool(self.get_conn().bucket(bucket).blob(name).exists(**storage_patience()))
