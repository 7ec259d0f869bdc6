"""The newest images from the jobs' index, page by page, with as few requests as possible."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beam_jobs.images import recent_index
from beam_jobs.outcomes import Prediction
from imagen_ops.ui.panels.images import read_images
from tests.plugins.imagen_ops.ui.conftest import BUCKET, Page, Stored

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def digest(n: int) -> str:
    return f"{n:032x}"


def path(n: int, index: int = 0) -> str:
    return f"{digest(n)[:2]}/{digest(n)}-{index}.png"


def line(n: int, images: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a prediction's line in the index, created by the code that jobs use."""
    paths = tuple(f"gs://{BUCKET}/images/{path(n, index)}" for index in range(images))
    outcome = Prediction(
        f"id-{n}", "", digest(n), f"prompt {n}", paths, "m", "stream", False, "", 1500
    )
    at = (NOW + timedelta(seconds=n)).isoformat(timespec="milliseconds")
    return {**recent_index.index_entry(outcome), "at": at, **fields}


def walk(storage: Any, limit: int) -> list[dict[str, Any]]:
    """Return all images, read page by page."""
    found, cursor = [], None
    while True:
        page = newest(storage, limit, cursor)
        assert len(page["images"]) <= limit
        found += page["images"]
        cursor = page["next"]
        if cursor is None:
            return found


def newest(storage: Any, limit: int, cursor: str | None = None) -> dict[str, Any]:
    """Return a page of images as the route does."""
    return read_images(storage, limit, cursor).first(limit)


def prompts(images: list[dict[str, Any]]) -> list[int]:
    return [int(image["prompt"].split()[1]) for image in images]


def test_without_images_the_list_is_empty_and_there_is_no_error(page: Page) -> None:
    assert page.data("images") == {"images": [], "next": None}


def test_an_image_is_listed_with_its_prompt_and_model(page: Page, stored: Stored) -> None:
    stored.lines("predictions", NOW, line(1, reused=True, template="studio@7"))
    assert page.data("images")["images"] == [
        {
            "url": f"images/{path(1)}",
            "path": f"gs://{BUCKET}/images/{path(1)}",
            "prompt": "prompt 1",
            "prompt_id": "id-1",
            "digest": digest(1),
            "model": "m",
            "source": "stream",
            "template": "studio@7",
            "reused": True,
            "at": "2026-11-22T10:00:01.000+00:00",
            "latency_ms": 1500,
            "cost_usd": 0.0,
            "parameters": {},
            "job_options": {},
            "attributes": {},
        }
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 200])
def test_paging_returns_each_image_once_newest_first(
    stored: Stored, storage: Any, limit: int
) -> None:
    numbers = itertools.count()
    for second in range(6):
        lines = [line(next(numbers), images=1 + second % 4) for _ in range(1 + second % 3)]
        stored.lines("predictions", NOW + timedelta(seconds=10 * second), *lines)
    images = walk(storage, limit)
    paths = [image["path"] for image in images]
    assert len(paths) == len(set(paths)) == sum((1 + s % 4) * (1 + s % 3) for s in range(6))
    assert prompts(images) == sorted(prompts(images), reverse=True)


def test_new_images_do_not_shift_the_next_page(stored: Stored, storage: Any) -> None:
    for n in range(6):
        stored.lines("predictions", NOW + timedelta(seconds=n), line(n))
    first = newest(storage, 2)
    stored.lines("predictions", NOW + timedelta(seconds=9), line(9))
    second = newest(storage, 2, first["next"])
    assert prompts(first["images"]) == [5, 4]
    assert prompts(second["images"]) == [3, 2]
    assert prompts(newest(storage, 2)["images"]) == [9, 5]


def test_images_from_several_workers_are_in_order(stored: Stored, storage: Any) -> None:
    stored.lines("predictions", NOW, line(1), line(3), tag="0000000a")
    stored.lines("predictions", NOW, line(2), line(4), tag="0000000b")
    assert prompts(newest(storage, 4)["images"]) == [4, 3, 2, 1]


