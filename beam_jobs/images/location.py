"""The names of the objects in the image folder. Pure.

| object | name below the folder |
|---|---|
| an image | `<digest[:2]>/<digest>-<index>.<extension>` |
| the record of a prompt | `<digest[:2]>/<digest>.json` |
| the claim on a prompt that is being made | `<digest[:2]>/<digest>.claim` |
| the index of the newest outcomes | `recent/<kind>/<13 digits>-<8 hex digits>.jsonl` |
| the index of predictions by day | `index/<YYYY-MM-DD>/<13 digits>-<8 hex digits>.jsonl` |
| the thumbnail of an image | `thumbnails/<digest[:2]>/<digest>-<index>.webp` |
| what a custom function made of a prompt | `preprocessed/<key[:2]>/<key>.jsonl` |
"""

import dataclasses
import datetime
import re

_LOCATION = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/([^?#*\[\]\r\n]*))?")

# Names in the index count down from this number of milliseconds, so that a listing starts with the
# newest. They have 13 digits until the year 2286.
END_OF_TIME_MS = 9_999_999_999_999
PREDICTIONS, FAILURES = KINDS = ("predictions", "failures")
# All sort behind the folders of images, which are named by hex digits.
DAYS, PREPROCESSED, THUMBNAILS = "index/", "preprocessed/", "thumbnails/"
# Nothing else ends so: workers may delete what does.
CLAIM_SUFFIX = ".claim"


def index_folder(kind: str) -> str:
    """Return the index's folder for one kind of outcome, `PREDICTIONS` or `FAILURES`."""
    return f"recent/{kind}/"


def day_folder(day: datetime.date) -> str:
    """Return the folder of the index by day for a day in UTC."""
    return f"{DAYS}{day.isoformat()}/"


def countdown(at_ms: int) -> str:
    """Return the 13 digits that names in the index begin with, for milliseconds since 1970."""
    return f"{END_OF_TIME_MS - at_ms:013d}"


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """A bucket and a folder in it.

    Args:
        bucket: the bucket's name, without `gs://`.
        prefix: the folder with a slash at its end; empty for the whole bucket.
    """

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> "Location":
        """Return the location that `url` names.

        Raises:
            ValueError: `url` is not of the form `gs://BUCKET/FOLDER`.
        """
        match = _LOCATION.fullmatch(url)
        if not match:
            raise ValueError(f"expected gs://<bucket>/<folder>, got {url!r}")
        folder = (match[2] or "").strip("/")
        return cls(bucket=match[1], prefix=f"{folder}/" if folder else "")

    def url(self, name: str) -> str:
        """Return the `gs://` URL of the object `name`."""
        return f"gs://{self.bucket}/{name}"

    def stem(self, digest: str) -> str:
        """Return the common prefix of the names of a prompt's images and record."""
        return f"{self.prefix}{digest[:2]}/{digest}"

    def record(self, digest: str) -> str:
        """Return the name of a prompt's record."""
        return f"{self.stem(digest)}.json"

    def claim(self, digest: str) -> str:
        """Return the name of the claim on a prompt."""
        return f"{self.stem(digest)}{CLAIM_SUFFIX}"

    def index(self, kind: str) -> str:
        """Return the name prefix of the index objects of one kind, `PREDICTIONS` or `FAILURES`."""
        return f"{self.prefix}{index_folder(kind)}"

    def day_index(self, at_ms: int) -> str:
        """Return the name prefix of the objects of the index by day.

        Args:
            at_ms: a time on that day, in milliseconds since 1970.
        """
        day = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).date()
        return f"{self.prefix}{day_folder(day)}"

    def thumbnail(self, digest: str, index: int) -> str:
        """Return the name of the thumbnail of a prompt's image."""
        return f"{self.prefix}{THUMBNAILS}{digest[:2]}/{digest}-{index}.webp"
