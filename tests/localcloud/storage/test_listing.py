"""Listing: by prefix, delimiter, offsets, globs and pages."""

from bisect import bisect_left

import pytest
import requests
from google.api_core import exceptions

from localcloud.storage.listing import ListQuery, past_prefix, walk
from localcloud.storage.records import Content, StoredObject

NAMES = [
    "a",
    "a/",
    "a/1.png",
    "a/2.json",
    "a/b/3.png",
    "a/b/c/4.png",
    "a0",
    "z",
    "é/5.png",
    "é/🎨/6.png",
]


@pytest.fixture
def filled(server, bucket):
    for name in NAMES:
        server.store.write("pictures", name, b"")
    return bucket


def names(listing) -> list[str]:
    return [blob.name for blob in listing]


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_everything_comes_in_order_whatever_the_page_size(filled, page_size):
    assert names(filled.list_blobs(page_size=page_size)) == NAMES


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_a_delimiter_folds_what_is_below_it(filled, page_size):
    listing = filled.list_blobs(delimiter="/", page_size=page_size)
    assert names(listing) == ["a", "a0", "z"]
    assert listing.prefixes == {"a/", "é/"}
    listing = filled.list_blobs(prefix="a/", delimiter="/", page_size=page_size)
    assert names(listing) == ["a/", "a/1.png", "a/2.json"]
    assert listing.prefixes == {"a/b/"}


def test_a_trailing_delimiter_can_be_included(filled):
    listing = filled.list_blobs(delimiter="/", include_trailing_delimiter=True)
    assert names(listing) == ["a", "a/", "a0", "z"]
    assert listing.prefixes == {"a/", "é/"}


def test_a_prefix_is_not_a_pattern(filled, server):
    server.store.write("pictures", "100%_[x]", b"")
    assert names(filled.list_blobs(prefix="100%_[")) == ["100%_[x]"]
    assert names(filled.list_blobs(prefix="a/b")) == ["a/b/3.png", "a/b/c/4.png"]
    assert names(filled.list_blobs(prefix="é/🎨")) == ["é/🎨/6.png"]
    assert names(filled.list_blobs(prefix="nope")) == []


def test_offsets_bound_the_names(filled):
    assert names(filled.list_blobs(start_offset="a/b/3.png", end_offset="é")) == [
        "a/b/3.png",
        "a/b/c/4.png",
        "a0",
        "z",
    ]
    assert names(filled.list_blobs(prefix="a/", start_offset="a/2")) == NAMES[3:6]
    assert names(filled.list_blobs(prefix="a/", end_offset="a/2")) == NAMES[1:3]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("a/*.png", ["a/1.png"]),
        ("a/**.png", ["a/1.png", "a/b/3.png", "a/b/c/4.png"]),
        ("**/*.png", ["a/1.png", "a/b/3.png", "a/b/c/4.png", "é/5.png", "é/🎨/6.png"]),
        ("a/{1,2}.{png,json}", ["a/1.png", "a/2.json"]),
        ("a/[!1].*", ["a/2.json"]),
        ("?", ["a", "z"]),
        ("nope*", []),
    ],
)
def test_globs(filled, glob, expected):
    assert names(filled.list_blobs(match_glob=glob)) == expected
    assert names(filled.list_blobs(match_glob=glob, page_size=1)) == expected


@pytest.mark.full
def test_five_thousand_objects_come_in_pages(server, bucket):
    for number in range(5000):
        server.store.write("pictures", f"n/{number:05}", b"")
    pages = list(bucket.list_blobs(prefix="n/").pages)
    assert [page.num_items for page in pages] == [1000] * 5
    assert names(bucket.list_blobs()) == [f"n/{number:05}" for number in range(5000)]
    assert len(names(bucket.list_blobs(max_results=1234))) == 1234


def test_objects_written_between_pages_do_not_disturb_the_listing(server, bucket):
    for number in range(10):
        server.store.write("pictures", f"{number}", b"")
    pages = bucket.list_blobs(page_size=4).pages
    seen = names(next(pages))
    server.store.write("pictures", "00", b"")
    server.store.delete("pictures", "4")
    assert seen + [name for page in pages for name in names(page)] == list("012356789")


@pytest.mark.parametrize(
    ("query", "entries"),
    [
        (ListQuery(limit=100), 100),
        (ListQuery(delimiter="/", limit=100), 100),
        (ListQuery(prefix="d0999/"), 100),
        (ListQuery(prefix="d0500/", delimiter="/", limit=50), 50),
        (ListQuery(after="d0700/50", limit=100), 100),
        (ListQuery(glob="d0999/*", limit=100), 100),
    ],
)
def test_a_page_reads_no_more_than_it_needs_of_a_large_bucket(query, entries):
    """A thousand folders of a hundred objects, behind an index that counts what is read."""
    every = [f"d{number // 100:04}/{number % 100:02}" for number in range(100_000)]
    content = Content("", 0, "", None)
    read = 0

    def fetch(start: str, end: str | None, limit: int) -> list[StoredObject]:
        nonlocal read
        first = bisect_left(every, start)
        last = len(every) if end is None else bisect_left(every, end)
        found = every[first : min(last, first + limit)]
        read += len(found)
        return [StoredObject("b", name, content, 1, 1, "", "", {}) for name in found]

    page = walk(query, fetch)
    assert len(page.items) + len(page.prefixes) == entries
    assert read <= 2 * entries + 2


@pytest.mark.parametrize(
    "query", ["pageToken=!!", "maxResults=x", "maxResults=-1", "matchGlob=[b-a]"]
)
def test_a_malformed_query_is_a_bad_request(server, query):
    answer = requests.get(f"{server.url}/storage/v1/b/pictures/o?{query}", timeout=60)
    assert answer.status_code == 400, answer.text


def test_listing_a_bucket_that_does_not_exist_is_not_found(client):
    with pytest.raises(exceptions.NotFound):
        list(client.list_blobs("nope"))


@pytest.mark.parametrize(
    ("prefix", "following"),
    [("a", "b"), ("a/", "a0"), ("\ud7ff", "\ue000"), ("a\U0010ffff", "b"), ("\U0010ffff", None)],
)
def test_what_comes_after_a_prefix(prefix, following):
    assert past_prefix(prefix) == following
