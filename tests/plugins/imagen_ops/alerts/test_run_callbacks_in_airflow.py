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
