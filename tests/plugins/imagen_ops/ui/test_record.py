"""The record of a prompt on the page: what it says, and what is said without one."""

import asyncio
import dataclasses
import json
from typing import Any

import aiohttp
import pytest

from beam_jobs.catalog import Family
from beam_jobs.images.location import Location
from beam_jobs.images.receipt import Receipt
from beam_jobs.images.store import ImageStore
from beam_jobs.outcomes import Work
from beam_jobs.prompts.parse import Prompt
from imagen_ops.ui.panels.record import read_record
from tests.beam_jobs.prompts.test_fields import everything
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
        "job_options": {},
        "images": [
            {"path": gs, "url": f"images/{path(1, index)}"} for index, gs in enumerate(PATHS)
        ],
        "references": [],
    }


def stored_by_a_job(prompt: Prompt) -> None:
    """Store the record of a prompt as a job does, with what it paid."""
    work = Work(cost_usd=0.134, unpriced_calls=0, input_tokens=9, image_tokens=2240, tier="flex")

    async def store() -> None:
        location = Location.parse(f"gs://{BUCKET}/images")
        stem = f"gs://{BUCKET}/{location.stem(prompt.digest)}"
        paths = [f"{stem}-{index}.png" for index in range(prompt.images)]
        async with aiohttp.ClientSession() as session:
            await ImageStore(session, location).put_record(
                prompt.digest,
                paths,
                deciding=prompt.deciding,
                created_at="2026-11-22T10:00:00+00:00",
                receipt=Receipt("ab" * 16, work, "stream"),
            )

    asyncio.run(store())


@pytest.mark.parametrize("family", list(Family))
def test_a_record_of_a_job_tells_fields_of_the_prompt_from_the_jobs_options_and_its_receipt(
    family: Family, page: Page
) -> None:
    prompt = everything(family)
    job_options = {"model_endpoint": "projects/p/locations/l/endpoints/1", "postprocess": "f@1"}
    prompt = dataclasses.replace(prompt, **job_options)
    stored_by_a_job(prompt)
    record = page.data(f"record?digest={prompt.digest}")
    own = {name: value for name, value in prompt.parameters.items() if name not in job_options}
    references = own.pop("references", "").split()
    assert record["parameters"] == own
    assert record["job_options"] == job_options
    assert [each["path"] for each in record["references"]] == references


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
