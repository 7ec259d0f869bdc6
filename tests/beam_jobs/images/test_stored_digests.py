"""What is stored of many prompts, whatever else is in the folder."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.images import stored_digests
from beam_jobs.images.location import Location
from beam_jobs.images.stored_digests import StoredDigests


def digest(number: int) -> str:
    return f"ab{number:030x}"


def test_an_image_without_a_record_counts_as_does_a_record_alone(lane):
    with_record, with_image, with_both, without = map(digest, range(4))
    lane.put(f"images/ab/{with_record}.json", "{}")
    lane.put(f"images/ab/{with_image}-3.webp", "x")
    for name in (f"{with_both}.json", f"{with_both}-0.png", f"{digest(9)}-0.png"):
        lane.put(f"images/ab/{name}", "x")
    lookup = StoredDigests(lane.storage, Location.parse(lane.images_location))
    every = [with_record, with_image, with_both, without]
    assert lookup.stored(every) == {with_record, with_image, with_both}
    assert lookup.stored([without]) == set()
    assert lookup.stored([]) == set()


class Listing:
    """A client whose listings have pages of so many names at most, as Cloud Storage's may have."""

    def __init__(self, names: list[str], most: int) -> None:
        self.names = sorted(names)
        self.most = most
        self.requests = 0

    def list_blobs(self, _bucket: str, **options: Any) -> Any:
        first, end = options["start_offset"], options["end_offset"]
        matching = [
            name
            for name in self.names
            if name.startswith(options["prefix"]) and first <= name < end
        ]
        size = min(self.most, options["page_size"])
        listing = SimpleNamespace(next_page_token=None)

        def pages() -> Any:
            for start in range(0, max(1, len(matching)), size):
                self.requests += 1
                listing.next_page_token = "more" if start + size < len(matching) else None
                yield [SimpleNamespace(name=name) for name in matching[start : start + size]]

        listing.pages = pages()
        return listing


@settings(max_examples=200, deadline=None)
@given(
    stored=st.sets(st.integers(0, 60)),
    asked=st.sets(st.integers(0, 60)),
    images=st.integers(1, 4),
    most=st.integers(1, 20),
)
def test_it_is_certain_whatever_is_asked_and_however_long_pages_are(stored, asked, images, most):
    names = [
        f"images/ab/{digest(number)}{end}"
        for number in stored
        for end in (*(f"-{index}.png" for index in range(images)), ".json")
    ]
    client = Listing(names, most)
    lookup = StoredDigests(client, Location("b", "images/"))  # type: ignore[arg-type]
    wanted = sorted(map(digest, asked))
    assert lookup.stored(wanted) == {digest(number) for number in asked & stored}
    assert client.requests <= len(asked)


@pytest.mark.parametrize(
    ("stored", "asked", "most_requests"),
    [
        (10_000, 10_000, 21),  # pages
        (10_000, 20, 20),  # digests
        (0, 10_000, 1),
    ],
)
def test_it_takes_as_many_requests_as_pages_or_digests(stored, asked, most_requests):
    names = [f"ab/{digest(number)}{end}" for number in range(stored) for end in ("-0.png", ".json")]
    client = Listing(names, stored_digests.PAGE_NAMES)
    wanted = [digest(number) for number in random.Random(1).sample(range(10_000), asked)]
    lookup = StoredDigests(client, Location("b", ""))  # type: ignore[arg-type]
    assert lookup.stored(sorted(wanted)) == (set(wanted) if stored else set())
    assert client.requests <= most_requests
