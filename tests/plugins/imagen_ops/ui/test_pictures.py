"""Images in the images folder are served, and nothing else is, whatever the path."""

from typing import Any

import pytest

from tests.plugins.imagen_ops.ui.conftest import PICTURE, Page, Stored, raw_get

DIGEST = "ab" + "0123456789" * 3
PATH = f"ab/{DIGEST}-0.png"


@pytest.mark.parametrize(
    ("extension", "media_type"),
    [("png", "image/png"), ("jpg", "image/jpeg"), ("jpeg", "image/jpeg"), ("webp", "image/webp")],
)
def test_an_image_is_served_with_the_type_of_its_name(
    page: Page, stored: Stored, extension: str, media_type: str
) -> None:
    response = page.get(f"/images/{stored.picture(DIGEST, 3, extension)}")
    assert response.status_code == 200
    assert response.content == PICTURE
    assert response.headers["content-type"] == media_type
    assert response.headers["content-length"] == str(len(PICTURE))
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "private, no-cache"


def test_an_image_the_browser_has_is_not_read_again(page: Page, stored: Stored) -> None:
    etag = page.get(f"/images/{stored.picture(DIGEST)}").headers["etag"]
    stored.requests.clear()
    again = page.get(f"/images/{PATH}", if_none_match=etag)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert stored.requests == []
    assert page.get(f"/images/{PATH}", if_none_match='"another"').status_code == 200


def test_a_missing_image_is_404(page: Page, stored: Stored) -> None:
    response = page.get(f"/images/{PATH}")
    assert response.status_code == 404
    assert response.headers["cache-control"] == "no-store", "the image may appear later"
    assert len(stored.requests) == 1


@pytest.mark.parametrize(
    "target",
    [
        f"/images/{DIGEST}-0.png",
        f"/images/cd/{DIGEST}-0.png",
        f"/images/AB/{DIGEST.upper()}-0.png",
        f"/images/ab/{DIGEST}-0.json",
        f"/images/ab/{DIGEST}.json",
        f"/images/ab/{DIGEST}-0.png.json",
        f"/images/ab/{DIGEST}-0.svg",
        f"/images/ab/{DIGEST}-0.png%00",
        f"/images/ab/{DIGEST}-0.png%0a",
        f"/images/ab/{DIGEST}-0.png/",
        f"/images/ab/{DIGEST}-0.png%20",
        f"/images/ab/{DIGEST}-10.png",
        f"/images/ab/{DIGEST}-%D9%A1.png",
        f"/images//ab/{DIGEST}-0.png",
        f"/images/./ab/{DIGEST}-0.png",
        f"/images/../images/ab/{DIGEST}-0.png",
        f"/images/%2e%2e/images/ab/{DIGEST}-0.png",
        f"/images/..%2fimages%2fab%2f{DIGEST}-0.png",
        f"/images/ab%2f{DIGEST}-0.png",
        f"/images/ab/%61{DIGEST[1:]}-0.png",
        f"/images/ab%5c{DIGEST}-0.png",
        f"/images/%2fab/{DIGEST}-0.png",
        f"/images/%252e%252e/ab/{DIGEST}-0.png",
        "/images/../records/health/ds=2026-11-22.jsonl",
        "/images/recent/predictions/8236123456789-00000000.jsonl",
        "/images/recent/ab/" + DIGEST + "-0.png",
        f"/images/gs://another-bucket/images/ab/{DIGEST}-0.png",
        f"/images/https://example.com/ab/{DIGEST}-0.png",
        f"/images//another-bucket/ab/{DIGEST}-0.png",
        "/images//etc/passwd",
        "/images/",
        "/images",
    ],
)
def test_a_path_that_leads_elsewhere_is_404_and_reads_nothing(
    page: Page, stored: Stored, target: str
) -> None:
    stored.picture(DIGEST)
    status, headers, body = raw_get(page.app, target)
    assert status == 404
    assert headers["content-type"] == "application/json"
    assert PICTURE not in body
    assert stored.requests == []


def test_the_plain_path_of_the_same_image_is_served(page: Page, stored: Stored) -> None:
    """Proves that the 404s above are caused by their paths."""
    stored.picture(DIGEST)
    assert raw_get(page.app, f"/images/{PATH}?x=1")[0] == 200
    [request] = stored.requests
    assert f"/images%2Fab%2F{DIGEST}-0.png" in request


def test_an_image_is_shown_without_what_its_object_says_of_it(page: Page, stored: Stored) -> None:
    stored.put(f"images/{PATH}", PICTURE, {"prompt-id": "order-1", "prompt": "a secret"})
    shown = page.get(f"/images/{PATH}")
    assert (shown.status_code, shown.content) == (200, PICTURE)
    assert "secret" not in str(shown.headers)


def test_a_thumbnail_is_served_and_without_one_the_image(page: Page, stored: Stored) -> None:
    stored.picture(DIGEST)
    missing = page.get(f"/thumbnails/{PATH}")
    assert (missing.content, missing.headers["content-type"]) == (PICTURE, "image/png")
    stored.put(f"images/thumbnails/ab/{DIGEST}-0.webp", b"small")
    small = page.get(f"/thumbnails/{PATH}")
    assert (small.content, small.headers["content-type"]) == (b"small", "image/webp")
    assert small.headers["cache-control"] == "private, no-cache"
    again = page.get(f"/thumbnails/{PATH}", if_none_match=small.headers["etag"])
    assert again.status_code == 304
    assert page.get(f"/thumbnails/{PATH}".replace("-0", "-1")).status_code == 404


def test_a_thumbnail_of_nothing_is_404_and_reads_nothing(page: Page, stored: Stored) -> None:
    stored.put(f"images/thumbnails/ab/{DIGEST}-0.webp", b"small")
    for target in (
        f"/thumbnails/ab/{DIGEST}-0.json",
        f"/thumbnails/thumbnails/{PATH}",
        f"/thumbnails/../images/{PATH}",
        f"/thumbnails/ab%2f{DIGEST}-0.png",
        f"/images/thumbnails/ab/{DIGEST}-0.webp",
        "/thumbnails/",
    ):
        assert raw_get(page.app, target)[0] == 404, target
    assert stored.requests == []


def test_an_oversized_image_is_not_sent(
    page: Page, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.ui import storage

    stored.put(f"images/{PATH}", b"x" * 300_001)
    monkeypatch.setattr(storage, "MAX_IMAGE_BYTES", 300_001)
    assert len(page.get(f"/images/{PATH}").content) == 300_001
    monkeypatch.setattr(storage, "MAX_IMAGE_BYTES", 300_000)
    assert page.get(f"/images/{PATH}").status_code == 404


def test_a_large_image_is_sent_in_full(page: Page, stored: Stored) -> None:
    content = bytes(range(256)) * 8_000
    stored.put(f"images/{PATH}", content)
    assert page.get(f"/images/{PATH}").content == content


def test_without_storage_an_image_is_503_with_the_reason(page: Page, stored: Stored) -> None:
    stored.stop()
    response: Any = page.get(f"/images/{PATH}")
    assert response.status_code == 503
    assert "cannot reach Cloud Storage" in response.json()["detail"]
    assert response.headers["cache-control"] == "no-store"
