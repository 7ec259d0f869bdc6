"""The newest images, from the index that the jobs write, the image files, and thumbnails of them.

The index is read from its newest end, and only as far as a request needs.
"""

import dataclasses
import re
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from beam_jobs.images.location import PREDICTIONS, THUMBNAILS, index_folder
from imagen_ops.ui.index_entry import entry_of
from imagen_ops.ui.storage import Deadline, Storage, StoredObject
from imagen_ops.ui.untrusted import texts

MAX_LIMIT = 200
# How many of the newest images are read: few sizes, so that all open pages share a few reads.
_NEWEST_LIMITS = (48, 96, MAX_LIMIT)
# Where a page starts: an object of the index, and how many of its images to skip.
CURSOR = r"^\d{13}-[0-9a-f]{8}\.\d{1,6}$"

INDEX = index_folder(PREDICTIONS)
# As `beam_jobs.images.location` names images.
_IMAGE = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{30}-\d\.(png|jpg|jpeg|webp)")
_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
# An object of the index has 1 to 200 lines. Read a few first, then twice as many each time.
_FIRST_BATCH = 8
_MAX_BYTES_IN_MEMORY = 64 << 10

Entry = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ImagePage:
    """A page of images.

    Attributes:
        by_cursor: the images, newest first, each with the cursor of a page that starts with it.
        after: the cursor of the page after all of these; None if there is none.
        location: of the images folder.
    """

    by_cursor: list[tuple[str, Entry]]
    after: str | None
    location: str

    def first(self, limit: int) -> dict[str, Any]:
        """Return the page's first images.

        Args:
            limit: maximum number of images.

        Returns:
            `{"images", "next"}`: the cursor of the next page, or None on the last page.
        """
        rest = self.by_cursor[limit:]
        shown = [with_url(entry, self.location) for _, entry in self.by_cursor[:limit]]
        # Several workers write at the same time, and each object covers about a second.
        shown.sort(key=lambda entry: entry["at"] or "", reverse=True)
        return {"images": shown, "next": rest[0][0] if rest else self.after}


def media_type_of(path: str) -> str | None:
    """Return the media type of the image at `path`, which is relative to the images folder.

    Returns:
        None if `path` is not the name of an image.
    """
    match = _IMAGE.fullmatch(path)
    return _MEDIA_TYPES[match[2]] if match else None


def entries(records: Iterator[dict[str, Any]]) -> list[Entry]:
    """Return the images in an object of the index, newest first, without addresses."""
    return [
        {"path": path, **entry_of(record)}
        for record in reversed(list(records))
        for path in texts(record.get("images"))
    ]


def newest_limit(limit: int) -> int:
    """Return how many of the newest images to read, to show the first `limit` of them."""
    return next(size for size in _NEWEST_LIMITS if size >= limit)


def read_images(storage: Storage, limit: int, before: str | None = None) -> ImagePage:
    """Read one page of images, newest first.

    Args:
        storage: the deployment's.
        limit: maximum number of images, 1 to `MAX_LIMIT`.
        before: the previous page's `next`; None: start at the newest image.

    Raises:
        ReadError: they cannot be read.
    """
    location, deadline = storage.settings().images_location, Deadline()
    prefix = f"{folder_of(storage)}{INDEX}"
    start_object, _, skip = (before or "").partition(".")
    # Each object has one image or more, but all of the first one's may be on the previous page.
    objects, more = storage.list_objects(
        prefix,
        limit + 1,
        deadline,
        start=f"{prefix}{start_object}.jsonl" if start_object else "",
    )
    by_cursor: list[tuple[str, Entry]] = []
    batch_size = _FIRST_BATCH
    remaining = objects
    while remaining and len(by_cursor) <= limit:
        batch, remaining = remaining[:batch_size], remaining[batch_size:]
        batch_size *= 2
        for stored, its_entries in zip(batch, storage.read(batch, entries, deadline), strict=True):
            name = stored.name.removeprefix(prefix).removesuffix(".jsonl")
            first = int(skip) if name == start_object else 0
            by_cursor += [
                (f"{name}.{index}", entry)
                for index, entry in enumerate(its_entries)
                if index >= first
            ]
    after = None
    if len(by_cursor) > limit:
        after = by_cursor[limit][0]
    elif more:
        after = _cursor_after(objects[-1], prefix)
    return ImagePage(by_cursor[:limit], after, location)


def read_thumbnail(storage: Storage, path: str) -> tuple[IO[bytes], str] | None:
    """Read an image's thumbnail, or if there is none, the image.

    Args:
        storage: the deployment's.
        path: a path for which `media_type_of` returned a type.

    Returns:
        What was read, as `read_image` returns it, and its media type; None if there is neither.

    Raises:
        ReadError: it cannot be read.
    """
    name = f"{folder_of(storage)}{THUMBNAILS}{path.rpartition('.')[0]}.webp"
    thumbnail = read_file(storage, name)
    return read_image(storage, path) if thumbnail is None else (thumbnail, _MEDIA_TYPES["webp"])


def read_image(storage: Storage, path: str) -> tuple[IO[bytes], str] | None:
    """Read an image.

    Args:
        storage: the deployment's.
        path: a path for which `media_type_of` returned a type.

    Returns:
        The image as an open file, positioned at its end, and its media type; None if there is no
        such image.

    Raises:
        ReadError: it cannot be read.
    """
    media_type = media_type_of(path)
    file = read_file(storage, f"{folder_of(storage)}{path}") if media_type else None
    return (file, media_type) if file and media_type else None


def read_file(storage: Storage, name: str) -> IO[bytes] | None:
    """Return an object of the bucket as an open file, positioned at its end; None if there is none.

    Raises:
        ReadError: it cannot be read.
    """
    # Images are large and phones are slow: what waits to be sent waits on disk.
    file = tempfile.SpooledTemporaryFile(_MAX_BYTES_IN_MEMORY)  # noqa: SIM115 - the caller closes it
    try:
        if storage.download(name, file):
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def folder_of(storage: Storage) -> str:
    """Return the images folder's name prefix in the bucket."""
    settings = storage.settings()
    return settings.images_location.removeprefix(f"gs://{settings.bucket}/") + "/"


def _cursor_after(last: StoredObject, prefix: str) -> str:
    """Return the cursor of the page that starts after an object of the index."""
    return f"{last.name.removeprefix(prefix).removesuffix('.jsonl')}.999999"


def with_url(entry: Entry, location: str) -> Entry:
    """Return an image with its address on this page, if it has one.

    Args:
        entry: an image, with its `path`.
        location: of the images folder.
    """
    path = entry["path"]
    relative = path.removeprefix(f"{location}/")
    is_served = path != relative and media_type_of(relative)
    return {"url": f"images/{relative}" if is_served else None, **entry}
