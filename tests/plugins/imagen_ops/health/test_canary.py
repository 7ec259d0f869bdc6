"""Canaries, through the local Pub/Sub; nobody passes them on here but the tests."""

import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


def wait(canary: Any, *, required: bool = True) -> Any:
    from imagen_ops.health.canary_sensor import CanarySensor

    return CanarySensor(task_id="wait", canary=canary, required=required)


@pytest.fixture(autouse=True)
def _starts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_STARTUP_SECONDS", "20")


def sent(name: str, seconds_ago: float = 0.0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return {"name": name, "sent_at": at.isoformat()}


def give_back(deployment: Deployment, name: str) -> None:
    topic = deployment.lane.topic("predictions")
    deployment.lane.publisher.publish(topic, b"{}", canary=name).result(timeout=30)


def test_a_canary_is_published_where_the_stream_reads(
    deployment: Deployment, run_task: Run
) -> None:
    from imagen_ops.health.canary import SendCanary

    canary = run_task(SendCanary(task_id="send"))
    pulled = deployment.lane.subscriber.pull(
        subscription=deployment.lane.subscription("prompts"), max_messages=1, timeout=10
    )
    assert pulled.received_messages[0].message.attributes["canary"] == canary["name"]


def test_a_canary_that_is_back_is_taken_with_the_time_of_its_return(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    give_back(deployment, "mine")
    canary = sent("mine", seconds_ago=5)
    found = eventually(lambda: run_task(wait(canary)), what="the canary").xcom_value
    took = datetime.fromisoformat(found["returned_at"]) - datetime.fromisoformat(found["sent_at"])
    assert timedelta(seconds=4) < took < timedelta(seconds=15)


def test_the_canaries_of_others_are_left_to_them(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    for name in ("yours", "mine"):
        give_back(deployment, name)
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


def test_a_start_gives_its_canary_as_long_as_workers_may_take_to_come_up(
    deployment: Deployment, run_task: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dataflow says RUNNING before there are any."""
    monkeypatch.setenv("IMAGEN_STARTUP_SECONDS", "600")
    canary = sent("mine", seconds_ago=300)
    assert not run_task(wait(canary))
    assert run_task(wait(canary, required=False)).xcom_value["returned_at"] is None


def test_health_takes_a_canary_that_cannot_be_looked_for_for_a_finding(
    deployment: Deployment, run_task: Run
) -> None:
    """Else a subscription that is gone would end all looking, and nobody would hear of it."""
    from imagen_ops.errors import ApiError

    subscription = deployment.lane.subscription("canary")
    deployment.lane.subscriber.delete_subscription(subscription=subscription)
    result = run_task(wait(sent("mine"), required=False))
    assert result.is_done
    assert set(result.xcom_value) == {"error"}
    assert "HTTP 404" in result.xcom_value["error"]
    with pytest.raises(ApiError, match="HTTP 404"):
        run_task(wait(sent("mine")))


def test_health_waits_for_a_pub_sub_that_does_not_answer_no_longer_than_for_its_canary(
    deployment: Deployment, run_task: Run
) -> None:
    from imagen_ops.errors import ApiError

    def refuse(*_: Any) -> None:
        raise ApiError("looking", 503, "busy")

    def look(seconds_ago: float) -> Any:
        task = wait(sent("mine", seconds_ago), required=False)
        messages = types.SimpleNamespace(take_canary=refuse)
        task.__dict__["clients"] = types.SimpleNamespace(messages=messages)
        return run_task(task)

    assert not look(5), "it is asked again"
    assert "HTTP 503" in look(25).xcom_value["error"]


def test_health_takes_a_lost_canary_for_a_finding(deployment: Deployment, run_task: Run) -> None:
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
