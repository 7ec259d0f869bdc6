"""Images for people: the newest, or one as a file."""

import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.api_core import exceptions as api_exceptions
from google.cloud import storage

from beam_jobs.images import recent_index
from beam_jobs.images.store import RECORD_SCHEMA, Location

# An object of the index may hold one line, and that line be about images made long ago.
_OBJECTS_PER_RECORD = 2
# Below a location only folders of digests begin so: where to end a listing of images.
_AFTER_DIGESTS = "g"
_IMAGE = re.compile(r"([0-9a-f]{2}/[0-9a-f]{32})-\d\.\w+")


def newest(location: Location, project: str, limit: int) -> list[dict[str, Any]]:
    """Return the records of the `limit` newest sets of images, newest first.

    Asks the jobs' index. Where that knows too few, goes through the names of all images under
    `location`: for people, and thousands of images.
    """
    client = storage.Client(project=project)
    found = list(itertools.islice(_indexed(client, location, limit), limit))
    if len(found) < limit:
        found = list(itertools.islice(_listed(client, location), limit))
    return found


def download(path: str, project: str, folder: Path) -> Path:
    """Copy the image at `path` (gs://…) into `folder` and return where it is."""
    location = Location.parse(path)
    name = location.prefix.rstrip("/")
    client = storage.Client(project=project)
    target = folder / name.rpartition("/")[2]
    folder.mkdir(parents=True, exist_ok=True)
    client.bucket(location.bucket).blob(name).download_to_filename(str(target))
    return target


def _indexed(client: storage.Client, location: Location, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the records of the images that the index says were made last."""
    bucket = client.bucket(location.bucket)
    folder = location.url(location.prefix)
    names: set[str] = set()
    for told in recent_index.read(
        client, location, recent_index.PREDICTIONS, limit * _OBJECTS_PER_RECORD
    ):
        images = told.get("images")
        if told.get("reused") or not (images and isinstance(images, list)):
            continue
        match = _IMAGE.fullmatch(str(images[0]).removeprefix(folder))
        if match and match[1] not in names:
            names.add(match[1])
            with contextlib.suppress(api_exceptions.NotFound):  # somebody has deleted them
                blob = bucket.blob(f"{location.prefix}{match[1]}.json")
                if record := _record(blob.download_as_bytes()):
                    yield record


def _listed(client: storage.Client, location: Location) -> Iterator[dict[str, Any]]:
    """Yield the records that are stored, newest first."""
    blobs = client.list_blobs(
        location.bucket,
        prefix=location.prefix,
        end_offset=f"{location.prefix}{_AFTER_DIGESTS}",
    )
    records = [blob for blob in blobs if blob.name.endswith(".json")]
    records.sort(key=lambda blob: blob.time_created, reverse=True)
    for blob in records:
        if record := _record(blob.download_as_bytes()):
            yield record


def _record(data: bytes) -> dict[str, Any] | None:
    """Return the record that `data` is, or None: somebody may have put other files there."""
    try:
        record = json.loads(data)
    except ValueError:
        return None
    ours = isinstance(record, dict) and record.get("schema") == RECORD_SCHEMA
    return record if ours else None
