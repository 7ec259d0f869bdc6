"""Which prompts batch inference can make."""

import json
from typing import Any

import pytest

from beam_jobs.catalog import CATALOG
from beam_jobs.prefetch.batchable import LeftOut, left_out
from beam_jobs.prompts.parse import Prompt, PromptDefaults, parse

SERVED = sorted(name for name, row in CATALOG.items() if row.batch)
ENDPOINT = "projects/p/locations/us-central1/endpoints/1"


def prompt(model: str = SERVED[0], *, endpoint: str | None = None, **fields: Any) -> Prompt:
    defaults = PromptDefaults(model, frozenset({model}), model_endpoint=endpoint)
    body = json.dumps({"prompt": "a fox", **fields}).encode()
    item = parse(body, {}, origin="gs://b/f.txt:1", defaults=defaults)
    assert isinstance(item, Prompt), item
    return item


@pytest.mark.parametrize("model", SERVED)
def test_a_model_that_batch_inference_serves_makes_its_sizes_and_no_others(model: str) -> None:
    row = CATALOG[model]
    assert left_out(prompt(model), None) is None
    for size in row.image_tokens:
        expected = None if row.batch and size in row.batch.sizes else LeftOut.SIZE
        assert left_out(prompt(model, image_size=size), None) is expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (prompt("imagen-4.0-generate-001"), LeftOut.MODEL),
        (prompt("gemini-99-image"), LeftOut.MODEL),
        (prompt("my-flux", endpoint=ENDPOINT), LeftOut.ENDPOINT),
        (prompt(reuse=False, images=4, seed=7, system_instruction="in oil"), None),
    ],
)
def test_what_the_catalog_does_not_know_to_be_served_is_left_to_the_job(
    item: Prompt, expected: LeftOut | None
) -> None:
    assert left_out(item, None) is expected


@pytest.mark.parametrize(
    ("locations", "expected"),
    [
        (None, None),
        ("", None),
        ("global", None),
        ("global,us,eu", None),
        ("eu", LeftOut.LOCATION),
        ("us, eu", LeftOut.LOCATION),
    ],
)
def test_prompts_stay_at_the_places_that_the_job_is_told(
    locations: str | None, expected: LeftOut | None
) -> None:
    assert left_out(prompt(), locations) is expected
