"""The records, alerts and notifications of runs in a real Airflow."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from imagen_ops.records.folders import RUN_RECORDS
from imagen_ops.records.history import History
from localcloud.airflow import AirflowClient
from tests.conftest import BUCKET, PROJECT, Cloud, SmallAirflow


@dataclasses.dataclass
class Monitored:
    """A real Airflow with DAGs of the tests' own, and what their runs leave."""

    client: AirflowClient
    folder: Path
    storage: Any

    def ended(self, dag_id: str, run_id: str, eventually: Callable[..., Any]) -> str:
        """Wait until a run has ended and has a record, and return its state."""

        def has_ended() -> bool:
            return self.client.run_state(dag_id, run_id).ended

        eventually(has_ended, what=f"the end of {dag_id} {run_id}")
        name = f"{dag_id}/{run_id}"
        eventually(lambda: name in self.records(), what=f"the record of {name}")
        return self.client.run_state(dag_id, run_id).value

    def records(self) -> dict[str, dict[str, Any]]:
        """Return the records under `records/runs`, by run."""
        history = History(self.storage, BUCKET, RUN_RECORDS)
        records = history.since(datetime.now(UTC) - timedelta(hours=1))
        return {
            record["run_id"]: record
            for record in records
            if record["dag_id"] in ("fickle", "slow", "long", "idle")
        }

    def alerts(self, component: str) -> list[dict[str, Any]]:
        """Return the alerts in a component's output, without what Airflow adds to their lines."""
        start = '{"schema": "imagen.alert/1"'
        lines = (self.folder / "airflow" / f"{component}.log").read_text().splitlines()
        decode = json.JSONDecoder().raw_decode
        return [decode(line[line.index(start) :])[0] for line in lines if start in line]


@pytest.fixture
def monitored(small_airflow: SmallAirflow, _cloud: Cloud) -> Iterator[Monitored]:
    from google.cloud import storage

    client = storage.Client(project=PROJECT)
    with small_airflow.airflow.client() as api:
        yield Monitored(api, small_airflow.folder, client)
    for blob in client.list_blobs(BUCKET, prefix=f"{RUN_RECORDS}/"):
        blob.delete()


@pytest.mark.full  # an Airflow of its own: a minute of both cores
@pytest.mark.timeout(1800)
def test_runs_of_a_real_airflow_have_records_and_alerts(
    monitored: Monitored, small_airflow: SmallAirflow, eventually: Callable[..., Any]
) -> None:
    client = monitored.client
    client.set_variable("region_of_ops", "north")
    failing = client.trigger("fickle", {"fail": True, "prompt": "a secret fox"})
    late, idle = client.trigger("slow", run_id="late"), client.trigger("idle", run_id="idle")
    assert monitored.ended("slow", late, eventually) == "failed"
    assert monitored.ended("fickle", failing, eventually) == "failed"
    assert monitored.ended("idle", idle, eventually) == "success"
    marked = client.trigger("long", run_id="marked")

    def is_running() -> bool:
        return client.task_instances("long", marked)[0].state == "running"

    eventually(is_running, what="a running task to mark as failed")
    client.mark("long", marked, "sleep", "failed")
    assert monitored.ended("long", marked, eventually) == "failed"
    recovered = client.trigger("fickle", {"fail": False})
    assert monitored.ended("fickle", recovered, eventually) == "success"

    records = monitored.records()
    assert {name: (record["state"], record["reason"]) for name, record in records.items()} == {
        f"fickle/{failing}": ("failed", "task_failure"),
        f"fickle/{recovered}": ("success", "success"),
        "slow/late": ("failed", "timed_out"),
        "long/marked": ("failed", "task_failure"),
        "idle/idle": ("success", "success"),
    }
    record = records[f"fickle/{failing}"]
    assert record["failed_tasks"] == ["may_fail"]
    assert record["triggered_by"] == "admin"
    assert record["conf_keys"] == ["fail", "prompt"]
    assert 0 < record["seconds"] < 600
    assert (
        f"/dags/fickle/runs/{failing.replace(':', '%3A').replace('+', '%2B')}"
        in (record["log_url"])
    )
    assert records["slow/late"]["failed_tasks"] == ["sleep"]
    assert records["idle/idle"]["start"] is None, "the context of its callback has no task"

    def are_written() -> bool:
        lines = monitored.alerts
        return len(lines("dag-processor")) >= 4 and len(lines("scheduler")) >= 2

    eventually(are_written, what="4 alerts in the DAG processor's output and 2 in the scheduler's")
    alerts = monitored.alerts("dag-processor")
    assert sorted((alert["event"], alert["dag_id"], alert["run_id"]) for alert in alerts) == [
        ("run_failed", "fickle", failing),
        ("run_failed", "long", "marked"),
        ("run_failed", "slow", "late"),
        ("run_recovered", "fickle", recovered),
    ]
    text = 'a line\nbreak, 100 % "quoted" {braces} ünd [brackets]'
    verdicts = monitored.alerts("scheduler")
    assert [alert["text"] for alert in verdicts] == [text] * 2, "one alert of each task"
    tell = next(t for t in client.task_instances("fickle", failing) if t.task_id == "tell")
    log = client.task_log("fickle", failing, tell)
    assert [json.loads(line.partition(" ")[2]) for line in log if "imagen.alert/1" in line] == [
        verdicts[0]
    ]
    expected = sorted(
        (alert["event"], f"{alert['event']}: {alert['text']}", "north")
        for alert in alerts + verdicts
    )

    def sent() -> list[tuple[str, ...]]:
        lines = small_airflow.notifications()
        return sorted((line["event"], line["text"], line["where"]) for line in lines)

    # The notifier runs after the line is written.
    eventually(lambda: len(sent()) >= len(expected), what="a notification of each alert")
    assert sent() == expected


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_scheduled_run_that_is_late_is_alerted_on_once_and_others_are_not(
    monitored: Monitored, small_airflow: SmallAirflow, eventually: Callable[..., Any]
) -> None:
    client = monitored.client
    # Its deadline is as long ago, but nobody expects it by then.
    client.trigger("late", run_id="by-hand", logical_date="2026-02-01T00:00:00Z")
    client.pause("late", paused=False)

    def told() -> list[tuple[str, str]]:
        alerts = [a for a in monitored.alerts("scheduler") if a["event"] == "run_late"]
        return [(alert["dag_id"], alert["run_id"]) for alert in alerts]

    def callbacks() -> list[Path]:
        return [*(small_airflow.folder / "airflow" / "logs").rglob("executor_callbacks/late/*/*")]

    eventually(lambda: len(callbacks()) == 2, what="a callback of each deadline")
    (scheduled,) = set(client.run_ids("late")) - {"by-hand"}
    eventually(lambda: told() == [("late", scheduled)], what="the alert")
    sent = [line["text"] for line in small_airflow.notifications() if line["event"] == "run_late"]
    assert len(sent) == 1
    assert f"run {scheduled} should have ended by 2026-01-01 00:30" in sent[0]
    assert "is running" in sent[0] or "is queued" in sent[0]
    log = next(path for path in callbacks() if "by-hand" in str(path)).read_text()
    assert "run by-hand is manual, running: no alert" in log.replace("queued", "running")
    for run_id in client.run_ids("late"):
        client.mark_run("late", run_id, "failed")
