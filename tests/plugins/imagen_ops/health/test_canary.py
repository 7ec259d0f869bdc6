"""Canaries, through the local Pub/Sub. No stream runs: the tests themselves return them."""

import base64
import json
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beam_jobs.pipeline.canary_keys import CanaryKeys
from beam_jobs.prompts.body import InvalidPromptError
from imagen_ops.jobs.job import Job, JobState
from tests.conftest import Cloud
from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


def wait(canary: Any, *, required: bool = True) -> Any:
    from imagen_ops.health.canary import CanarySensor

    return CanarySensor(task_id="wait", canary=canary, required=required)


@pytest.fixture(autouse=True)
def _no_startup_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEN_STARTUP_SECONDS", "20")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> list[float]:
    """How long the tasks would have waited for workers to read a new key."""
    waited: list[float] = []
    monkeypatch.setattr("imagen_ops.health.canary.time", types.SimpleNamespace(sleep=waited.append))
    return waited


def send(run_task: Run) -> dict[str, str]:
    from imagen_ops.health.canary import SendCanary

    return dict(run_task(SendCanary(task_id="send")))


def sent_attributes(deployment: Deployment, count: int = 1) -> list[dict[str, str]]:
    """Take the canaries that were sent; they have no body."""
    found: list[dict[str, str]] = []
    while len(found) < count:
        pulled = deployment.lane.subscriber.pull(
            subscription=deployment.lane.subscription("prompts"), max_messages=count, timeout=10
        )
        found += [dict(item.message.attributes) for item in pulled.received_messages]
        assert all(not item.message.data for item in pulled.received_messages)
    return found


def accepted(deployment: Deployment, attributes: dict[str, str]) -> bool:
    """Whether a job accepts a canary, with the keys that are public now."""
    keys = CanaryKeys(
        deployment.settings.canary_keys,
        lambda: deployment.clients.storage.read(deployment.settings.canary_keys) or b"",
    )
    try:
        keys.check(attributes["canary"], attributes["canary_signature"])
    except InvalidPromptError:
        return False
    return True


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
        dataflow=types.SimpleNamespace(active=active),
        pubsub=task.clients.pubsub,
        storage=task.clients.storage,
    )
    return task


def sent(name: str, seconds_ago: float = 0.0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return {"name": name, "sent_at": at.isoformat()}


def return_canary(deployment: Deployment, name: str) -> None:
    topic = deployment.lane.topic("predictions")
    deployment.lane.publisher.publish(topic, b"{}", canary=name).result(timeout=30)


def test_a_canary_is_published_to_the_prompts_topic_signed(
    deployment: Deployment, run_task: Run, variables: dict[str, str], pauses: list[float]
) -> None:
    names = [send(run_task)["name"] for _ in range(2)]
    attributes = sent_attributes(deployment, 2)
    assert sorted(one["canary"] for one in attributes) == sorted(names)
    assert all(accepted(deployment, one) for one in attributes)
    swapped = {**attributes[0], "canary": attributes[1]["canary"]}
    assert not accepted(deployment, swapped)
    assert list(variables) == ["imagen_canary_private_key"]
    assert 10 >= pauses[0] > pauses[1] > 5, "until the new key has been public for 10 s"


def test_neither_the_log_nor_xcom_nor_the_object_has_the_private_key(
    deployment: Deployment,
    run_task: Run,
    variables: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level("DEBUG"):
        result = send(run_task)
    key = variables["imagen_canary_private_key"]
    raw = base64.b64decode(key)
    spellings = [key, key.rstrip("="), raw.hex(), repr(raw), base64.urlsafe_b64encode(raw).decode()]
    public = (deployment.clients.storage.read(deployment.settings.canary_keys) or b"").decode()
    for text in (json.dumps(result), caplog.text, "".join(capfd.readouterr()), public):
        assert not [one for one in spellings if one in text]
    assert set(result) == {"name", "sent_at"}
    assert {"id", "public_key"} <= set(json.loads(public)[0])


def test_a_key_that_was_replaced_counts_for_what_was_signed_before(
    deployment: Deployment, run_task: Run, variables: dict[str, str], pauses: list[float]
) -> None:
    send(run_task)
    variables["imagen_canary_private_key"] = base64.b64encode(b"\x07" * 32).decode() + "\n"
    send(run_task)
    variables.clear()
    send(run_task)
    canaries = sent_attributes(deployment, 3)
    assert len({one["canary_signature"].partition(".")[0] for one in canaries}) == 3
    assert all(accepted(deployment, one) for one in canaries)
    assert sum(seconds > 9 for seconds in pauses) == 3, "public before the first canary"


def test_two_runs_that_make_a_key_at_once_both_get_their_canaries_back(
    deployment: Deployment, run_task: Run, variables: dict[str, str], monkeypatch: Any
) -> None:
    from imagen_ops.health import canary_keys

    together = threading.Barrier(2)
    first_look = threading.local()

    def get(key: str, default: str | None = None) -> str | None:
        if not hasattr(first_look, "done"):
            first_look.done = True
            together.wait(30)
            return None
        return variables.get(key, default)

    monkeypatch.setattr(canary_keys.Variable, "get", get)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: send(run_task), range(2)))
    assert all(accepted(deployment, one) for one in sent_attributes(deployment, 2))