def test_a_page_may_end_between_the_images_of_one_prompt(stored: Stored, storage: Any) -> None:
    stored.lines("predictions", NOW, line(1, images=4))
    page = newest(storage, 3)
    rest = newest(storage, 3, page["next"])
    names = [image["path"].rpartition("-")[2] for image in page["images"] + rest["images"]]
    assert names == ["0.png", "1.png", "2.png", "3.png"]
    assert rest["next"] is None


def test_a_page_costs_one_listing_and_the_objects_that_fill_it(
    stored: Stored, storage: Any
) -> None:
    for n in range(300):
        stored.lines("predictions", NOW + timedelta(seconds=n), *[line(n)] * 60)
    stored.requests.clear()
    assert len(newest(storage, 48)["images"]) == 48
    assert len(stored.requests) <= 1 + 8
    stored.requests.clear()
    newest(storage, 48)
    assert len(stored.requests) == 1, "an unchanged object is not read again"


def test_with_one_image_each_no_more_objects_are_read_than_asked_for(
    stored: Stored, storage: Any
) -> None:
    for n in range(300):
        stored.lines("predictions", NOW + timedelta(seconds=n), line(n))
    stored.requests.clear()
    assert prompts(newest(storage, 48)["images"]) == list(range(299, 251, -1))
    assert len(stored.requests) == 1 + 49, "one more object, to know whether there is another page"


@pytest.mark.usefixtures("long_timeouts")
def test_ten_pages_cost_one_read(page: Page, stored: Stored) -> None:
    stored.lines("predictions", NOW, line(1))
    answers = [page.data("images")["images"] for _ in range(10)]
    assert all(len(images) == 1 for images in answers)
    assert len(stored.requests) == 2


@pytest.mark.parametrize(
    "elsewhere",
    [
        "gs://another-bucket/images/" + path(1),
        f"gs://{BUCKET}/records/health/ds=2026-11-22.jsonl",
        f"gs://{BUCKET}/images/../records/{path(1)}",
        f"gs://{BUCKET}/images/recent/{path(1)}",
        f"gs://{BUCKET}/images/" + path(1).replace(".png", ".json"),
        f"gs://{BUCKET}-imagen/images/" + path(1),
        "javascript:alert(1)",
        "",
    ],
)
def test_a_path_that_is_not_served_has_no_address(
    stored: Stored, storage: Any, elsewhere: str
) -> None:
    stored.lines("predictions", NOW, line(1, images=0) | {"images": [elsewhere]})
    [image] = newest(storage, 48)["images"]
    assert image["url"] is None
    assert image["path"] == elsewhere


def test_invalid_lines_are_skipped(stored: Stored, storage: Any) -> None:
    stored.lines("predictions", NOW, line(1), [], 7, {"images": "x"}, {"images": [7]})  # type: ignore[arg-type]
    stored.put("images/recent/predictions/8000000000000-00000000.jsonl", b"\xff\n{\n[[\n")
    assert prompts(newest(storage, 48)["images"]) == [1]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "before=../x", "before=8-0.1", "before=", "before=%00"],
)
def test_an_invalid_page_is_refused_and_reads_nothing(
    page: Page, stored: Stored, query: str
) -> None:
    assert page.get(f"/api/images?{query}").status_code == 422
    assert stored.requests == []


def test_a_prompt_with_markup_is_returned_as_text_in_json(page: Page, stored: Stored) -> None:
    text = "<script>alert(1)</script><img src=x onerror=alert(1)> \u2028 &amp; 'quotes\""
    stored.lines("predictions", NOW, line(1) | {"prompt": text})
    response = page.get("/api/images")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.json()["data"]["images"][0]["prompt"] == text


def test_half_an_emoji_does_not_break_the_page(page: Page, stored: Stored) -> None:
    stored.lines("predictions", NOW, line(1) | {"prompt": "a fox \ud83e"})
    assert page.get("/api/images").json()["data"]["images"][0]["prompt"] == "a fox \ud83e"
