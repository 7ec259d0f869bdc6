"""Which plans a run's budget lets through."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.plugins.imagen_ops.backfill.conftest import check_task

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
