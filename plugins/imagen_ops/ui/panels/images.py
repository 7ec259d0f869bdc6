"""The newest images, by the index that the jobs leave of them; and the images themselves.

The index is read from its newest end, and no further than what is asked for.
"""

import re
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from imagen_ops.ui.storage import Deadline, Storage, Stored
from imagen_ops.ui.untrusted import flag, number, text, texts

MOST = 200
# Where a page begins: an object of the index, and how many of its images came before.
CURSOR = r"^\d{13}-[0-9a-f]{8}\.\d{1,6}$"

# As beam_jobs/images/recent_index.py and beam_jobs/images/store.py name them.
INDEX = "recent/predictions/"
_IMAGE = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{30}-\d\.(png|jpg|jpeg|webp)")
_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
# An object has 1 to 200 lines. First a few are read, then twice as many.
_FIRST = 8
_IN_MEMORY = 64 << 10

Entry = dict[str, Any]


def media_type_of(path: str) -> str | None:
    """Return the type of the image at `path` below the images; None if no image is called so."""
    match = _IMAGE.fullmatch(path)
    return _TYPES[match[2]] if match else None


def entries(records: Iterator[dict[str, Any]]) -> list[Entry]:
    """Return the images that an object of the index tells of, newest first, without addresses."""
    return [
        {
            "path": path,
            "prompt": text(record.get("prompt")),
            "prompt_id": text(record.get("prompt_id")),
            "model": text(record.get("model")),
            "source": text(record.get("source")),
            "reused": bool(flag(record.get("reused"))),
            "at": text(record.get("at")),
            "latency_ms": number(record.get("latency_ms")),
        }
        for record in reversed(list(records))
        for path in texts(record.get("images"))
    ]


def read_images(storage: Storage, limit: int, before: str | None = None) -> dict[str, Any]:
    """Read one page of images, newest first, and where the next one begins.

    Args:
        storage: the deployment's.
        limit: images, 1 to `MOST`.
        before: what the page before gave as `next`; see `CURSOR`.

    Raises:
        TroubleError: they cannot be read.
    """
    location, deadline = storage.settings().images_location, Deadline()
    prefix = f"{_folder(storage)}{INDEX}"
    first, _, skipped = (before or "").partition(".")
    # Each has an image or more; but of the first one all may have been shown.
    objects, more = storage.listed(
        prefix, limit + 1, deadline, start=f"{prefix}{first}.jsonl" if first else ""
    )
    found: list[tuple[str, Entry]] = []
    size = _FIRST
    left = objects
    while left and len(found) <= limit:
        now, left, size = left[:size], left[size:], 2 * size
        for one, of_one in zip(now, storage.read(now, entries, deadline), strict=True):
            name = one.name.removeprefix(prefix).removesuffix(".jsonl")
            begin = int(skipped) if name == first else 0
            found += [
                (f"{name}.{place}", entry) for place, entry in enumerate(of_one) if place >= begin
            ]
    following = None
    if len(found) > limit:
        following = found[limit][0]
    elif more:
        following = _after(objects[-1], prefix)
    page = [_addressed(entry, location) for _, entry in found[:limit]]
    # Several workers write, each a second's worth at a time.
    page.sort(key=lambda entry: entry["at"] or "", reverse=True)
    return {"images": page, "next": following}


def read_image(storage: Storage, path: str) -> IO[bytes] | None:
    """Return the image at `path`, which `media_type_of` knows, as a file to read; None: not there.

    Raises:
        TroubleError: it cannot be read.
    """
    # Images are large and phones slow: what waits to be sent waits on disk.
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - read by who sends it
    try:
        if storage.copy(f"{_folder(storage)}{path}", file):
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _folder(storage: Storage) -> str:
    settings = storage.settings()
    return settings.images_location.removeprefix(f"gs://{settings.bucket}/") + "/"


def _after(last: Stored, prefix: str) -> str:
    """Return where the page after the object `last` begins."""
    return f"{last.name.removeprefix(prefix).removesuffix('.jsonl')}.999999"


def _addressed(entry: Entry, location: str) -> Entry:
    path = entry["path"]
    inside = path.removeprefix(f"{location}/")
    served = path != inside and media_type_of(inside)
    return {"url": f"images/{inside}" if served else None, **entry}
