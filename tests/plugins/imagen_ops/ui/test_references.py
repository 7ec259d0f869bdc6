"""References on the page: what a record says of them, and which of their pictures are served."""

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.plugins.imagen_ops.ui.conftest import BUCKET, PICTURE, Page, Stored, raw_get
from tests.plugins.imagen_ops.ui.test_images import digest, path
from tests.plugins.imagen_ops.ui.test_record import NAME, RECORD

OTHER = PICTURE + b"other"
JPEG, WEBP = b"\xff\xd8\xff" + b"j" * 30, b"RIFF____WEBP" + b"w" * 30


def content(data: bytes) -> str:
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    return f"md5:{base64.b64encode(md5).decode()}:{len(data)}"


def gs(name: str) -> str:
    return f"gs://{BUCKET}/{name}"


def test_a_record_says_of_each_reference_whether_it_is_what_the_model_saw(
    page: Page, stored: Stored
) -> None:
    image = f"images/{path(2, 0)}"
    names = ("references/shoe.png", "references/a b.png", "references/new.png", image)
    for name in names:
        stored.put(name, OTHER if name.endswith("new.png") else PICTURE)
    paths = [*map(gs, (*names, "references/gone.png", "keys/k.png")), "gs://other/references/x.png"]
    shown: list[Any] = [{"uri": each, "content": content(PICTURE)} for each in paths]
    shown[0]["role"] = "The shoe."
    odd = [7, {}, {"uri": 7}, {"uri": "gs://b/x", "role": [], "content": {}}]
    stored.put(NAME, json.dumps({**RECORD, "references": [*shown, *odd]}).encode())
    record = page.data(f"record?digest={digest(1)}")
    replaced, missing = "It was replaced: the model saw another picture.", "It is no longer there."
    assert [tuple(each.values()) for each in record["references"]] == [
        (paths[0], "The shoe.", "references/shoe.png", None),
        (paths[1], None, None, None),
        (paths[2], None, None, replaced),
        (paths[3], None, image, None),
        (paths[4], None, None, missing),
        (paths[5], None, None, None),
        (paths[6], None, None, None),
        ("gs://b/x", None, None, None),
    ]
    assert "references" not in record["parameters"]
    assert not any("keys%2F" in request for request in stored.requests), "nothing else is looked up"


def test_a_reference_that_airflow_may_not_look_up_is_said(
    page: Page, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.api_core.exceptions import Forbidden
    from google.cloud.storage import Bucket

    def refuse(*_: Any, **__: Any) -> None:
        raise Forbidden("no storage.objects.get")

    monkeypatch.setattr(Bucket, "get_blob", refuse)
    shown = [{"uri": gs("references/shoe.png"), "content": content(PICTURE)}]
    stored.put(NAME, json.dumps({**RECORD, "references": shown}).encode())
    record = page.data(f"record?digest={digest(1)}")
    [reference] = record["references"]
    assert record["problem"] is reference["url"] is None
    assert reference["problem"].startswith("It cannot be looked up: Airflow may not read gs://")


def test_a_picture_is_served_with_the_type_of_its_content(page: Page, stored: Stored) -> None:
    for name, data, media_type in (
        ("shoe.png", PICTURE, "image/png"),
        ("a/b-c/shoe", JPEG, "image/jpeg"),
        ("x.html", WEBP, "image/webp"),
    ):
        stored.put(f"references/{name}", data)
        response = page.get(f"/references/{name}")
        assert (response.status_code, response.content) == (200, data)
        assert response.headers["content-type"] == media_type
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store", "it can be replaced"


def test_what_is_no_picture_is_not_sent(page: Page, stored: Stored) -> None:
    for data in (b"", b"<svg onload=alert(1)>", b"<html>", b"GIF89a", b"{}", b" " + PICTURE):
        stored.put("references/x.png", data)
        response = page.get("/references/x.png")
        assert (response.status_code, response.json()) == (404, {"detail": "not found"}), data


def test_an_oversized_or_missing_picture_is_404(
    page: Page, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.ui import storage

    stored.put("references/x.png", PICTURE)
    monkeypatch.setattr(storage, "MAX_IMAGE_BYTES", len(PICTURE) - 1)
    assert page.get("/references/x.png").status_code == 404
    assert page.get("/references/y.png").status_code == 404


ELSEWHERE = (
    "/references/",
    "/references",
    "/references/../keys/x.png",
    "/references/%2e%2e/keys/x.png",
    "/references/..%2fkeys%2fx.png",
    "/references/a/../x.png",
    "/references/a/./x.png",
    "/references/.hidden.png",
    "/references//x.png",
    "/references/x.png/",
    "/references/%78.png",
    "/references/x.png%00",
    "/references/x.png%0a",
    "/references/a%20b.png",
    "/references/a%5cx.png",
    "/references/%D9%A1.png",
    "/references/gs://other/x.png",
    "/references/" + "a/" * 9 + "x.png",
    "/references/" + "x" * 251,
    "/references/images/../../keys/x.png",
)


def test_a_path_that_leads_elsewhere_is_404_and_reads_nothing(page: Page, stored: Stored) -> None:
    for name in ("references/x.png", "references/a b.png", "keys/x.png"):
        stored.put(name, PICTURE)
    for target in ELSEWHERE:
        status, _, body = raw_get(page.app, target)
        assert (status, PICTURE in body, stored.requests) == (404, False, []), target
