"""Which prompts already have their images: those whose record is stored where the job looks for it.

One page of a listing covers many digests while the folder holds few other objects. Where it holds
many, one lookup per digest is cheaper. So a listing comes first, for as long as it pays off.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud.storage import Client

    from beam_jobs.images.location import Location

# The maximum number of names that Cloud Storage puts on a page.
PAGE_NAMES = 1000
# A page costs as much as 12 lookups (cloud.google.com/storage/pricing: class A 0.005 $ against
# class B 0.0004 $ for 1,000), and takes about as long.
LOOKUPS_PER_PAGE = 12


class StoredRecords:
    """The records of prompts in one folder of images. Safe to use from several threads.

    Args:
        client: must be allowed to list and read the folder.
        location: the folder that the job stores images in (its --images_output_location).
        max_requests: how many requests to spend on all lookups; at least 1.
    """

    def __init__(self, client: "Client", location: "Location", max_requests: int) -> None:
        self._client = client
        self._location = location
        self._remaining = max(1, max_requests)
        self._lock = threading.Lock()

    def stored(self, digests: Sequence[str]) -> Iterator[bool]:
        """Yield whether a record is stored, for each digest in turn.

        Ends early when all requests are spent. Google's exceptions pass through.

        Args:
            digests: in hex, sorted, all with the same first two digits.
        """
        position = 0
        while len(digests) - position > 1 and self._spend_request():
            answers = self._page(digests[position:])
            yield from answers
            position += len(answers)
            if len(answers) < LOOKUPS_PER_PAGE:
                break
        bucket = self._client.bucket(self._location.bucket)
        for digest in digests[position:]:
            if not self._spend_request():
                return
            yield bool(bucket.blob(self._location.record(digest)).exists())

    def _page(self, digests: Sequence[str]) -> list[bool]:
        """Return what one page of a listing answers, for all the digests or only the first ones."""
        first, last = self._location.record(digests[0]), self._location.record(digests[-1])
        blobs = self._client.list_blobs(
            self._location.bucket,
            prefix=f"{self._location.prefix}{digests[0][:2]}/",
            start_offset=first,
            end_offset=f"{last}!",  # the offset itself is excluded
            max_results=PAGE_NAMES,
            fields="items(name),nextPageToken",
        )
        names = [blob.name for blob in blobs]
        last_covered = last if blobs.next_page_token is None or not names else names[-1]
        existing = set(names)
        return [
            name in existing for name in map(self._location.record, digests) if name <= last_covered
        ]

    def _spend_request(self) -> bool:
        """Count one request; return False if none remains."""
        with self._lock:
            self._remaining -= 1
            return self._remaining >= 0
