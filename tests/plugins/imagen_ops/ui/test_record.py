"""The record of a prompt on the page: what it says, and what is said without one."""

import json
from typing import Any

from imagen_ops.ui.panels.record import read_record
from tests.plugins.imagen_ops.ui.conftest import BUCKET, Page, Stored
from tests.plugins.imagen_ops.ui.test_images import digest, path

NAME = f"images/{digest(1)[:2]}/{digest(1)}.json"
PATHS = [f"gs://{BUCKET}/images/{path(1, index)}" for index in range(2)]
RECORD = {
    "schema": "imagen.record/1",
    "digest": digest(1),
    "prompt": "a fox" * 200,
    "model": "m",
    "seed": 7,
    "negative_prompt": None,
    "images": PATHS,
    "created_at": "2026-11-22T10:00:00+00:00",
}


def test_a_record_says_all_that_decided_the_images(page: Page, stored: Stored) -> None:
    stored.put(NAME, json.dumps(RECORD, indent=1).encode())
    assert page.data(f"record?digest={digest(1)}") == {
        "path": f"gs://{BUCKET}/{NAME}",
        "problem": None,
        "prompt": "a fox" * 200,
        "model": "m",
        "created_at": "2026-11-22T10:00:00+00:00",
        "parameters": {"seed": 7},
        "images": [
            {"path": gs, "url": f"images/{path(1, index)}"} for index, gs in enumerate(PATHS)
        ],
        "references": [],
    }


def test_what_is_no_record_is_said(stored: Stored, storage: Any) -> None:
    for content in (
        *(b"", b"no json", b"[]", b'{"schema": "imagen.record/9"}'),
        b'"' + b"x" * (1 << 20) + b'"',
    ):
        stored.put(NAME, content)
        answer = read_record(storage, digest(1))
        assert answer["problem"] == "The file is not a record that this version can read."


def test_a_record_of_another_form_shows_what_it_has(stored: Stored, storage: Any) -> None:
    odd: dict[str, Any] = {
        **RECORD,
        "images": 7,
        "references": "x",
        "prompt": [],
        "model": None,
        "seed": {},
    }
    stored.put(NAME, json.dumps(odd).encode())
    answer = read_record(storage, digest(1))
    assert (answer["problem"], answer["images"], answer["prompt"]) == (None, [], None)


def test_a_missing_record_is_said_and_a_name_of_anything_else_is_refused(
    page: Page, stored: Stored
) -> None:
    assert page.data(f"record?digest={digest(2)}")["problem"].startswith("There is no record")
    stored.requests.clear()
    for name in ("", "../x", digest(1) + "-0", digest(1).upper()[:-1] + "A"):
        assert page.get(f"/api/record?digest={name}").status_code == 422
    assert stored.requests == []
