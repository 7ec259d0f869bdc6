"""Prompts of every kind through a real job: what becomes something else is found."""

from collections.abc import Callable
from typing import Any

import pytest

from beam_jobs.catalog import CATALOG
from tests.conftest import BUCKET, Cloud, Lane
from tests.verification.conftest import Verifying, differs, holds
from verification.check import Check
from verification.checks import prompts

MODEL = "gemini-nano-banana-2.1"


@pytest.fixture
def stream(
    verifying: Verifying, lane: Lane, start_stream: Callable[..., Any]
) -> Callable[..., None]:
    """Return a function that starts the deployment's stream, with options."""

    def start(**options: object) -> None:
        start_stream(
            images_output_location=f"gs://{BUCKET}/{lane.name}/images",
            **options,
        )

    return start


@pytest.mark.slow
def test_twenty_prompts_of_every_kind_become_what_they_should(
    verifying: Verifying, stream: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(prompts.kinds("m", "b")) == 20
    stream()
    result = holds(verifying.ask("prompts", within_s=120))
    assert result.usd > 14 * 0.0336
    assert len(set(verifying.visit.known["images"])) == 14
    holds(verifying.ask("images stored"))
    holds(verifying.ask("bills"))

    # A price that changed, an object that is no image, and one that is gone.
    row = CATALOG[MODEL]
    dearer = row.usd_per_million_tokens.model_copy(update={"image_output": 60.0})
    changed = row.model_copy(update={"usd_per_million_tokens": dearer})
    monkeypatch.setattr(prompts, "CATALOG", {**CATALOG, MODEL: changed})
    differs(verifying.ask("bills"), "expected 0.0")
    name = verifying.visit.known["images"][0].partition(f"{BUCKET}/")[2]
    blob = verifying.visit.access.storage().bucket(BUCKET).blob(name)
    blob.upload_from_string(b"no image")
    differs(verifying.ask("images stored"), "is no image")
    blob.delete()
    differs(verifying.ask("images stored"), "NotFound")


@pytest.mark.slow
def test_a_model_that_refuses_everything_is_found(
    verifying: Verifying, stream: Callable[..., None], cloud: Cloud
) -> None:
    cloud.models(blocked_rate=1.0)
    stream()
    differs(verifying.ask("prompts", within_s=120), "'plain text' became BLOCKED")


def test_prompts_that_nobody_takes_are_found(verifying: Verifying) -> None:
    differs(verifying.ask("prompts", within_s=1), "0 outcomes of 20 prompts")


def test_the_most_that_it_can_cost_is_what_its_images_cost(verifying: Verifying) -> None:
    check: Check = verifying.checks["prompts"]
    assert check.usd == pytest.approx(1.2 * 14 * 0.0336, rel=0.01)
