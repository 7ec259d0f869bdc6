"""Verdict, record, alert and restart, against the local cloud. Jobs stay QUEUED here."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from tests.conftest import Cloud
from tests.plugins.conftest import Deployment
from tests.plugins.imagen_ops.health.conftest import Run, assess, request_stream, restart

pytestmark = pytest.mark.usefixtures("queued_jobs")


def test_a_stream_that_nobody_started_is_healthy_and_left_alone(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    verdict = assess(run_task, "1")
    assert verdict["status"] == "HEALTHY"
    with pytest.raises(AirflowSkipException):
        restart(run_task, "1", verdict)
    assert alerts() == []


def test_a_stream_that_died_is_down_and_restarted_with_its_last_form(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    request_stream(deployment)
    verdict = assess(run_task, "1")
    assert (verdict["status"], verdict["restart"]) == ("DOWN", True)
    job_id = restart(run_task, "1", verdict)
    job = deployment.clients.dataflow.active(deployment.settings.stream_job_name)
    assert job.id == job_id
    assert [alert["event"] for alert in alerts()] == ["stream_verdict", "stream_restart"]
    assert assess(run_task, "2")["status"] == "DEGRADED", "it is starting"


def test_a_stream_is_not_restarted_with_what_is_no_longer_allowed(
    deployment: Deployment,
    variables: dict[str, str],
    run_task: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    request_stream(deployment)
    verdict = assess(run_task, "1")
    monkeypatch.setenv("IMAGEN_WORKER_SERVICE_ACCOUNT", "worker@other.iam.gserviceaccount.com")
    with pytest.raises(AirflowFailException, match="IMAGEN_ALLOWED_PROJECTS"):
        restart(run_task, "1", verdict)
    assert deployment.clients.dataflow.active(deployment.settings.stream_job_name) is None


def test_an_alert_is_written_only_when_the_status_changes(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    request_stream(deployment)
    for number in range(3):
        assess(run_task, str(number))
    assert [alert["status"] for alert in alerts()] == ["DOWN"]
    variables.clear()
    assess(run_task, "4")
    assert [(alert["before"], alert["status"]) for alert in alerts()][1:] == [("DOWN", "HEALTHY")]


def test_a_retried_health_check_leaves_one_record(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from imagen_ops.records.folders import HEALTH_RECORDS

    for run_id in ("1", "2", "2", "2"):
        assess(run_task, run_id)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    records = deployment.clients.history(HEALTH_RECORDS).since(hour_ago)
    assert [record["run_id"] for record in records] == ["1", "2"]


def test_a_retried_health_check_alerts_again_because_the_first_try_may_not_have(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    request_stream(deployment)
    for _ in range(2):
        assess(run_task, "the same")
    assert [alert["status"] for alert in alerts()] == ["DOWN", "DOWN"]


def test_without_its_records_a_health_check_fails_with_a_clear_error(
    deployment: Deployment,
    variables: dict[str, str],
    run_task: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("IMAGEN_BUCKET", "no-such-bucket")
    with pytest.raises(
        AirflowFailException, match="the last health check's record in Cloud Storage: HTTP 404"
    ):
        assess(run_task, "1")


def test_nothing_is_restarted_while_a_start_is_under_way(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    request_stream(deployment, minutes_ago=5)
    verdict = assess(run_task, "1", active_start_runs=1)
    assert verdict["status"] == "DOWN"
    with pytest.raises(AirflowSkipException):
        restart(run_task, "1", verdict)


def test_a_start_that_is_stuck_in_a_paused_dag_does_not_keep_health_from_restarting(
    deployment: Deployment, variables: dict[str, str], run_task: Run, alerts: Any
) -> None:
    request_stream(deployment, minutes_ago=5)
    for run_id in ("1", "2"):
        verdict = assess(run_task, run_id, active_start_runs=1, start_paused=True)
    assert [alert["event"] for alert in alerts()] == ["stream_verdict", "stream_start_stuck"]
    assert "the DAG is paused" in alerts()[1]["text"]
    assert restart(run_task, "2", verdict, active_start_runs=1)
    assert deployment.clients.dataflow.active(deployment.settings.stream_job_name)


def test_a_job_that_no_listing_shows_yet_is_not_launched_a_second_time(
    deployment: Deployment, variables: dict[str, str], run_task: Run, cloud: Cloud
) -> None:
    cloud.dataflow(unlisted_s=600.0)
    request_stream(deployment)
    verdict = assess(run_task, "1")
    job_id = restart(run_task, "1", verdict)
    codes = [reason["code"] for reason in assess(run_task, "2")["reasons"]]
    assert codes == ["STARTING"]
    assert restart(run_task, "3", verdict) == job_id, "by a verdict that is out of date"


def test_a_drain_that_a_dead_start_has_overwritten_is_found(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from imagen_ops.records.launches import Drain
    from imagen_ops.stream.wanted import WantedState

    request_stream(deployment)
    verdict = assess(run_task, "1")
    drain = Drain(datetime.now(UTC), "somebody")
    deployment.clients.dataflow.note_drain(deployment.settings.stream_job_name, drain)
    with pytest.raises(AirflowSkipException, match=r"should not run any more \(somebody"):
        restart(run_task, "1", verdict)
    assert not WantedState.load().wanted


def test_a_stream_that_was_drained_since_the_verdict_is_not_restarted(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    request_stream(deployment)
    down = assess(run_task, "1")
    variables.clear()
    with pytest.raises(AirflowSkipException, match="should not run any more"):
        restart(run_task, "1", down)


def test_a_dataflow_that_does_not_answer_is_named_and_nothing_is_restarted(
    deployment: Deployment, variables: dict[str, str], run_task: Run, cloud: Cloud
) -> None:
    request_stream(deployment)
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

    verdict = Verdict.of([Reason(ReasonCode.RUNNING, Status(status), "the text")])
    task = FailWhenDown(task_id="conclude", verdict=verdict.to_json())
    if fails:
        with pytest.raises(AirflowFailException, match="the text"):
            run_task(task)
    else:
        assert "the text" in run_task(task)


def test_a_model_that_refuses_every_prompt_is_the_one_reason_in_the_verdict_and_on_the_page(
    deployment: Deployment,
    variables: dict[str, str],
    run_task: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from beam_jobs.engine.hold_report import HoldReport
    from beam_jobs.engine.model_gate import Hold
    from imagen_ops.google.dataflow import DataflowJobsHook
    from imagen_ops.jobs.job import Job, JobState
    from imagen_ops.ui.panels.stream import read_health, state
    from imagen_ops.ui.storage import Storage

    async def report(*holds: Hold) -> None:
        async with aiohttp.ClientSession() as session:
            await HoldReport(session, bucket, "stream", lambda: holds).report()

    request_stream(deployment)
    bucket, model = deployment.settings.bucket, deployment.settings.model
    job = Job("job-1", deployment.settings.stream_job_name, JobState.RUNNING)
    monkeypatch.setattr(DataflowJobsHook, "active", lambda self, name: job)
    monkeypatch.setattr(DataflowJobsHook, "counters", lambda self, job_id: {})
    monkeypatch.setattr(DataflowJobsHook, "errors", lambda self, job_id, since: [])
    since = datetime.now(UTC) - timedelta(minutes=7)
    asyncio.run(report(Hold(model, since, 0.0, "model answered 404: NOT_FOUND")))
    lost = {"sent_at": (datetime.now(UTC) - timedelta(seconds=60)).isoformat()}
    verdict = assess(run_task, "1", canary=lost)
    assert (verdict["status"], verdict["restart"]) == ("DOWN", False)
    (reason,) = verdict["reasons"]
    assert reason["code"] == "MODEL_REFUSES"
    assert f"{model} has refused every prompt for 7 min: “model answered 404" in reason["text"]
    shown = state(read_health(Storage()), datetime.now(UTC))
    assert shown is not None
    assert (shown["word"], shown["checked"]) == ("DOWN", True)
    assert shown["check"]["reasons"] == verdict["reasons"]


def test_a_run_without_a_verdict_is_red(run_task: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.health.operators import FailWhenDown

    with pytest.raises(AirflowFailException, match="assess"):
        run_task(FailWhenDown(task_id="conclude", verdict=None))


def test_a_drain_during_a_restart_overrides_it(
    deployment: Deployment, variables: dict[str, str], run_task: Run, eventually: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from imagen_ops.health.operators import RestartStream
    from imagen_ops.stream.operators import DrainStream

    request_stream(deployment)
    verdict = assess(run_task, "1")
    task = RestartStream(task_id="restart", verdict=verdict, start_dag_id="imagen_stream_start")
    dataflow = task.clients.dataflow
    launch = dataflow.launch

    def drain_and_launch(*args: Any, **kwargs: Any) -> Any:
        run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain")
        return launch(*args, **kwargs)

    dataflow.launch = drain_and_launch
    with pytest.raises(
        AirflowSkipException, match=r"should not run any more \(imagen_stream_drain"
    ):
        run_task(task, run_id="1")
    name = deployment.settings.stream_job_name
    eventually(lambda: deployment.clients.dataflow.active(name) is None, what="the job's end")
