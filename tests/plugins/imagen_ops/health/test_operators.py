"""Verdict, record, alert and restart, against the local cloud. Jobs stay queued here."""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Cloud
from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _queued(cloud: Cloud) -> Iterator[None]:
    cloud.dataflow(queued_s=600.0)
    yield
    cloud.dataflow(queued_s=0.5)


@pytest.fixture
def alerts(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    caplog.set_level(logging.WARNING, "imagen.alerts")
    return lambda: [
        json.loads(record.message) for record in caplog.records if record.name == "imagen.alerts"
    ]


def assess(run_task: Run, run_id: str, canary: Any = None) -> dict[str, Any]:
    from imagen_ops.health.operators import AssessStream

    verdict = run_task(AssessStream(task_id="assess", canary=canary), run_id=run_id)
    return dict(verdict)


def restart(run_task: Run, run_id: str, verdict: dict[str, Any], **others: Any) -> Any:
    from imagen_ops.health.operators import RestartStream

    task = RestartStream(task_id="restart", verdict=verdict, start_dag_id="imagen_stream_start")
    return run_task(task, run_id=run_id, **others)


def wanted(deployment: Deployment) -> None:
    from imagen_ops.stream.wanted import WantedState

    form = {"model": deployment.settings.model, "max_workers": 3}
    WantedState(True, "a test", datetime.now(UTC) - timedelta(hours=1), form).save()


def test_a_stream_that_nobody_started_is_healthy_and_left_alone(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    verdict = assess(run_task, "1")
    assert verdict["status"] == "HEALTHY"
    with pytest.raises(AirflowSkipException):
        restart(run_task, "1", verdict)
    assert alerts() == []


def test_a_stream_that_died_is_down_and_started_again_as_it_was(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    wanted(deployment)
    verdict = assess(run_task, "1")
    assert (verdict["status"], verdict["restart"]) == ("DOWN", True)
    job_id = restart(run_task, "1", verdict)
    job = deployment.clients.dataflow.active(deployment.settings.stream_job_name)
    assert job.id == job_id
    assert [alert["event"] for alert in alerts()] == ["stream_verdict", "stream_restart"]
    assert assess(run_task, "2")["status"] == "DEGRADED", "it starts"


def test_an_alert_comes_when_the_verdict_changes_and_not_each_time(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    wanted(deployment)
    for number in range(3):
        assess(run_task, str(number))
    assert [alert["status"] for alert in alerts()] == ["DOWN"]
    variables.clear()
    assess(run_task, "4")
    assert [(alert["before"], alert["status"]) for alert in alerts()][1:] == [("DOWN", "HEALTHY")]


def test_a_look_that_is_tried_again_leaves_one_record(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from imagen_ops.records.folders import HEALTH_RECORDS

    for run_id in ("1", "2", "2", "2"):
        assess(run_task, run_id)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    records = deployment.clients.history(HEALTH_RECORDS).since(hour_ago)
    assert [record["run_id"] for record in records] == ["1", "2"]


def test_a_look_that_is_tried_again_alerts_again_since_the_first_may_not_have_come_so_far(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    wanted(deployment)
    for _ in range(2):
        assess(run_task, "the same")
    assert [alert["status"] for alert in alerts()] == ["DOWN", "DOWN"]


def test_without_its_records_a_look_fails_in_words(
    deployment: Deployment,
    variables: dict[str, str],
    run_task: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("IMAGEN_BUCKET", "no-such-bucket")
    with pytest.raises(AirflowFailException, match="the last look has left in storage: HTTP 404"):
        assess(run_task, "1")


def test_what_falls_over_each_time_is_left_to_a_person_after_the_last_restart_of_the_hour(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    wanted(deployment)
    down = assess(run_task, "0")
    for number in range(deployment.settings.restarts_per_hour):
        restart(run_task, str(number), down)
        deployment.cancel_jobs()
    for number in range(10, 13):
        with pytest.raises(AirflowFailException, match="IMAGEN_RESTARTS_PER_HOUR allows 3"):
            restart(run_task, str(number), down)
    assert [alert["event"] for alert in alerts()].count("stream_crash_loop") == 1


def test_a_restart_that_is_tried_again_takes_one_of_the_hours_restarts(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    wanted(deployment)
    down = assess(run_task, "0")
    for number in range(deployment.settings.restarts_per_hour - 1):
        restart(run_task, str(number), down)
    for _ in range(3):
        restart(run_task, "the hour's last", down)


def test_nothing_is_restarted_while_a_start_is_under_way(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    wanted(deployment)
    with pytest.raises(AirflowSkipException, match="imagen_stream_start"):
        restart(run_task, "1", assess(run_task, "1"), starts_under_way=1)


def test_nothing_is_restarted_that_was_drained_since_the_look(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    wanted(deployment)
    down = assess(run_task, "1")
    variables.clear()
    with pytest.raises(AirflowSkipException, match="not wanted any more"):
        restart(run_task, "1", down)


def test_a_dataflow_without_an_answer_is_named_and_nothing_is_restarted(
    deployment: Deployment, variables: dict[str, str], run_task: Run, cloud: Cloud
) -> None:
    wanted(deployment)
    cloud.dataflow(error_rate=1.0, error_status=403.0)
    verdict = assess(run_task, "1", canary={"error": "publishing: HTTP 503"})
    assert (verdict["status"], verdict["restart"]) == ("DEGRADED", False)
    texts = " ".join(reason["text"] for reason in verdict["reasons"])
    assert "HTTP 403" in texts
    assert "HTTP 503" in texts


@pytest.mark.parametrize(
    ("status", "fails"), [("HEALTHY", False), ("DEGRADED", False), ("DOWN", True)]
)
def test_a_run_is_red_when_the_stream_is_down(status: str, fails: bool, run_task: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.health.assessment.verdict import Reason, ReasonCode, Status, Verdict
    from imagen_ops.health.operators import FailWhenDown

    verdict = Verdict.of([Reason(ReasonCode.RUNNING, Status(status), "so it is")])
    task = FailWhenDown(task_id="conclude", verdict=verdict.to_json())
    if fails:
        with pytest.raises(AirflowFailException, match="so it is"):
            run_task(task)
    else:
        assert "so it is" in run_task(task)


def test_a_run_without_a_verdict_is_red(run_task: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.health.operators import FailWhenDown

    with pytest.raises(AirflowFailException, match="assess"):
        run_task(FailWhenDown(task_id="conclude", verdict=None))


def test_a_drain_that_comes_during_a_restart_is_the_last_word(
    deployment: Deployment, variables: dict[str, str], run_task: Run, eventually: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from imagen_ops.health.operators import RestartStream
    from imagen_ops.stream.operators import DrainStream

    wanted(deployment)
    verdict = assess(run_task, "1")
    task = RestartStream(task_id="restart", verdict=verdict, start_dag_id="imagen_stream_start")
    dataflow = task.clients.dataflow
    real = dataflow.launch

    def drained_meanwhile(*given: Any, **others: Any) -> Any:
        run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain")
        return real(*given, **others)

    dataflow.launch = drained_meanwhile
    with pytest.raises(AirflowSkipException, match="not wanted any more: imagen_stream_drain"):
        run_task(task, run_id="1")
    name = deployment.settings.stream_job_name
    eventually(lambda: deployment.clients.dataflow.active(name) is None, what="the job's end")
