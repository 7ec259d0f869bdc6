"""Searching images on the page: what the jobs' index has of them, and what makes no sense."""

import itertools
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from imagen_ops.ui import index_reader
from imagen_ops.ui.image_index import ImageIndex
from imagen_ops.ui.index_reader import IndexReader
from imagen_ops.ui.panels.search import Asked
from tests.conftest import eventually
from tests.plugins.imagen_ops.ui.conftest import Page, Stored
from tests.plugins.imagen_ops.ui.test_images import line


def search(page: Page, **asked: Any) -> dict[str, Any]:
    data = page.data(f"search?{urlencode(asked)}")
    assert isinstance(data, dict)
    return data


def ids(answer: dict[str, Any]) -> list[str]:
    return [image["prompt_id"] for image in answer["images"]]


@pytest.fixture
def _patient(long_timeouts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from imagen_ops.ui.panels import search

    monkeypatch.setattr(search, "_PATIENCE_S", 60.0)
    monkeypatch.setattr(index_reader, "_READ_TIMEOUT_S", 240.0)


@pytest.mark.usefixtures("_patient")
def test_images_of_all_days_are_found_those_of_a_prompt_side_by_side(
    page: Page, stored: Stored
) -> None:
    now = datetime.now(UTC)
    at = {n: (now - timedelta(days=20 * n)).isoformat() for n in range(3)}
    stored.day(now - timedelta(days=20), line(1, at=at[1], prompt="A red fox", images=3))
    stored.day(now - timedelta(days=40), line(2, at=at[2], prompt="a Fox"), 7, "no record")
    stored.day(now - timedelta(days=100), line(9, prompt="a fox beyond what is kept"))
    # The newest is in the index of recent outcomes alone.
    stored.lines("predictions", now, line(0, at=at[0], prompt="fox, new"), {"images": 7})
    answer = search(page, q="FOX")
    assert ids(answer) == ["id-0", "id-1", "id-1", "id-1", "id-2"]
    assert answer["found"] == {"prompts": 3, "images": 5}
    assert answer["searched"] == {
        "prompts": 3,
        "since": at[2][:23] + "000+00:00",
        "complete": True,
        "error": None,
    }
    assert answer["choices"] == {"models": ["m"], "sources": ["stream"]}
    assert all(image["url"] for image in answer["images"])
    first = search(page, q="fox", limit=2)
    assert ids(first) == ["id-0", "id-1", "id-1", "id-1"]
    assert ids(search(page, q="fox", limit=2, before=first["next"])) == ["id-2"]
    assert search(page, q="wolf")["found"] == {"prompts": 0, "images": 0}


@pytest.mark.usefixtures("_patient")
def test_each_object_is_read_once_and_what_is_new_is_read(
    page: Page, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_reader, "PASS_EVERY_S", 0.0)
    now = datetime.now(UTC)
    for n in range(3):
        stored.day(now - timedelta(minutes=n), line(n, at=now.isoformat()), tag=f"{n:08x}")
    assert len(ids(search(page, q="prompt"))) == 3
    stored.day(now + timedelta(minutes=1), line(8, at=now.isoformat()))
    stored.day(now - timedelta(minutes=10), line(9, at=now.isoformat()))  # late
    costs = itertools.count(1)  # each a search of its own, whose answer is not cached

    def found() -> int:
        return len(ids(search(page, q="prompt", max_usd=next(costs))))

    eventually(lambda: found() == 5, what="the new objects")
    downloads = [path for path in stored.requests if "alt=media" in path and "index" in path]
    assert len(downloads) == len(set(downloads)) == 5


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"first": "2026-11-02", "last": "2026-11-01"}, "ends (2026-11-01) before it begins"),
        ({"first": "yesterday"}, "got 'yesterday'"),
        ({"last": "9999-12-31"}, "a day is YYYY-MM-DD"),
        ({"q": "x" * 2001}, "at most 2,000 characters, and this has 2,001"),
        ({"q": " ".join(map(str, range(33)))}, "at most 32 words, and this has 33"),
        ({"attribute": "acme"}, "NAME=VALUE"),
        ({"min_usd": "much"}, "US dollars"),
        ({"min_usd": "nan"}, "US dollars"),
        ({"min_usd": "2", "max_usd": "1"}, "end ($1) before they begin ($2)"),
    ],
)
def test_what_makes_no_sense_is_said(asked: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        Asked(**asked).query()


def test_what_makes_no_sense_is_answered_and_reads_nothing(page: Page, stored: Stored) -> None:
    answer = search(page, q="fox", first="2026-11-02", last="2026-11-01")
    assert answer == {
        "problem": "the range ends (2026-11-01) before it begins (2026-11-02): exchange the days",
        "images": [],
        "next": None,
    }
    assert stored.requests == []


@pytest.mark.usefixtures("_patient")
def test_an_empty_bucket_has_no_images_and_a_search_says_so(page: Page, stored: Stored) -> None:
    answer = search(page, q="fox", first="2026-11-01", last="2026-11-01", max_usd="0")
    assert (answer["images"], answer["next"]) == ([], None)
    assert answer["searched"] == {"prompts": 0, "since": None, "complete": True, "error": None}


@pytest.mark.usefixtures("_patient")
def test_without_storage_a_search_says_why(page: Page, stored: Stored) -> None:
    stored.stop()
    assert "cannot reach Cloud Storage" in page.panel("search?q=fox")["error"]


def test_what_was_erased_in_the_bucket_is_gone_after_a_day(stored: Stored, storage: Any) -> None:
    index = ImageIndex()
    reader = IndexReader(storage, index)
    now = datetime.now(UTC)
    name = stored.day(now, line(1), line(2))
    reader._read_new(now)
    stored.put(f"images/{name}", [line(2)])
    reader._read_new(now + timedelta(hours=23))
    assert index.extent()[0] == 2
    reader._read_new(now + timedelta(hours=25))
    assert index.extent()[0] == 1