def test_keys_that_are_published_at_once_are_all_kept(deployment: Deployment) -> None:
    from beam_jobs.prompts.canary import keys_from_json
    from imagen_ops.health.canary_keys import publish

    path, raws = deployment.settings.canary_keys, [bytes([number]) * 32 for number in range(5)]
    client = deployment.clients.storage.client()
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(lambda raw: publish(client, path, raw), raws))
    keys = keys_from_json(deployment.clients.storage.read(path) or b"")
    assert {key.raw for key in keys} == set(raws)
    assert [key.replaced_at is None for key in keys] == [True, *[False] * 4]


@pytest.mark.parametrize("value", ["hunter2", "x" * 44, base64.b64encode(b"short").decode()])
def test_a_variable_that_holds_no_key_is_named_and_not_shown(
    deployment: Deployment, run_task: Run, variables: dict[str, str], value: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    variables["imagen_canary_private_key"] = value
    with pytest.raises(AirflowFailException, match="openssl rand -base64 32") as failed:
        send(run_task)
    assert value not in str(failed.value)
    result = run_task(health_canary(deployment, job=running_job()))
    assert "imagen_canary_private_key" in result["error"]
    assert value not in result["error"]
    assert deployment.lane.nothing_left("prompts")


def test_without_storage_a_health_check_sends_its_canary_all_the_same_and_a_start_does_not(
    deployment: Deployment, run_task: Run, cloud: Cloud
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    send(run_task)
    cloud.storage(error_rate=1.0, error_status=403)
    with pytest.raises(AirflowFailException, match="publishing the public key of canaries"):
        send(run_task)
    assert run_task(health_canary(deployment, job=running_job()))["name"]
    assert len(sent_attributes(deployment, 2)) == 2


def test_a_returned_canary_is_taken_with_the_time_of_its_return(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    return_canary(deployment, "mine")
    canary = sent("mine", seconds_ago=5)
    result = eventually(lambda: run_task(wait(canary)), what="the canary").xcom_value
    returned_at = datetime.fromisoformat(result["returned_at"])
    round_trip = returned_at - datetime.fromisoformat(result["sent_at"])
    assert timedelta(seconds=4) < round_trip < timedelta(seconds=15)


def test_a_retry_finds_the_canary_that_a_killed_task_has_found_but_not_reported(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    mine = "0e" * 16
    return_canary(deployment, mine)
    for _ in range(3):
        assert eventually(lambda: run_task(wait(sent(mine))), what="the canary")


def test_the_canaries_of_other_runs_are_not_taken(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    names = ["0a" * 16, "0b" * 16]
    for name in names:
        return_canary(deployment, name)
    for name in reversed(names):
        assert eventually(lambda name=name: run_task(wait(sent(name))), what=name)


def test_what_strangers_have_left_is_taken_away_and_hides_no_canary(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    """As many as a look takes at once, three times: of others' names, and of names like ours."""
    other, mine = "0b" * 16, "0c" * 16
    topic = deployment.lane.topic("predictions")
    futures = [
        deployment.lane.publisher.publish(topic, b"{}", canary=name)
        for number in range(1_500)
        for name in (f"probe {number}", f"{number:032x}")
    ]
    for future in futures:
        future.result(timeout=60)
    return_canary(deployment, other)
    return_canary(deployment, mine)
    assert eventually(lambda: run_task(wait(sent(mine))), what="mine")
    assert not run_task(wait(sent("0d" * 16)))
    left: set[str] = set()

    def all_seen() -> bool:
        pulled = deployment.lane.subscriber.pull(
            subscription=deployment.lane.subscription("canary"),
            max_messages=1000,
            return_immediately=True,
        )
        left.update(item.message.attributes["canary"] for item in pulled.received_messages)
        return other in left

    eventually(all_seen, what="the canary that another task waits for")
    assert len(left) <= 20


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
        pubsub = types.SimpleNamespace(find_canary=refuse)
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
