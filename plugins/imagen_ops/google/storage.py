"""Cloud Storage, as far as the DAGs need it."""

from typing import Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from google.api_core import exceptions as api_exceptions

from imagen_ops.google.rest import explained


class StorageHook(GCSHook):
    """Every method raises `ApiError` when storage refuses, or does not answer."""

    def client(self) -> Any:
        """Return a `google.cloud.storage.Client`."""
        return self.get_conn()

    def bucket_exists(self, bucket: str) -> bool:
        """Whether there is such a bucket; the right to list its objects is enough to tell."""
        with explained(f"looking at gs://{bucket}"):
            try:
                list(self.get_conn().list_blobs(bucket, max_results=1))
            except api_exceptions.NotFound:
                return False
        return True

    def read(self, path: str) -> bytes | None:
        """Return what is in the object at gs://BUCKET/NAME, or None if there is none."""
        bucket, _, name = path.removeprefix("gs://").partition("/")
        with explained(f"reading {path}"):
            try:
                content: bytes = self.get_conn().bucket(bucket).blob(name).download_as_bytes()
            except api_exceptions.NotFound:
                return None
        return content

    def object_exists(self, path: str) -> bool:
        """Whether there is an object at gs://BUCKET/NAME."""
        bucket, _, name = path.removeprefix("gs://").partition("/")
        with explained(f"looking at {path}"):
            return bool(self.get_conn().bucket(bucket).blob(name).exists())
