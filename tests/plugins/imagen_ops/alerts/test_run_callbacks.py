"""What runs leave behind when they end, and who hears of it."""

import dataclasses
import json
import logging
import socket
import threading
import time
import types
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from imagen_ops.alerts import run_callbacks
from imagen_ops.alerts.run_callbacks import run_failed, run_record, run_succeeded
from imagen_ops.records.folders import RUN_RECORDS
from imagen_ops.records.history import History
from localcloud.airflow import Airflow, AirflowClient
from tests.conftest import BUCKET, Cloud

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
MONITORED = Path(__file__).parent / "monitored"


@pytest.fixture(autouse=True)
def _a_storage_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine; how long a callback waits for it is what few tests are about."""
    monkeypatch.setattr(run_callbacks, "_RECORD_WITHIN_S", 120.0)


def context(
    run_id: str = "manual__1",
    *,
    dag_id: str = "imagen_backfill",
    end: datetime = NOON,
    task_id: str = "reconcile",
    states: dict[str, str] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return what Airflow gives to a DAG's callback."""
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
    """Return the alert lines so far."""
    return [json.loads(r.getMessage()) for r in caplog.records if r.name == "imagen.alerts"]


def errors(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR)


def records(deployment: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deployment.clients.history(RUN_RECORDS).since(
        NOON - timedelta(days=40)
    )
    return found


@pytest.fixture
def gossip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """Name a notifier; what it was told so far."""
    file = tmp_path / "gossip.jsonl"
    monkeypatch.syspath_prepend(str(MONITORED))
    kwargs = {"file": str(file), "text": "{{ event }}: {{ text }}", "where": "{{ log_url }}"}
    monkeypatch.setenv("IMAGEN_NOTIFIER", json.dumps({"class": "gossip.Gossip", "kwargs": kwargs}))

    def told() -> list[str]:
        return [json.loads(line)["text"] for line in file.read_text().splitlines()]

    return told


def test_a_failed_run_leaves_a_record_an_alert_and_word(
    deployment: Any, gossip: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
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
        "imagen_backfill: run manual__1 failed; look at launch, reconcile: http://airflow/reconcile"
    )
    assert alerts(caplog) == [
        {
            "schema": "imagen.alert/1",
            "event": "run_failed",
            "text": text,
            "dag_id": "imagen_backfill",
            "run_id": "manual__1",
            "tasks": ["launch", "reconcile"],
            "reason": "task_failure",
            "log_url": "http://airflow/reconcile",
        }
    ]
    assert gossip() == [f"run_failed: {text}"]


def test_a_run_that_succeeds_leaves_a_record_and_says_nothing(
    deployment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run_succeeded(context(states={"wait": "failed", "reconcile": "success"}, reason="success"))
    (record,) = records(deployment)
    assert record["state"] == "success"
    assert record["failed_tasks"] == ["wait"], "a task may fail without its run"
    assert alerts(caplog) == []


def test_the_first_success_after_a_failure_is_a_recovery(
    deployment: Any, gossip: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    run_failed(context("one"))
    run_failed(context("other", dag_id="imagen_stream_health", end=NOON + timedelta(minutes=1)))
    run_succeeded(context("two", end=NOON + timedelta(minutes=5)))
    run_succeeded(context("three", end=NOON + timedelta(minutes=10)))
    assert [one["event"] for one in alerts(caplog)] == ["run_failed", "run_failed", "run_recovered"]
    recovered = alerts(caplog)[-1]
    assert recovered["dag_id"] == "imagen_backfill"
    assert (recovered["run_id"], recovered["failed_run_id"]) == ("two", "one")
    assert recovered["failed_at"] == NOON.isoformat()
    assert gossip()[-1] == f"run_recovered: {recovered['text']}"
    assert len(records(deployment)) == 4


def test_a_cleared_run_that_then_succeeds_is_a_recovery(
    deployment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run_failed(context("one"))
    run_succeeded(context("one", end=NOON + timedelta(minutes=5)))
    assert [one["event"] for one in alerts(caplog)] == ["run_failed", "run_recovered"]
    assert [one["state"] for one in records(deployment)] == ["success"]


@pytest.mark.parametrize("days", [0.4, 1, 7, 31])
def test_a_recovery_is_noticed_even_of_what_runs_once_a_month(
    deployment: Any, caplog: pytest.LogCaptureFixture, days: float
) -> None:
    run_failed(context("one", end=NOON - timedelta(days=days)))
    run_succeeded(context("other", dag_id="imagen_stream_health", end=NOON - timedelta(seconds=1)))
    run_succeeded(context("two"))
    assert [one["event"] for one in alerts(caplog)] == ["run_failed", "run_recovered"]


def test_a_run_that_ended_earlier_does_not_recover_from_a_later_failure(
    deployment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run_failed(context("two", end=NOON + timedelta(minutes=5)))
    run_succeeded(context("one", end=NOON))
    assert [one["event"] for one in alerts(caplog)] == ["run_failed"]


def test_runs_of_the_same_id_of_two_dags_are_two_records(deployment: Any) -> None:
    run_succeeded(context("scheduled__1", dag_id="imagen_backfill"))
    run_succeeded(context("scheduled__1", dag_id="imagen_stream_health"))
    assert {one["run_id"] for one in records(deployment)} == {
        "imagen_backfill/scheduled__1",
        "imagen_stream_health/scheduled__1",
    }


def test_a_record_holds_no_value_of_a_runs_conf(deployment: Any) -> None:
    run_failed(context())
    assert "secret-campaign" not in json.dumps(records(deployment))


def test_a_run_without_a_task_to_its_name_has_a_record_all_the_same(
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
    ("reason", "said"),
    [
        ("timed_out", "took longer than its dagrun_timeout; look at wait"),
        ("all_tasks_deadlocked", "none of its tasks can run; look at wait"),
        ("task_failure", "failed; look at wait"),
        (None, "failed; look at wait"),
    ],
)
def test_a_text_says_how_a_run_came_to_its_end(
    deployment: Any, caplog: pytest.LogCaptureFixture, reason: str | None, said: str
) -> None:
    # The task that had not ended when the time was up is not `failed`, but `skipped`.
    run_failed(context(task_id="wait", states={"wait": "skipped"}, reason=reason))
    assert said in alerts(caplog)[0]["text"]
    assert alerts(caplog)[0]["tasks"] == ["wait"]


def test_a_record_stays_small_whatever_a_run_was_given() -> None:
    given = context(states={f"map_{number}": "failed" for number in range(1000)})
    given["dag_run"].conf = {f"{number}" * 500: number for number in range(1000)}
    assert len(json.dumps(run_record(given, "failed"))) < 32_000


def test_a_run_that_is_still_open_counts_as_ended_now() -> None:
    given = context()
    given["dag_run"].end_date = None
    record = run_record(given, "failed", now=NOON)
    assert (record["at"], record["end"], record["seconds"]) == (NOON.isoformat(), None, None)


def test_an_airflow_that_does_not_answer_leaves_the_task_that_is_known(
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
    ("name", "value", "said"),
    [
        ("IMAGEN_BUCKET", "demo-project-nowhere", "404"),
        ("IMAGEN_BUCKET", "Not A Bucket", "IMAGEN_BUCKET"),
        ("IMAGEN_PROJECT", "", "IMAGEN_PROJECT: is not set"),
        ("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9", "not done within 2 s"),
        ("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "{", "no record was kept"),
    ],
    ids=["no bucket", "malformed", "unset", "no server", "connection"],
)
def test_whatever_storage_does_a_callback_ends_and_says_what_to_mend(
    deployment: Any,
    gossip: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    callback: Callable[[Any], None],
    name: str,
    value: str,
    said: str,
) -> None:
    with monkeypatch.context() as broken:
        broken.setenv(name, value)
        if said.startswith("not done"):
            broken.setattr(run_callbacks, "_RECORD_WITHIN_S", 2.0)
        callback(context())
    assert "no record was kept of run imagen_backfill/manual__1" in errors(caplog)
    assert said in errors(caplog)
    if callback is run_failed:
        assert [one["event"] for one in alerts(caplog)] == ["run_failed"]
        assert len(gossip()) == 1


def test_a_storage_that_hangs_is_not_waited_for(
    deployment: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_callbacks, "_RECORD_WITHIN_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{mute.getsockname()[1]}")
        started = time.monotonic()
        run_failed(context())
        # A request by itself is given up after a minute.
        assert time.monotonic() - started < 50
    assert [one["event"] for one in alerts(caplog)] == ["run_failed"]
    assert "not done within 0.5 s" in errors(caplog)


def test_a_failure_is_told_before_storage_is_asked(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow kills a callback that takes long, and does not repeat it."""
    told: list[int] = []
    monkeypatch.setattr(run_callbacks, "_keep", lambda _: told.append(len(alerts(caplog))))
    run_failed(context())
    assert told == [1]


@pytest.mark.parametrize("broken", [{}, {"run_id": "r"}, {"dag": None, "run_id": "r"}, None])
@pytest.mark.parametrize("callback", [run_failed, run_succeeded], ids=["failed", "succeeded"])
def test_a_context_of_no_use_is_an_error_in_the_log_and_no_more(
    caplog: pytest.LogCaptureFixture, callback: Callable[[Any], None], broken: Any
) -> None:
    callback(broken)
    assert "a callback failed that never should" in errors(caplog)


def test_runs_that_end_at_the_same_time_each_leave_their_record(deployment: Any) -> None:
    threads = [
        threading.Thread(target=run_succeeded, args=(context(f"run-{number}"),))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    assert len(records(deployment)) == 6


@dataclasses.dataclass
class Monitored:
    """A real Airflow with DAGs of the tests' own, and what their runs leave."""

    client: AirflowClient
    folder: Path
    storage: Any

    def ended(self, dag_id: str, run_id: str, eventually: Callable[..., Any]) -> str:
        """Wait until a run has ended, and its record is there; its state."""

        def over() -> bool:
            return self.client.run_state(dag_id, run_id).ended

        eventually(over, what=f"the end of {dag_id} {run_id}")
        name = f"{dag_id}/{run_id}"
        eventually(lambda: name in self.records(), what=f"the record of {name}")
        return self.client.run_state(dag_id, run_id).value

    def records(self) -> dict[str, dict[str, Any]]:
        """Return what is under `records/runs`, by run."""
        history = History(self.storage, BUCKET, RUN_RECORDS)
        found = history.since(datetime.now(UTC) - timedelta(hours=1))
        return {record["run_id"]: record for record in found}

    def alerts(self, component: str) -> list[dict[str, Any]]:
        """Return the alerts in a component's output, out of what Airflow made of their lines."""
        start = '{"schema": "imagen.alert/1"'
        lines = (self.folder / "airflow" / f"{component}.log").read_text().splitlines()
        decode = json.JSONDecoder().raw_decode
        return [decode(line[line.index(start) :])[0] for line in lines if start in line]

    def told(self) -> list[dict[str, Any]]:
        """Return what the notifier was told."""
        lines = (self.folder / "gossip.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def monitored(_cloud: Cloud, tmp_path: Path) -> Iterator[Monitored]:
    from google.cloud import storage

    kwargs = {
        "file": str(tmp_path / "gossip.jsonl"),
        "text": "{{ event }}: {{ text }}",
        # A Variable in Airflow's database, where the context has them.
        "where": "{{ var.value.region_of_ops if var is defined else '' }}",
    }
    settings = {
        "IMAGEN_NOTIFIER": json.dumps({"class": "gossip.Gossip", "kwargs": kwargs}),
        # As on Composer, see imagen_ops.alerts.alert.
        "AIRFLOW__LOGGING__DAG_PROCESSOR_LOG_TARGET": "stdout",
    }
    client = storage.Client(project=_cloud.environment["GOOGLE_CLOUD_PROJECT"])
    airflow = Airflow(tmp_path)
    airflow.start(_cloud.environment, dags=MONITORED, settings=settings)
    try:
        airflow.wait_until_ready(within_s=300)
        with airflow.client() as api:
            yield Monitored(api, tmp_path, client)
    finally:
        airflow.stop()
        for blob in client.list_blobs(BUCKET, prefix=f"{RUN_RECORDS}/"):
            blob.delete()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_runs_of_a_real_airflow_are_recorded_and_told_of(
    monitored: Monitored, eventually: Callable[..., Any]
) -> None:
    client = monitored.client
    client.set_variable("region_of_ops", "north")
    failing = client.trigger("fickle", {"fail": True, "prompt": "a secret fox"})
    late, idle = client.trigger("slow", run_id="late"), client.trigger("idle", run_id="idle")
    assert monitored.ended("slow", late, eventually) == "failed"
    assert monitored.ended("fickle", failing, eventually) == "failed"
    assert monitored.ended("idle", idle, eventually) == "success"
    marked = client.trigger("long", run_id="marked")

    def sleeps() -> bool:
        return client.task_instances("long", marked)[0].state == "running"

    eventually(sleeps, what="a task to mark")
    client.mark("long", marked, "sleep", "failed")
    assert monitored.ended("long", marked, eventually) == "failed"
    mended = client.trigger("fickle", {"fail": False})
    assert monitored.ended("fickle", mended, eventually) == "success"

    found = monitored.records()
    assert {name: (one["state"], one["reason"]) for name, one in found.items()} == {
        f"fickle/{failing}": ("failed", "task_failure"),
        f"fickle/{mended}": ("success", "success"),
        "slow/late": ("failed", "timed_out"),
        "long/marked": ("failed", "task_failure"),
        "idle/idle": ("success", "success"),
    }
    record = found[f"fickle/{failing}"]
    assert record["failed_tasks"] == ["may_fail"]
    assert record["triggered_by"] == "admin"
    assert record["conf_keys"] == ["fail", "prompt"]
    assert 0 < record["seconds"] < 600
    assert (
        f"/dags/fickle/runs/{failing.replace(':', '%3A').replace('+', '%2B')}"
        in (record["log_url"])
    )
    assert found["slow/late"]["failed_tasks"] == ["sleep"]
    assert found["idle/idle"]["start"] is None, "its callback is told of no task"

    def written() -> bool:
        lines = monitored.alerts
        return len(lines("dag-processor")) >= 4 and len(lines("scheduler")) >= 2

    eventually(written, what="four lines in the DAG processor's output, two in the scheduler's")
    alerts = monitored.alerts("dag-processor")
    assert sorted((one["event"], one["dag_id"], one["run_id"]) for one in alerts) == [
        ("run_failed", "fickle", failing),
        ("run_failed", "long", "marked"),
        ("run_failed", "slow", "late"),
        ("run_recovered", "fickle", mended),
    ]
    text = 'a line\nbreak, 100 % "quoted" {braces} ünd [brackets]'
    verdicts = monitored.alerts("scheduler")
    assert [one["text"] for one in verdicts] == [text] * 2, "of the tasks, one line each"
    tell = next(t for t in client.task_instances("fickle", failing) if t.task_id == "tell")
    log = client.task_log("fickle", failing, tell)
    assert [json.loads(line.partition(" ")[2]) for line in log if "imagen.alert/1" in line] == [
        verdicts[0]
    ]
    expected = sorted(
        (one["event"], f"{one['event']}: {one['text']}", "north") for one in alerts + verdicts
    )

    def told() -> list[tuple[str, ...]]:
        return sorted((one["event"], one["text"], one["where"]) for one in monitored.told())

    # A notifier is told after the record and the line are written.
    eventually(lambda: len(told()) >= len(expected), what="a word to the notifier of each alert")
    assert told() == expected
