"""Canaries, through the local Pub/Sub. No stream runs: the tests themselves return them."""

import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.jobs.job import Job, JobState
from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


def wait(canary: Any, *, required: bool = True) -> Any:
    from imagen_ops.health.canary import CanarySensor

    return CanarySensor(task_id="wait", canary=canary, required=required)


@pytest.fixture(autouse=True)
def _no_startup_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_STARTUP_SECONDS", "20")


def running_job(state: JobState = JobState.RUNNING) -> Job:
    return Job("1", "imagen-stream", state)


def health_canary(deployment: Deployment, *, job: Job | None, dataflow_answers: bool = True) -> Any:
    """Return the task, with a Dataflow that has `job`, or that answers HTTP 403."""
    from imagen_ops.errors import ApiError
    from imagen_ops.health.canary import SendHealthCanary

    def active(name: str) -> Job | None:
        if not dataflow_answers:
            raise ApiError("listing jobs", 403, "forbidden")
        return job

    task = SendHealthCanary(task_id="probe")
    task.__dict__["clients"] = types.SimpleNamespace(
        dataflow=types.SimpleNamespace(active=active), pubsub=task.clients.pubsub
    )
    return task


def sent(name: str, seconds_ago: float = 0.0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return {"name": name, "sent_at": at.isoformat()}


def return_canary(deployment: Deployment, name: str) -> None:
    topic = deployment.lane.topic("predictions")
    deployment.lane.publisher.publish(topic, b"{}", canary=name).result(timeout=30)


def test_a_canary_is_published_to_the_prompts_topic(deployment: Deployment, run_task: Run) -> None:
    from imagen_ops.health.canary import SendCanary

    canary = run_task(SendCanary(task_id="send"))
    pulled = deployment.lane.subscriber.pull(
        subscription=deployment.lane.subscription("prompts"), max_messages=1, timeout=10
    )
    assert pulled.received_messages[0].message.attributes["canary"] == canary["name"]


def test_a_returned_canary_is_taken_with_the_time_of_its_return(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    return_canary(deployment, "mine")
    canary = sent("mine", seconds_ago=5)
    result = eventually(lambda: run_task(wait(canary)), what="the canary").xcom_value
    returned_at = datetime.fromisoformat(result["returned_at"])
    round_trip = returned_at - datetime.fromisoformat(result["sent_at"])
    assert timedelta(seconds=4) < round_trip < timedelta(seconds=15)


def test_the_canaries_of_other_runs_are_not_taken(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    for name in ("yours", "mine"):
        return_canary(deployment, name)
    for name in ("mine", "yours"):
        assert eventually(lambda name=name: run_task(wait(sent(name))), what=name)


def test_a_canary_on_its_way_is_waited_for(deployment: Deployment, run_task: Run) -> None:
    assert not run_task(wait(sent("mine")))


def test_a_start_fails_when_its_canary_does_not_come_back(
    deployment: Deployment, run_task: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"not come back within 20 s.*logs"):
        run_task(wait(sent("mine", seconds_ago=25)))


def test_a_start_gives_its_canary_the_start_up_grace(
    deployment: Deployment, run_task: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dataflow reports RUNNING before any worker has come up."""
    monkeypatch.setenv("IMAGEN_STARTUP_SECONDS", "600")
    canary = sent("mine", seconds_ago=300)
    assert not run_task(wait(canary))
    assert run_task(wait(canary, required=False)).xcom_value["returned_at"] is None


def test_a_health_check_reports_that_it_could_not_look_for_its_canary(
    deployment: Deployment, run_task: Run
) -> None:
    """Otherwise a deleted subscription would end all health checks without an alert."""
    from imagen_ops.errors import ApiError

    subscription = deployment.lane.subscription("canary")
    deployment.lane.subscriber.delete_subscription(subscription=subscription)
    result = run_task(wait(sent("mine"), required=False))
    assert result.is_done
    assert set(result.xcom_value) == {"error"}
    assert "HTTP 404" in result.xcom_value["error"]
    with pytest.raises(ApiError, match="HTTP 404"):
        run_task(wait(sent("mine")))


def test_a_health_check_waits_for_pub_sub_no_longer_than_for_its_canary(
    deployment: Deployment, run_task: Run
) -> None:
    from imagen_ops.errors import ApiError

    def refuse(*_: Any) -> None:
        raise ApiError("looking", 503, "busy")

    def check(seconds_ago: float) -> Any:
        task = wait(sent("mine", seconds_ago), required=False)
        pubsub = types.SimpleNamespace(take_canary=refuse)
        task.__dict__["clients"] = types.SimpleNamespace(pubsub=pubsub)
        return run_task(task)

    assert not check(5), "the next check asks again"
    assert "HTTP 503" in check(25).xcom_value["error"]


def test_a_health_check_reports_a_lost_canary(deployment: Deployment, run_task: Run) -> None:
    result = run_task(wait(sent("mine", seconds_ago=25), required=False))
    assert result.is_done
    assert result.xcom_value["returned_at"] is None


@pytest.mark.parametrize("canary", [None, {"error": "no answer"}])
def test_without_a_canary_there_is_nothing_to_wait_for(
    canary: Any, deployment: Deployment, run_task: Run
) -> None:
    result = run_task(wait(canary, required=False))
    assert (result.is_done, result.xcom_value) == (True, canary)


def test_no_canary_is_sent_where_no_job_could_return_it(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from imagen_ops.health.canary import SendHealthCanary

    assert run_task(SendHealthCanary(task_id="probe")) is None
    assert deployment.lane.nothing_left("prompts")


def test_a_health_check_sends_a_canary_to_a_job_that_runs(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    canary = run_task(health_canary(deployment, job=running_job()))
    pulled = deployment.lane.subscriber.pull(
        subscription=deployment.lane.subscription("prompts"), max_messages=1, timeout=10
    )
    assert pulled.received_messages[0].message.attributes["canary"] == canary["name"]


def test_a_health_check_sends_no_canary_to_a_job_that_is_still_starting(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    assert run_task(health_canary(deployment, job=running_job(JobState.PENDING))) is None
    assert deployment.lane.nothing_left("prompts")


@pytest.mark.parametrize("wanted", [True, False])
def test_without_an_answer_of_dataflow_a_health_check_sends_its_canary_if_the_stream_should_run(
    deployment: Deployment, variables: dict[str, str], run_task: Run, wanted: bool
) -> None:
    from imagen_ops.stream.wanted import WantedState

    WantedState(wanted=wanted, by="a test", at=datetime.now(UTC)).save()
    assert bool(run_task(health_canary(deployment, job=None, dataflow_answers=False))) is wanted


def test_a_health_check_goes_on_without_a_pub_sub_that_refuses_its_canary(
    deployment: Deployment, variables: dict[str, str], run_task: Run, monkeypatch: Any
) -> None:
    monkeypatch.setenv("IMAGEN_PROMPTS_TOPIC", "no-such-topic")
    result = run_task(health_canary(deployment, job=running_job()))
    assert "HTTP 404" in result["error"]
