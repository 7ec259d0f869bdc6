"""The records and alerts at the end of a DAG run."""

import json
import logging
import socket
import threading
import time
import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from imagen_ops.alerts import run_callbacks
from imagen_ops.alerts.run_callbacks import run_failed, run_record, run_succeeded
from imagen_ops.records.folders import RUN_RECORDS

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
MONITORED = Path(__file__).parent / "monitored"


@pytest.fixture(autouse=True)
def _enough_time_for_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage may be slow on a busy machine, and few tests are about the time limit."""
    monkeypatch.setattr(run_callbacks, "_RECORD_TIMEOUT_S", 120.0)


def context(
    run_id: str = "manual__1",
    *,
    dag_id: str = "imagen_backfill",
    end: datetime = NOON,
    task_id: str = "reconcile",
    states: dict[str, str] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return what Airflow passes to the callback of a DAG."""
    run = {
        "start_date": end - timedelta(seconds=90.5),
        "end_date": end,
        "run_type": "manual",
        "triggering_user_name": "ada",
        "conf": {"prompts": "gs://b/secret-campaign.txt", "dry_run": True},
    }
    ti = types.SimpleNamespace(
        task_id=task_id,
        log_url=f"http://airflow/{task_id}",
        get_task_states=lambda dag_id, run_ids: {run_ids[0]: states or {}},
    )
    return {
        "dag": DAG(dag_id, schedule=None),
        "run_id": run_id,
        "dag_run": types.SimpleNamespace(**run),
        "ti": ti,
        "reason": "task_failure",
        **others,
    }


