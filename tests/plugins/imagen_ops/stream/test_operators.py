"""Starting and draining, against the local Dataflow. Jobs stay queued: no process starts."""

import json
import threading
import types
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


def launch() -> Any:
    from imagen_ops.stream.operators import LaunchStream

    return LaunchStream(task_id="launch")


def desired(variables: dict[str, str]) -> dict[str, Any]:
    return dict(json.loads(variables["imagen_stream"]))


def test_a_start_launches_the_stream_and_remembers_that_it_is_wanted(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    task = launch()
    job_id = run_task(task, params=deployment.form(max_workers=5))
    job = deployment.clients.dataflow.active(deployment.settings.stream_job_name)
    assert job.id == job_id
    assert desired(variables)["wanted"] is True
    assert desired(variables)["form"]["max_workers"] == 5
    assert desired(variables)["by"] == "imagen_stream_start manual__1 (ada)"
    assert task.linked_job.job_id == job_id


def test_a_task_that_is_tried_again_finds_the_job_that_it_had_launched(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    first = run_task(launch(), params=deployment.form(on_active="replace"))
    assert run_task(launch(), params=deployment.form(on_active="replace")) == first


@pytest.mark.parametrize("on_active", ["keep", "update", "replace"])
def test_of_starts_at_the_same_moment_one_job_comes(
    deployment: Deployment, variables: dict[str, str], run_task: Run, on_active: str, cloud: Cloud
) -> None:
    from airflow.sdk.exceptions import AirflowException

    cloud.dataflow(latency_s=0.3)  # each of them has looked before any has launched

    ids: list[str] = []
    again: list[str] = []

    def start(number: int) -> None:
        try:
            params = deployment.form(on_active=on_active)
            ids.append(run_task(launch(), run_id=f"manual__{number}", params=params))
        except AirflowException as error:  # Airflow tries these again
            again.append(str(error))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(ids) + len(again) == 4
    assert len(set(ids)) == 1
    assert all("in use again" in text for text in again)
    if on_active == "keep":
        assert len(ids) == 4


def test_a_job_that_is_kept_keeps_what_it_was_started_with(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    first = run_task(launch(), params=deployment.form(max_workers=5))
    kept = run_task(launch(), run_id="manual__2", params=deployment.form(max_workers=9))
    assert kept == first
    assert desired(variables)["form"]["max_workers"] == 5


def test_way_is_made_for_a_replacement_by_sending_the_old_job_away(
    deployment: Deployment, variables: dict[str, str], run_task: Run, eventually: Run
) -> None:
    from imagen_ops.stream.sensors import MakeWaySensor

    old = run_task(launch(), params=deployment.form())
    way, params = MakeWaySensor(task_id="make_way"), deployment.form(on_active="replace")
    assert run_task(way, run_id="manual__2", params=params) is False, "the old one is still there"
    eventually(lambda: run_task(way, run_id="manual__2", params=params), what="a free name")
    new = run_task(launch(), run_id="manual__2", params=params)
    assert new != old
    assert deployment.clients.dataflow.get(old).state == "CANCELLED"


def test_what_dataflow_refuses_fails_the_task_at_once_in_its_own_words(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="max_in_flight"):
        run_task(launch(), params=deployment.form(max_in_flight="many"))
    assert "imagen_stream" not in variables, "a stream that was refused is not wanted"


def test_what_passes_by_itself_is_left_to_a_retry(
    deployment: Deployment, variables: dict[str, str], run_task: Run, cloud: Cloud
) -> None:
    from imagen_ops.errors import ApiError

    cloud.dataflow(error_rate=1.0, error_status=503.0)
    with pytest.raises(ApiError, match="HTTP 503"):
        run_task(launch(), params=deployment.form())


def test_a_drain_remembers_first_that_the_stream_should_not_run(
    deployment: Deployment,
    variables: dict[str, str],
    run_task: Run,
    cloud: Cloud,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.stream.operators import DrainStream

    run_task(launch(), params=deployment.form())
    cloud.dataflow(error_rate=1.0, error_status=403.0)
    with pytest.raises(AirflowFailException, match="HTTP 403"):
        run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain")
    assert desired(variables)["wanted"] is False
    assert desired(variables)["form"]["model"] == deployment.settings.model


def test_a_job_that_has_not_begun_is_cancelled_instead_of_drained(
    deployment: Deployment, variables: dict[str, str], run_task: Run, eventually: Run
) -> None:
    from imagen_ops.stream.operators import DrainStream
    from imagen_ops.stream.sensors import JobEndedSensor

    job_id = run_task(launch(), params=deployment.form())
    assert run_task(DrainStream(task_id="drain")) == job_id
    ended = JobEndedSensor(task_id="wait", job_id=job_id)
    assert eventually(lambda: run_task(ended), what="the end").xcom_value == "CANCELLED"


def test_a_drain_without_a_job_says_what_waits_in_the_backlog(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from imagen_ops.stream.operators import DrainStream, ReportDrained
    from imagen_ops.stream.sensors import JobEndedSensor

    deployment.lane.publish("one", "two", "three")
    job_id = run_task(DrainStream(task_id="drain"))
    assert job_id is None
    assert run_task(JobEndedSensor(task_id="wait", job_id=job_id)).xcom_value is None
    report = run_task(ReportDrained(task_id="report", job_id=job_id))
    assert report["backlog"] == 3
    assert report["oldest_seconds"] is not None
    assert report["state"] is None


def test_a_job_that_has_ended_by_itself_is_not_cancelled(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from imagen_ops.stream.operators import CancelStream

    with pytest.raises(AirflowSkipException):
        run_task(CancelStream(task_id="cancel", job_id=None))


def test_of_a_stream_that_is_being_updated_both_jobs_are_sent_away(
    deployment: Deployment, run_task: Run, variables: dict[str, str]
) -> None:
    """The one that is to be replaced takes prompts until then: that is the one to wait for."""
    from imagen_ops.jobs.job import Job, JobState
    from imagen_ops.stream.operators import DrainStream

    asked = []
    jobs = [Job("old", "s", JobState.RUNNING), Job("new", "s", JobState.PENDING)]
    task = DrainStream(task_id="drain")
    dataflow = types.SimpleNamespace(
        all_active=lambda name: list(jobs),
        cancel=lambda job_id: asked.append(("cancel", job_id)),
        drain=lambda job_id: asked.append(("drain", job_id)),
    )
    task.__dict__["clients"] = types.SimpleNamespace(dataflow=dataflow)
    assert run_task(task) == "old"
    assert asked == [("cancel", "new"), ("drain", "old")]
    assert task.linked_job.job_id == "old"


def test_a_drain_is_the_last_word_over_a_start_from_before_it(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    """A start may have waited for hours for the old job to end."""
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.stream.operators import DrainStream
    from imagen_ops.stream.sensors import MakeWaySensor

    began = datetime.now(UTC) - timedelta(hours=2)
    run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain")
    for task in (MakeWaySensor(task_id="make_way"), launch()):
        with pytest.raises(AirflowFailException, match=r"drained at .* by imagen_stream_drain"):
            run_task(task, params=deployment.form(on_active="replace"), began=began)
    assert deployment.clients.dataflow.active(deployment.settings.stream_job_name) is None
    assert run_task(launch(), params=deployment.form()), "one that was asked for later starts"


def test_a_drain_that_comes_while_dataflow_is_asked_ends_what_was_launched(
    deployment: Deployment, variables: dict[str, str], run_task: Run, eventually: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.stream.operators import DrainStream

    task = launch()
    dataflow = task.clients.dataflow
    real = dataflow.launch

    def drained_meanwhile(*given: Any, **others: Any) -> Any:
        assert run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain") is None
        return real(*given, **others)

    dataflow.launch = drained_meanwhile
    began = datetime.now(UTC)
    with pytest.raises(AirflowFailException, match="after this start"):
        run_task(task, params=deployment.form(), began=began)
    assert desired(variables)["wanted"] is False
    name = deployment.settings.stream_job_name
    eventually(lambda: deployment.clients.dataflow.active(name) is None, what="the job's end")
