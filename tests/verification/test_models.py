"""Models: one that is gone, another that answers, other tokens, and refusals that are no 429."""

import dataclasses

import pytest

from beam_jobs.catalog import CATALOG
from tests.conftest import Cloud
from tests.verification.conftest import Verifying, differs, holds
from verification.check import Ending
from verification.checks import models

MODEL = "gemini-nano-banana-2.1"


def test_models_that_are_there_hold(verifying: Verifying) -> None:
    holds(verifying.ask("models"))


def test_a_model_that_is_gone_is_found(verifying: Verifying, cloud: Cloud) -> None:
    cloud.models(retired_models=MODEL)
    differs(verifying.ask("models"), f"{MODEL}: HTTP 404")


def test_a_model_that_the_project_may_not_use_is_found(verifying: Verifying, cloud: Cloud) -> None:
    cloud.models(forbidden_models=MODEL)
    differs(verifying.ask("models"), f"{MODEL}: HTTP 403")


def test_a_call_that_costs_what_the_catalog_says_holds(verifying: Verifying, cloud: Cloud) -> None:
    before = cloud.models()["billed_usd"]
    result = holds(verifying.ask("costs"))
    assert result.usd == pytest.approx(cloud.models()["billed_usd"] - before)


def test_an_image_of_other_tokens_than_the_catalog_s_is_found(
    verifying: Verifying, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = CATALOG[MODEL].model_copy(update={"image_tokens": {"1K": 1290}})
    monkeypatch.setattr(models, "CATALOG", {**CATALOG, MODEL: row})
    result = differs(verifying.ask("costs"), "1120 tokens for an image of 1K, not 1290")
    assert result.usd > 0, "it was paid all the same"


def test_a_model_that_makes_no_image_is_found(verifying: Verifying, cloud: Cloud) -> None:
    cloud.models(blocked_rate=1.0)
    differs(verifying.ask("costs"), "no image")


def test_a_successor_that_answers_silently_is_found(verifying: Verifying, cloud: Cloud) -> None:
    old = next(name for name, row in CATALOG.items() if row.successor)
    where = dataclasses.replace(verifying.visit.deployment, model=old)
    verifying.visit.deployment = where
    cloud.models(retired_models=old, successors_answer=True)
    differs(verifying.ask("costs"), f"{CATALOG[old].successor} answered")


def test_calls_over_the_quota_hold(verifying: Verifying, cloud: Cloud) -> None:
    cloud.models(quota_per_minute=0.001)
    verifying.ask("costs")  # takes the only one
    result = holds(verifying.ask("quota"))
    assert "60 × HTTP 429" in result.seen


def test_an_overload_in_place_of_429_is_found(verifying: Verifying, cloud: Cloud) -> None:
    cloud.models(unavailable_rate=1.0)
    differs(verifying.ask("quota"), "60 × HTTP 503", "expected no 503")


def test_a_burst_that_would_be_dear_is_not_made(verifying: Verifying, cloud: Cloud) -> None:
    before = cloud.models()["calls"]
    result = verifying.ask("quota")
    assert result.ending is Ending.NOT_ASKED
    assert cloud.models()["calls"] - before == 1