def alerts(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the alerts logged so far."""
    return [json.loads(r.getMessage()) for r in caplog.records if r.name == "imagen.alerts"]


def errors(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR)


def records(deployment: Any) -> list[dict[str, Any]]:
    run_records: list[dict[str, Any]] = deployment.clients.history(RUN_RECORDS).since(
        NOON - timedelta(days=40)
    )
    return run_records


@pytest.fixture
def notified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """Name a notifier, and return a function that returns the texts it has sent so far."""
    file = tmp_path / "alerts.jsonl"
    monkeypatch.syspath_prepend(str(MONITORED))
    kwargs = {"file": str(file), "text": "{{ event }}: {{ text }}", "where": "{{ log_url }}"}
    monkeypatch.setenv(
        "IMAGEN_NOTIFIER", json.dumps({"class": "fake_notifiers.FileNotifier", "kwargs": kwargs})
    )

    def texts() -> list[str]:
        return [json.loads(line)["text"] for line in file.read_text().splitlines()]

    return texts


def test_a_failed_run_has_a_record_an_alert_and_a_notification(
    deployment: Any, notified: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    run_failed(context(states={"plan": "success", "launch": "failed", "reconcile": "failed"}))
    assert records(deployment) == [
        {
            "schema": "imagen.run/1",
            "run_id": "imagen_backfill/manual__1",
            "at": "2026-11-03T12:00:00+00:00",
            "dag_id": "imagen_backfill",
            "state": "failed",
            "reason": "task_failure",
            "start": "2026-11-03T11:58:29.500000+00:00",
            "end": "2026-11-03T12:00:00+00:00",
            "seconds": 90.5,
            "failed_tasks": ["launch", "reconcile"],
            "run_type": "manual",
            "triggered_by": "ada",
            "conf_keys": ["dry_run", "prompts"],
            "log_url": "http://airflow/reconcile",
        }
    ]
    text = (
        "imagen_backfill: run manual__1 failed; check launch, reconcile: http://airflow/reconcile"
    )
    assert alerts(caplog) == [
        {
            "schema": "imagen.alert/1",
            "event": "run_failed",
            "match": "imagen.alert/1:run_failed",
            "runbook": "docs/runbook.md#run_failed",
            "text": text,
            "dag_id": "imagen_backfill",
            "run_id": "manual__1",
            "tasks": ["launch", "reconcile"],
            "reason": "task_failure",
            "log_url": "http://airflow/reconcile",
        }
    ]
    assert notified() == [f"run_failed: {text}"]


def test_a_successful_run_has_a_record_and_no_alert(
    deployment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run_succeeded(context(states={"wait": "failed", "reconcile": "success"}, reason="success"))
    (record,) = records(deployment)
    assert record["state"] == "success"
    assert record["failed_tasks"] == ["wait"], "a task may fail in a run that succeeds"
    assert alerts(caplog) == []


def test_the_first_success_after_a_failure_is_a_recovery(
    deployment: Any, notified: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    run_failed(context("one"))
    run_failed(context("other", dag_id="imagen_stream_health", end=NOON + timedelta(minutes=1)))
    run_succeeded(context("two", end=NOON + timedelta(minutes=5)))
    run_succeeded(context("three", end=NOON + timedelta(minutes=10)))
    assert [line["event"] for line in alerts(caplog)] == [
        "run_failed",
        "run_failed",
        "run_recovered",
    ]
    recovered = alerts(caplog)[-1]
    assert recovered["dag_id"] == "imagen_backfill"
    assert (recovered["run_id"], recovered["failed_run_id"]) == ("two", "one")
    assert recovered["failed_at"] == NOON.isoformat()
    assert notified()[-1] == f"run_recovered: {recovered['text']}"
    assert len(records(deployment)) == 4


def test_a_cleared_run_that_succeeds_is_a_recovery(
    deployment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run_failed(context("one"))
    run_succeeded(context("one", end=NOON + timedelta(minutes=5)))
    assert [line["event"] for line in alerts(caplog)] == ["run_failed", "run_recovered"]
    assert [record["state"] for record in records(deployment)] == ["success"]


@pytest.mark.parametrize("days", [0.4, 1, 7, 31])
def test_a_recovery_is_noticed_even_for_a_monthly_dag(
    deployment: Any, caplog: pytest.LogCaptureFixture, days: float
) -> None:
    run_failed(context("one", end=NOON - timedelta(days=days)))
    run_succeeded(context("other", dag_id="imagen_stream_health", end=NOON - timedelta(seconds=1)))
    run_succeeded(context("two"))
    assert [line["event"] for line in alerts(caplog)] == ["run_failed", "run_recovered"]


def test_a_run_that_ended_earlier_does_not_recover_from_a_later_failure(
    deployment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run_failed(context("two", end=NOON + timedelta(minutes=5)))
    run_succeeded(context("one", end=NOON))
    assert [line["event"] for line in alerts(caplog)] == ["run_failed"]


def test_runs_of_two_dags_with_the_same_id_have_two_records(deployment: Any) -> None:
    run_succeeded(context("scheduled__1", dag_id="imagen_backfill"))
    run_succeeded(context("scheduled__1", dag_id="imagen_stream_health"))
    assert {record["run_id"] for record in records(deployment)} == {
        "imagen_backfill/scheduled__1",
        "imagen_stream_health/scheduled__1",
    }


def test_a_record_has_no_values_of_the_runs_conf(deployment: Any) -> None:
    run_failed(context())
    assert "secret-campaign" not in json.dumps(records(deployment))


def test_a_run_without_a_task_has_a_record_too(
    deployment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = datetime.now(UTC)
    run_failed({key: context()[key] for key in ("dag", "run_id", "reason")})
    history = deployment.clients.history(RUN_RECORDS)
    (record,) = history.since(before)
    unknown = ("start", "end", "seconds", "run_type", "triggered_by", "log_url")
    assert [record[key] for key in unknown] == [None] * len(unknown)
    assert record["state"] == "failed"
    assert alerts(caplog)[0]["text"] == "imagen_backfill: run manual__1 failed"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("timed_out", "took longer than its dagrun_timeout; check wait"),
        ("all_tasks_deadlocked", "none of its remaining tasks can run; check wait"),
        ("task_failure", "failed; check wait"),
        (None, "failed; check wait"),
    ],
)
def test_an_alert_says_why_a_run_failed(
    deployment: Any, caplog: pytest.LogCaptureFixture, reason: str | None, expected: str
) -> None:
    # A task that had not ended when the run timed out is `skipped`, not `failed`.
    run_failed(context(task_id="wait", states={"wait": "skipped"}, reason=reason))
    assert expected in alerts(caplog)[0]["text"]
    assert alerts(caplog)[0]["tasks"] == ["wait"]


def test_a_record_is_small_however_large_the_conf_is() -> None:
    given = context(states={f"map_{number}": "failed" for number in range(1000)})
    given["dag_run"].conf = {f"{number}" * 500: number for number in range(1000)}
    assert len(json.dumps(run_record(given, "failed"))) < 32_000


def test_a_run_without_an_end_date_ends_now() -> None:
    given = context()
    given["dag_run"].end_date = None
    record = run_record(given, "failed", now=NOON)
    assert (record["at"], record["end"], record["seconds"]) == (NOON.isoformat(), None, None)


def test_a_record_names_the_blamed_task_if_airflow_does_not_answer(
    deployment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def silent(**_: Any) -> None:
        raise ConnectionError("no answer")

    given = context()
    given["ti"].get_task_states = silent
    run_failed(given)
    assert records(deployment)[0]["failed_tasks"] == ["reconcile"]


@pytest.mark.parametrize("callback", [run_failed, run_succeeded], ids=["failed", "succeeded"])
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("IMAGEN_BUCKET", "demo-project-nowhere", "404"),
        ("IMAGEN_BUCKET", "Not A Bucket", "IMAGEN_BUCKET"),
        ("IMAGEN_PROJECT", "", "IMAGEN_PROJECT: is not set"),
        ("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9", "did not finish within 2 s"),
        ("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "{", "was not saved"),
    ],
    ids=["no bucket", "malformed", "unset", "no server", "connection"],
)
def test_a_callback_survives_any_storage_error_and_says_what_to_check(
    deployment: Any,
    notified: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    callback: Callable[[Any], None],
    name: str,
    value: str,
    expected: str,
) -> None:
    with monkeypatch.context() as broken:
        broken.setenv(name, value)
        if expected.startswith("did not finish"):
            broken.setattr(run_callbacks, "_RECORD_TIMEOUT_S", 2.0)
        callback(context())
    assert "the record of run imagen_backfill/manual__1 was not saved" in errors(caplog)
    assert expected in errors(caplog)
    if callback is run_failed:
        assert [line["event"] for line in alerts(caplog)] == ["run_failed"]
        assert len(notified()) == 1


def test_a_callback_does_not_wait_for_a_hanging_storage(
    deployment: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_callbacks, "_RECORD_TIMEOUT_S", 0.5)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, monkeypatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        run_failed(context())
        # Without the limit, the request alone would take a minute.
        assert time.monotonic() - started < 50
    assert [line["event"] for line in alerts(caplog)] == ["run_failed"]
    assert "did not finish within 0.5 s" in errors(caplog)


def test_the_alert_of_a_failure_is_sent_before_storage_is_used(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow kills a slow callback and does not run it again."""
    alert_counts: list[int] = []
    monkeypatch.setattr(run_callbacks, "_save", lambda _: alert_counts.append(len(alerts(caplog))))
    run_failed(context())
    assert alert_counts == [1]


@pytest.mark.parametrize("broken", [{}, {"run_id": "r"}, {"dag": None, "run_id": "r"}, None])
@pytest.mark.parametrize("callback", [run_failed, run_succeeded], ids=["failed", "succeeded"])
def test_an_unusable_context_only_logs_an_error(
    caplog: pytest.LogCaptureFixture, callback: Callable[[Any], None], broken: Any
) -> None:
    callback(broken)
    assert "a callback failed" in errors(caplog)


def test_runs_that_end_at_the_same_time_all_have_records(deployment: Any) -> None:
    threads = [
        threading.Thread(target=run_succeeded, args=(context(f"run-{number}"),))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    assert len(records(deployment)) == 6
