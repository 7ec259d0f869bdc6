"""Which plans a run's budget lets through."""

from collections.abc import Callable
from typing import Any

import pytest

from imagen_ops.backfill.budget import defaults_of
from imagen_ops.backfill.run import BackfillRun
from imagen_ops.jobs.params import JobForm
from imagen_ops.settings import Settings
from tests.plugins.imagen_ops.backfill.conftest import check_task
from tests.plugins.imagen_ops.test_settings import COMPLETE

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"max_images": 999}, "1 more than the maximum of 999"),
        ({"max_cost_usd": 133.5}, "0.50 USD more than the maximum of 133.50 USD"),
    ],
)
def test_a_run_over_the_budget_of_its_form_fails_without_retries_if_nobody_is_asked(
    backfill: Run, form: dict[str, Any], message: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=message):
        backfill(check_task(), approval="never", **form)
    # Otherwise the plan says so, and the next task asks.
    assert message in backfill(check_task(), **form)


@pytest.mark.parametrize(
    ("variable", "limit", "form", "message"),
    [
        ("MAX_IMAGES", "999", {"max_images": 1000}, "IMAGEN_BACKFILL_MAX_IMAGES"),
        ("MAX_COST_USD", "100", {"max_cost_usd": 134.0}, "IMAGEN_BACKFILL_MAX_COST_USD"),
    ],
)
def test_the_deployments_budget_applies_unless_the_form_has_one(
    backfill: Run,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    limit: str,
    form: dict[str, Any],
    message: str,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv(f"IMAGEN_BACKFILL_{variable}", limit)
    with pytest.raises(AirflowFailException, match=message):
        backfill(check_task(), approval="never")
    assert "1,000 to generate" in backfill(check_task(), **form)


@pytest.mark.parametrize("option", ["preprocess", "postprocess", None])
def test_prompts_that_custom_functions_change_in_the_job_are_known_as_such(
    option: str | None,
) -> None:
    custom = {option: "custom.example:function"} if option else {}
    settings = Settings.from_environment(COMPLETE).model_copy(update=custom)
    run = BackfillRun("run", "0" * 32, None, "gs://b/x/*", JobForm("gemini-3-pro-image"), 9)
    assert defaults_of(run, settings, source="backfill:x").changed is bool(option)
