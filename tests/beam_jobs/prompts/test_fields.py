"""Every field that decides an image reaches everything that has to know of it.

A field that one adapter drops would give another image than was asked for, under its digest.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from beam_jobs.catalog import Family
from beam_jobs.cli import sheet
from beam_jobs.images import recent_index
from beam_jobs.images.location import Location
from beam_jobs.images.receipt import Receipt
from beam_jobs.images.store import ImageStore
from beam_jobs.models.base import CallError
from beam_jobs.models.gemini import GeminiModel
from beam_jobs.outcomes import Failure, Prediction, Work
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.fields import DECIDING, FIELD_NAMES
from beam_jobs.prompts.parse import Prompt, parse
from imagen_ops.ui.panels.images import entries
from tests.conftest import ROOT

PAID = Receipt("somebody", Work())

ORIGIN = "message-1"
MODELS = {Family.GEMINI: "gemini-3.1-flash-image", Family.PREDICT: "imagen-4.0-generate-001"}
with_each_family = pytest.mark.parametrize("family", list(Family))
with_each_field = pytest.mark.parametrize("field", [field.name for field in DECIDING])
# A value for each that nothing else in a request has; a new field needs one here.
VALUES: dict[str, Any] = {
    "prompt": "A very particular fox",
    "model": None,  # another one in each family
    "images": 3,
    "aspect_ratio": "16:9",
    "image_size": "2K",
    "seed": 424242,
    "negative_prompt": "blurred hands",
    "system_instruction": "In the manner of an old atlas.",
    "thinking_level": "high",
    "person_generation": "ALLOW_NONE",
    "output_format": "jpeg",
    "output_quality": 83,
    "references": "gs://own-b/a.png",
}
# What a field needs beside it.
COMPANIONS = {"output_quality": {"output_format": "jpeg"}}
# How a value is written in a request, where it isn't as in the prompt.
WRITTEN = {"thinking_level": "HIGH", "output_format": "image/jpeg"}
OTHER_MODELS = {
    Family.GEMINI: "gemini-nano-banana-2.1",
    Family.PREDICT: "imagen-4.0-fast-generate-001",
}


def parsed(family: Family, **fields: Any) -> Prompt | Failure:
    defaults = PromptDefaults(
        model=MODELS[family],
        allowed_models=frozenset({MODELS[family], OTHER_MODELS[family]}),
        reference_buckets=frozenset({"own-b"}),
    )
    body = json.dumps({"prompt": "a fox", **fields}).encode()
    outcome = parse(body, {}, origin=ORIGIN, defaults=defaults)
    assert isinstance(outcome, Prompt | Failure)
    return outcome


def parsed_with(field: str, family: Family) -> Prompt | Failure:
    return parsed(family, **COMPANIONS.get(field, {}), **{field: value_of(field, family)})


def value_of(field: str, family: Family) -> Any:
    return OTHER_MODELS[family] if field == "model" else VALUES[field]


def leaves(value: Any) -> Iterator[Any]:
    """Yield the values of JSON, keys left out: whole numbers may have become floats on the way."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield int(value) if isinstance(value, float) and value.is_integer() else value


def test_there_is_a_value_to_try_for_each_field():
    assert list(VALUES) == [field.name for field in DECIDING]


