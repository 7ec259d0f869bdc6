"""Which prompts have their images already: those whose record is stored, as the job will find it.

A page of a listing tells of many digests at once while the folder holds few others; where it holds
many, a look at each is cheaper. So a listing is tried first, and followed while it pays.
"""

import dataclasses
import re
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from google.cloud.storage import Client

# The most names that Cloud Storage puts on a page.
PAGE_NAMES = 1000
# A page costs what 12 looks do (cloud.google.com/storage/pricing: class A 0.005 $ against class B
# 0.0004 $ for 1,000), and takes about as long.
LOOKS_PER_PAGE = 12

_LOCATION = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/([^?#*\[\]\r\n]*))?")


@dataclasses.dataclass(frozen=True, slots=True)
class Folder:
    """A bucket and a folder in it; `prefix` ends with a slash, or is empty."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read gs://BUCKET/FOLDER.

        Raises:
            ValueError: it is none.
        """
        match = _LOCATION.fullmatch(url)
        if not match:
            raise ValueError(f"images location: expected gs://<bucket>/<folder>, got {url!r}")
        folder = (match[2] or "").strip("/")
        return cls(match[1], f"{folder}/" if folder else "")


class StoredRecords:
    """The records of images in one folder. Safe to use from several threads.

    Args:
        client: must be able to list and to read there.
        folder: as the job's --images_output_location.
        most_requests: how many requests may be spent.
    """

    def __init__(self, client: "Client", folder: Folder, most_requests: int) -> None:
        self._client = client
        self._folder = folder
        self._left = max(1, most_requests)
        self._lock = threading.Lock()

    def stored(self, digests: Sequence[str]) -> Iterator[bool]:
        """Yield for each of `digests` whether it has a record.

        The digests are of one part (their first two digits are the same), in order. Ends early
        when the requests are spent. Google's exceptions pass through.
        """
        at = 0
        while len(digests) - at > 1 and self._may():
            told = self._page(digests[at:])
            yield from told
            at += len(told)
            if len(told) < LOOKS_PER_PAGE:
                break
        bucket = self._client.bucket(self._folder.bucket)
        for digest in digests[at:]:
            if not self._may():
                return
            yield bool(bucket.blob(self._name(digest)).exists())

    def _page(self, digests: Sequence[str]) -> list[bool]:
        """Return what one page of a listing tells: of all the digests, or of the first ones."""
        first, last = self._name(digests[0]), self._name(digests[-1])
        blobs = self._client.list_blobs(
            self._folder.bucket,
            prefix=f"{self._folder.prefix}{digests[0][:2]}/",
            start_offset=first,
            end_offset=f"{last}!",  # the end itself is left out
            max_results=PAGE_NAMES,
            fields="items(name),nextPageToken",
        )
        names = [blob.name for blob in blobs]
        reached = last if blobs.next_page_token is None or not names else names[-1]
        there = set(names)
        wanted = map(self._name, digests)
        return [name in there for name in wanted if name <= reached]

    def _name(self, digest: str) -> str:
        """Name a record as `beam_jobs.images.store` does."""
        return f"{self._folder.prefix}{digest[:2]}/{digest}.json"

    def _may(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0
