from datetime import datetime, timedelta
from typing import Any

import pytest

from imagen_ops.alerts.deadlines import due, run_is_late

MINUTE = timedelta(minutes=1)


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "imagen_ops.alerts.deadlines.alert",
        lambda event, text, **fields: sent.append({"event": event, "text": text, **fields}),
    )
    return sent


def context(**run: str) -> dict[str, Any]:
    """What Airflow 3.3.1 passes (`airflow.models.deadline.Deadline.handle_miss`)."""
    dag_run = {"dag_id": "imagen_stream_health", "dag_run_id": "scheduled__1"}
    dag_run |= {"run_type": "scheduled", "state": "running", **run}
    return {"dag_run": dag_run, "deadline": {"id": "1", "deadline_time": datetime(2026, 11, 30)}}


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_scheduled_run_that_goes_on_is_alerted_on(
    alerts: list[dict[str, Any]], state: str
) -> None:
    run_is_late(context(state=state))
    (sent,) = alerts
    assert (sent["event"], sent["dag_id"], sent["state"]) == (
        *("run_late", "imagen_stream_health"),
        state,
    )
    assert f"should have ended by 2026-11-30 00:00:00, and is {state}" in sent["text"]


@pytest.mark.parametrize(
    "run", [{"run_type": "manual"}, {"run_type": "backfill"}, {"state": "failed"}]
)
def test_a_run_that_nobody_waits_for_is_not(
    alerts: list[dict[str, Any]], run: dict[str, str]
) -> None:
    run_is_late(context(**run))
    assert alerts == []


def test_a_setting_says_how_long_a_run_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_HEALTH_DUE_MINUTES", "7.5")
    assert due("health_due_minutes", 30, MINUTE).interval == timedelta(minutes=7.5)
    assert due("backfill_due_hours", 24, MINUTE, after=MINUTE).interval == timedelta(minutes=25)


@pytest.mark.parametrize("value", ["", " ", "soon", "0", "-3", "nan", "inf", "1e300"])
def test_a_malformed_setting_leaves_the_dag_with_the_default(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("IMAGEN_HEALTH_DUE_MINUTES", value)
    assert due("health_due_minutes", 30, MINUTE).interval == timedelta(minutes=30)


def test_the_callback_runs_on_a_worker_which_sees_the_plugins() -> None:
    from airflow.sdk import SyncCallback

    callback = due("health_due_minutes", 30, MINUTE).callback
    assert isinstance(callback, SyncCallback)
    assert callback.path == "imagen_ops.alerts.deadlines.run_is_late"
