"""Which prompts have anything stored: an image or a record, whole or not.

For what may order nothing that is there already, so it is certain. Names are sorted by digest. So
each page of a listing begins at the first digest that no page has answered, and answers all those
up to its end: there are never more requests than digests, nor many more than pages.

Must not import Google's client: whoever looks brings one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.cloud.storage import Client

    from beam_jobs.images.location import Location

# The maximum number of names that Cloud Storage puts on a page.
PAGE_NAMES = 1000
# More than one prompt has: a record, and at most ten images.
_FEW_NAMES = 16
# By how much a page grows after one that answered several digests, and shrinks after another.
_FACTOR = 8


class StoredDigests:
    """What is stored in one folder of images. Safe to use from several threads.

    Args:
        client: must be allowed to list the folder.
        location: the folder that images are stored in.
    """

    def __init__(self, client: "Client", location: "Location") -> None:
        self._client = client
        self._location = location

    def stored(self, digests: Sequence[str]) -> set[str]:
        """Return those digests that anything is stored for. Google's exceptions pass through.

        Args:
            digests: in hex, sorted, all with the same first two digits.
        """
        found: set[str] = set()
        position, page_names = 0, PAGE_NAMES
        while position < len(digests):
            remaining = digests[position:]
            names, is_last = self._page(remaining[0], digests[-1], page_names)
            present = {self._digest_in(name) for name in names}
            if is_last:
                return found.union(present.intersection(remaining))
            # Everything is known of the digests before the last name's, and that there is
            # something of that one.
            end = self._digest_in(names[-1])
            answered = 0
            while answered < len(remaining) and remaining[answered] <= end:
                answered += 1
            found |= present.intersection(remaining[:answered])
            # A page that ends before the first digest cannot be: it begins there.
            position += max(1, answered)
            page_names = (
                min(PAGE_NAMES, page_names * _FACTOR)
                if answered > 1
                else max(_FEW_NAMES, page_names // _FACTOR)
            )
        return found

    def _page(self, first: str, last: str, page_names: int) -> tuple[list[str], bool]:
        """Return names from those of one digest on, and whether there are no more up to another."""
        options: dict[str, Any] = {
            "prefix": f"{self._location.prefix}{first[:2]}/",
            "start_offset": self._location.stem(first),
            # Behind `DIGEST-…` and `DIGEST.json`; the offset itself is excluded.
            "end_offset": f"{self._location.stem(last)}~",
            "page_size": page_names,
            "fields": "items(name),nextPageToken",
        }
        blobs = self._client.list_blobs(self._location.bucket, **options)
        # Any page may have no items, and still another page after it.
        for page in blobs.pages:
            if names := [str(blob.name) for blob in page]:
                return names, not blobs.next_page_token
        return [], True

    def _digest_in(self, name: str) -> str:
        start = len(self._location.prefix) + 3
        return name[start : start + 32]
