"""Finds the newest images, and downloads one."""

import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.api_core import exceptions as api_exceptions
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from beam_jobs.images import recent_index
from beam_jobs.images.location import PREDICTIONS, Location
from beam_jobs.images.store import RECORD_SCHEMA

# An index object may hold a single entry, and that entry may be about reused, older images.
_OBJECTS_PER_RECORD = 2
# A listing of images ends before this name: image folders are named by hex digits (0 to f).
_AFTER_DIGESTS = "g"
# For somebody who waits: the library's own repeats a request for two minutes. Of all tries of one
# request, and of one try, in seconds.
PATIENCE = {"retry": DEFAULT_RETRY.with_timeout(5.0), "timeout": 5.0}
_IMAGE = re.compile(r"([0-9a-f]{2}/[0-9a-f]{32})-\d\.\w+")


def newest(location: Location, project: str, limit: int) -> list[dict[str, Any]]:
    """Return the records of the `limit` newest prompts with images, newest first.

    Reads the jobs' index. If the index has too few entries, lists all images in `location`, which
    is fine for thousands of images.
    """
    client = storage.Client(project=project)
    records = list(itertools.islice(_indexed(client, location, limit), limit))
    if len(records) < limit:
        records = list(itertools.islice(_listed(client, location), limit))
    return records


def download(path: str, project: str, folder: Path) -> Path:
    """Download the image at `path` (`gs://…`) into `folder` and return its local path."""
    location = Location.parse(path)
    name = location.prefix.rstrip("/")
    client = storage.Client(project=project)
    target = folder / name.rpartition("/")[2]
    folder.mkdir(parents=True, exist_ok=True)
    client.bucket(location.bucket).blob(name).download_to_filename(str(target), **PATIENCE)
    return target


def _indexed(client: storage.Client, location: Location, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the records of the newest images according to the index."""
    bucket = client.bucket(location.bucket)
    folder = location.url(location.prefix)
    names: set[str] = set()
    for entry in recent_index.read_newest(
        client, location, PREDICTIONS, limit * _OBJECTS_PER_RECORD, **PATIENCE
    ):
        images = entry.get("images")
        if entry.get("reused") or not (images and isinstance(images, list)):
            continue
        match = _IMAGE.fullmatch(str(images[0]).removeprefix(folder))
        if match and match[1] not in names:
            names.add(match[1])
            with contextlib.suppress(api_exceptions.NotFound):  # deleted since
                blob = bucket.blob(f"{location.prefix}{match[1]}.json")
                if record := _record(blob.download_as_bytes(**PATIENCE)):
                    yield record


def _listed(client: storage.Client, location: Location) -> Iterator[dict[str, Any]]:
    """Yield all stored records, newest first."""
    blobs = client.list_blobs(
        location.bucket,
        prefix=location.prefix,
        end_offset=f"{location.prefix}{_AFTER_DIGESTS}",
        **PATIENCE,
    )
    record_blobs = [blob for blob in blobs if blob.name.endswith(".json")]
    record_blobs.sort(key=lambda blob: blob.time_created, reverse=True)
    for blob in record_blobs:
        if record := _record(blob.download_as_bytes(**PATIENCE)):
            yield record


def _record(data: bytes) -> dict[str, Any] | None:
    """Return the record in `data`; None for any other file."""
    try:
        record = json.loads(data)
    except ValueError:
        return None
    is_record = isinstance(record, dict) and record.get("schema") == RECORD_SCHEMA
    return record if is_record else None
