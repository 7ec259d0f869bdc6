"""Images for people: the newest, one opened, or a contact sheet of many."""

import datetime
import html
import itertools
import json
import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.cloud import storage

from beam_jobs.store import RECORD_SCHEMA, Location

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1500px; padding: 24px; }
h1 { font-size: 20px; margin: 0 0 4px; } p { color: var(--quiet); margin: 0 0 20px; }
main { display: grid; gap: 18px; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
figure div { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; height: 210px; }
img { width: 100%; height: 210px; object-fit: cover; display: block; }
figcaption { padding: 10px 12px; overflow-wrap: anywhere; }
small { color: var(--quiet); display: block; margin-top: 4px; }
"""


def newest(location: Location, project: str, limit: int) -> list[dict[str, Any]]:
    """Return the records of the `limit` newest sets of images, newest first.

    Goes through the names of all that is under `location`: for people, and thousands of images.
    """
    client = storage.Client(project=project)
    records = [
        blob
        for blob in client.list_blobs(location.bucket, prefix=location.prefix)
        if blob.name.endswith(".json")
    ]
    records.sort(key=lambda blob: blob.time_created, reverse=True)
    found = (_record(blob.download_as_bytes()) for blob in records)
    return list(itertools.islice(filter(None, found), limit))


def download(path: str, project: str, folder: Path) -> Path:
    """Copy the image at `path` (gs://…) into `folder` and return where it is."""
    location = Location.parse(path)
    name = location.prefix.rstrip("/")
    client = storage.Client(project=project)
    target = folder / name.rpartition("/")[2]
    folder.mkdir(parents=True, exist_ok=True)
    client.bucket(location.bucket).blob(name).download_to_filename(str(target))
    return target


def contact_sheet(records: list[dict[str, Any]], project: str, folder: Path) -> Path:
    """Write `index.html` with the images of `records` beside it, and return its path."""
    figures = "".join(_figure(record, project, folder) for record in records)
    count = sum(len(record["images"]) for record in records)
    now = datetime.datetime.now().astimezone().isoformat(" ", "minutes")
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Images</title><style>{_STYLE}</style>"
        f"<h1>{count} images of {len(records)} prompts</h1><p>{html.escape(now)}</p>"
        f"<main>{figures}</main></html>"
    )
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / "index.html"
    sheet.write_text(page, encoding="utf-8")
    return sheet


def _record(data: bytes) -> dict[str, Any] | None:
    """Return the record that `data` is, or None: somebody may have put other files there."""
    try:
        record = json.loads(data)
    except ValueError:
        return None
    ours = isinstance(record, dict) and record.get("schema") == RECORD_SCHEMA
    return record if ours else None


def _figure(record: dict[str, Any], project: str, folder: Path) -> str:
    prompt = html.escape(record["prompt"])
    images = "".join(
        f'<a href="{name}"><img loading="lazy" alt="{prompt}" src="{name}"></a>'
        for name in map(html.escape, _downloaded(record["images"], project, folder))
    )
    settings = " · ".join(_settings(record))
    return (
        f"<figure><div>{images}</div><figcaption>{prompt}<small>{html.escape(settings)}</small>"
        "</figcaption></figure>"
    )


def _downloaded(paths: list[str], project: str, folder: Path) -> Iterator[str]:
    for path in paths:
        target = download(path, project, folder / "images")
        if mimetypes.guess_type(target.name)[0] in ("image/png", "image/jpeg", "image/webp"):
            yield f"images/{target.name}"


def _settings(record: dict[str, Any]) -> Iterator[str]:
    yield record["model"]
    for field in ("aspect_ratio", "image_size"):
        if record.get(field):
            yield record[field]
    if record.get("seed") is not None:
        yield f"seed {record['seed']}"