@pytest.mark.asyncio
@with_each_family
@with_each_field
async def test_a_field_reaches_the_request_or_is_refused(
    field: str,
    family: Family,
    cloud: Any,
    session: Any,
    serve: Any,
    predict_model: Any,
    monkeypatch: Any,
):
    prompt = parsed_with(field, family)
    if isinstance(prompt, Failure):
        assert re.match(f"field '({field}|output_format)': ", prompt.detail)
        return
    requests: list[tuple[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append((request.path, await request.json()))
        return web.json_response({"error": {"code": 400, "message": "seen"}}, status=400)

    url = await serve(answer)
    if family is Family.GEMINI:
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", url)
        model: Any = GeminiModel(
            session, model=prompt.model, project="p", location="global", timeout_s=60
        )
    else:
        resource = f"projects/p/locations/l/publishers/google/models/{prompt.model}"
        model = predict_model(url, resource=resource)
    first = 0
    while first < prompt.images:
        count = min(model.images_per_call, prompt.images - first)
        with pytest.raises(CallError):
            await model.generate(prompt, first=first, count=count)
        first += count
    expected = WRITTEN.get(field, value_of(field, family))
    if field == "model":
        assert all(f"/{expected}:" in path for path, _ in requests)
    elif field == "images" and family is Family.GEMINI:
        assert len(requests) == expected, "one call for each"
    else:
        assert all(expected in list(leaves(body)) for _, body in requests), requests


@with_each_family
@with_each_field
def test_another_value_is_another_digest(field: str, family: Family):
    changed = parsed_with(field, family)
    if isinstance(changed, Prompt):
        plain = parsed(family, **COMPANIONS.get(field, {}))
        assert isinstance(plain, Prompt)
        assert changed.digest != plain.digest


def everything(family: Family) -> Prompt:
    """Return a prompt that uses all the fields which its family has."""
    fields = [name for name in VALUES if isinstance(parsed_with(name, family), Prompt)]
    prompt = parsed(family, **{name: value_of(name, family) for name in fields})
    assert isinstance(prompt, Prompt), prompt
    assert all(prompt.deciding[name] is not None for name in fields)
    return prompt


ENDPOINT = "projects/p/locations/l/endpoints/1"


def test_every_field_is_of_some_family():
    used = [everything(family).deciding for family in Family]
    assert all(any(deciding[name] is not None for deciding in used) for name in VALUES)


@pytest.mark.asyncio
@pytest.mark.parametrize("endpoint", [None, ENDPOINT])
@with_each_family
async def test_the_record_has_them_all_and_what_served_the_model(
    family: Family, lane: Any, session: Any, endpoint: str | None
):
    prompt = dataclasses.replace(everything(family), model_endpoint=endpoint)
    location = Location.parse(lane.images_location)
    paths = [f"gs://b/{number}" for number in range(prompt.images)]
    await ImageStore(session, location).put_record(
        prompt.digest, paths, deciding=prompt.deciding, created_at="now", receipt=PAID
    )
    (content,) = lane.objects("images/").values()
    record = json.loads(content)
    assert record == {
        **prompt.deciding,
        "images": paths,
        "schema": "imagen.record/1",
        "digest": prompt.digest,
        "created_at": "now",
        **PAID.to_json(),
    }
    assert record.get("model_endpoint") == endpoint
    shown = " ".join([*sheet._settings(record), sheet._references(record)])
    assert (f" on {ENDPOINT}" in shown) == bool(endpoint)
    assert all(
        str(value) in shown for name, value in prompt.parameters.items() if name != "model_endpoint"
    )


@with_each_family
def test_the_page_has_them_all_and_what_served_the_model(family: Family):
    prompt = dataclasses.replace(everything(family), model_endpoint=ENDPOINT)
    outcome = Prediction(
        prompt_id=prompt.prompt_id,
        deduplication_key=prompt.deduplication_key,
        digest=prompt.digest,
        prompt=prompt.text,
        images=("gs://b/images/ab/1.png",),
        model=prompt.model,
        source="stream",
        reused=False,
        created_at=datetime.now(UTC).isoformat(),
        latency_ms=1,
        parameters=prompt.parameters,
    )
    line = json.loads(json.dumps(recent_index.index_entry(outcome)))
    (entry,) = entries(iter([line]))
    assert (entry["prompt"], entry["model"]) == (prompt.text, prompt.model)
    assert {**entry["parameters"], **entry["job_options"]} == prompt.parameters
    assert entry["job_options"] == {"model_endpoint": ENDPOINT}


def test_the_docs_have_them_all():
    text = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)[: len(FIELD_NAMES)] == list(
        FIELD_NAMES
    )
