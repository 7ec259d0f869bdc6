"""Starting and draining, against the local Dataflow. Jobs stay QUEUED: no process starts."""

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
    cloud.dataflow(queued_s=0.5, unlisted_s=0.0)


def launch() -> Any:
    from imagen_ops.stream.operators import LaunchStream

    return LaunchStream(task_id="launch")


def recorded(variables: dict[str, str]) -> dict[str, Any]:
    return dict(json.loads(variables["imagen_stream"]))


def done(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the records of what runs have done."""
    from imagen_ops.records.folders import ACTION_RECORDS

    history = deployment.clients.history(ACTION_RECORDS)
    return list(history.since(datetime.now(UTC) - timedelta(hours=1)))


def test_a_start_launches_the_stream_and_records_that_it_should_run(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    task = launch()
    job_id = run_task(task, params=deployment.form(max_workers=5))
    job = deployment.clients.dataflow.active(deployment.settings.stream_job_name)
    assert job.id == job_id
    assert recorded(variables)["wanted"] is True
    assert recorded(variables)["form"]["max_workers"] == 5
    assert recorded(variables)["by"] == "imagen_stream_start manual__1 (ada)"
    assert task.linked_job.job_id == job_id
    [record] = done(deployment)
    assert (record["stage"], record["triggered_by"]) == ("launched", "ada")
    assert (record["job"]["id"], record["form"]) == (job_id, recorded(variables)["form"])
    assert record["image"].startswith("us-central1-docker.pkg.dev/")


def test_a_cleared_launch_is_refused_what_is_no_longer_allowed(
    deployment: Deployment,
    variables: dict[str, str],
    run_task: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("IMAGEN_MAX_IMAGES_PER_PROMPT", "1")
    with pytest.raises(AirflowFailException, match="IMAGEN_MAX_IMAGES_PER_PROMPT"):
        run_task(launch(), params=deployment.form(max_images_per_prompt=2))
    assert deployment.clients.dataflow.active(deployment.settings.stream_job_name) is None
    assert variables == {}


def test_a_retried_launch_adopts_the_job_of_its_first_try(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    first = run_task(launch(), params=deployment.form(on_active="replace"))
    assert run_task(launch(), params=deployment.form(on_active="replace")) == first


@pytest.mark.parametrize("on_active", ["keep", "update", "replace"])
def test_concurrent_starts_lead_to_one_job(
    deployment: Deployment, variables: dict[str, str], run_task: Run, on_active: str, cloud: Cloud
) -> None:
    from airflow.sdk.exceptions import AirflowException

    cloud.dataflow(latency_s=0.3)  # every start looks before any of them launches

    ids: list[str] = []
    errors: list[str] = []

    def start(number: int) -> None:
        try:
            params = deployment.form(on_active=on_active)
            ids.append(run_task(launch(), run_id=f"manual__{number}", params=params))
        except AirflowException as error:  # Airflow retries these
            errors.append(str(error))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(ids) + len(errors) == 4
    assert len(set(ids)) == 1
    assert all("in use again" in text for text in errors)
    if on_active == "keep":
        assert len(ids) == 4


def test_an_adopted_job_keeps_the_form_of_its_own_start(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    first = run_task(launch(), params=deployment.form(max_workers=5))
    second = run_task(launch(), run_id="manual__2", params=deployment.form(max_workers=9))
    assert second == first
    assert recorded(variables)["form"]["max_workers"] == 5


def test_a_replacement_ends_the_old_job_first(
    deployment: Deployment, variables: dict[str, str], run_task: Run, eventually: Run
) -> None:
    from imagen_ops.stream.sensors import MakeWaySensor

    old = run_task(launch(), params=deployment.form())
    way, params = MakeWaySensor(task_id="make_way"), deployment.form(on_active="replace")
    assert run_task(way, run_id="manual__2", params=params) is False, "the old job is still active"
    eventually(lambda: run_task(way, run_id="manual__2", params=params), what="a free name")
    new = run_task(launch(), run_id="manual__2", params=params)
    assert new != old
    assert deployment.clients.dataflow.get(old).state == "CANCELLED"


def test_a_launch_that_dataflow_refuses_fails_at_once_with_its_message(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="max_in_flight"):
        run_task(launch(), params=deployment.form(max_in_flight="many"))
    assert "imagen_stream" not in variables, "a stream that was refused is not wanted"


def test_a_transient_error_is_left_to_a_retry(
    deployment: Deployment, variables: dict[str, str], run_task: Run, cloud: Cloud
) -> None:
    from imagen_ops.errors import ApiError

    cloud.dataflow(error_rate=1.0, error_status=503.0)
    with pytest.raises(ApiError, match="HTTP 503"):
        run_task(launch(), params=deployment.form())


def test_a_drain_first_records_that_the_stream_should_not_run(
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
    assert recorded(variables)["wanted"] is False
    assert recorded(variables)["form"]["model"] == deployment.settings.model


def test_a_job_that_has_not_started_is_cancelled_instead_of_drained(
    deployment: Deployment, variables: dict[str, str], run_task: Run, eventually: Run
) -> None:
    from imagen_ops.stream.operators import DrainStream
    from imagen_ops.stream.sensors import JobEndedSensor

    job_id = run_task(launch(), params=deployment.form())
    assert run_task(DrainStream(task_id="drain")) == job_id
    ended = JobEndedSensor(task_id="wait", job_id=job_id)
    assert eventually(lambda: run_task(ended), what="the end").xcom_value == "CANCELLED"


def test_a_drain_without_a_job_reports_the_backlog(
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
    asked, ended = done(deployment)
    assert (asked["stage"], asked["job"]) == ("stopping", None)
    assert (ended["stage"], ended["backlog_size"]) == ("ended", 3)


def test_a_job_that_has_already_ended_is_not_cancelled(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from imagen_ops.stream.operators import CancelStream

    with pytest.raises(AirflowSkipException):
        run_task(CancelStream(task_id="cancel", job_id=None))


def test_a_drain_during_an_update_ends_both_jobs(
    deployment: Deployment, run_task: Run, variables: dict[str, str]
) -> None:
    """The old job takes prompts until the update is done, so it is the one to wait for.

    That no record of it can be written keeps it from nothing.
    """
    from imagen_ops.jobs.job import Job, JobState
    from imagen_ops.stream.operators import DrainStream

    calls = []
    jobs = [Job("old", "s", JobState.RUNNING), Job("new", "s", JobState.PENDING)]
    task = DrainStream(task_id="drain")
    dataflow = types.SimpleNamespace(
        all_active=lambda name: list(jobs),
        note_drain=lambda name, drain: None,
        cancel=lambda job_id: calls.append(("cancel", job_id)),
        drain=lambda job_id: calls.append(("drain", job_id)),
    )
    task.__dict__["clients"] = types.SimpleNamespace(dataflow=dataflow)
    assert run_task(task) == "old"
    assert calls == [("cancel", "new"), ("drain", "old")]
    assert task.linked_job.job_id == "old"


def test_a_drain_overrides_a_start_that_began_before_it(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    """A start may wait for hours until the old job has ended."""
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.stream.operators import DrainStream
    from imagen_ops.stream.sensors import MakeWaySensor

    began = datetime.now(UTC) - timedelta(hours=2)
    run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain")
    for task in (MakeWaySensor(task_id="make_way"), launch()):
        with pytest.raises(AirflowFailException, match=r"drained at .* by imagen_stream_drain"):
            run_task(task, params=deployment.form(on_active="replace"), run_start=began)
    assert deployment.clients.dataflow.active(deployment.settings.stream_job_name) is None
    assert run_task(launch(), params=deployment.form()), "a later start succeeds"


def test_a_drain_during_a_launch_ends_the_launched_job(
    deployment: Deployment, variables: dict[str, str], run_task: Run, eventually: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.stream.operators import DrainStream

    task = launch()
    dataflow = task.clients.dataflow
    launch_job = dataflow.launch

    def drain_and_launch(*args: Any, **kwargs: Any) -> Any:
        assert run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain") is None
        return launch_job(*args, **kwargs)

    dataflow.launch = drain_and_launch
    began = datetime.now(UTC)
    with pytest.raises(AirflowFailException, match="after this start"):
        run_task(task, params=deployment.form(), run_start=began)
    assert recorded(variables)["wanted"] is False
    name = deployment.settings.stream_job_name
    eventually(lambda: deployment.clients.dataflow.active(name) is None, what="the job's end")


# A job that no listing shows yet


def test_a_retried_launch_adopts_its_job_before_any_listing_shows_it(
    deployment: Deployment, variables: dict[str, str], run_task: Run, cloud: Cloud
) -> None:
    cloud.dataflow(unlisted_s=600.0)
    first = run_task(launch(), params=deployment.form(on_active="replace"))
    assert run_task(launch(), params=deployment.form(on_active="replace")) == first


def test_a_drain_ends_a_job_before_any_listing_shows_it(
    deployment: Deployment,
    variables: dict[str, str],
    run_task: Run,
    cloud: Cloud,
    eventually: Run,
) -> None:
    from imagen_ops.stream.operators import DrainStream

    cloud.dataflow(unlisted_s=600.0)
    job_id = run_task(launch(), params=deployment.form())
    assert run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain") == job_id
    ended = lambda: deployment.clients.dataflow.get(job_id).state.terminal  # noqa: E731
    eventually(ended, what="the job's end")


def test_a_drain_waits_for_the_job_of_a_launch_that_was_never_answered_and_ends_it(
    deployment: Deployment,
    variables: dict[str, str],
    run_task: Run,
    cloud: Cloud,
    eventually: Run,
) -> None:
    """As when the task that launches dies: nobody knows the id until a listing shows the job."""
    from imagen_ops.jobs.launch_request import stream_launch_request
    from imagen_ops.jobs.params import JobForm
    from imagen_ops.stream.operators import DrainStream
    from imagen_ops.stream.sensors import StreamDrainedSensor

    cloud.dataflow(unlisted_s=600.0)
    settings, dataflow = deployment.settings, deployment.clients.dataflow
    request = stream_launch_request(settings, JobForm(settings.model), run_label="dead")
    deployment.clients.launches().begin(settings.stream_job_name, "dead")
    job = dataflow.request_launch(request, update=False)

    drained = run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain")
    assert drained is None
    state: dict[str, Any] = {}
    waiting = StreamDrainedSensor(task_id="wait", job_id=drained)
    assert not run_task(waiting, state=state), "a launch is under way"
    cloud.dataflow(unlisted_s=0.0)
    over = eventually(lambda: run_task(waiting, state=state), what="the end of the drain")
    assert over.xcom_value == job.id
    assert dataflow.get(job.id).state == "CANCELLED"


def test_a_drain_that_a_start_overwrites_wins_all_the_same(
    deployment: Deployment,
    variables: dict[str, str],
    run_task: Run,
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Run,
) -> None:
    """The drain comes between the start's last look at the Variable and its writing of it."""
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.stream.operators import DrainStream
    from imagen_ops.stream.wanted import WantedState

    cloud.dataflow(unlisted_s=600.0)
    save, began = WantedState.save, datetime.now(UTC)

    def drained_meanwhile(state: WantedState) -> None:
        if state.wanted:
            run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain")
        save(state)

    monkeypatch.setattr(WantedState, "save", drained_meanwhile)
    with pytest.raises(AirflowFailException, match=r"drained at .* by imagen_stream_drain"):
        run_task(launch(), params=deployment.form(), run_start=began)
    assert recorded(variables)["wanted"] is False
    name = deployment.settings.stream_job_name
    eventually(lambda: deployment.clients.dataflow.active(name) is None, what="the job's end")


def test_a_drain_leaves_a_stream_alone_that_was_started_after_it(
    deployment: Deployment, variables: dict[str, str], run_task: Run
) -> None:
    from imagen_ops.stream.operators import DrainStream
    from imagen_ops.stream.sensors import StreamDrainedSensor

    drained = run_task(DrainStream(task_id="drain"), dag_id="imagen_stream_drain")
    job_id = run_task(launch(), params=deployment.form())
    assert run_task(StreamDrainedSensor(task_id="wait", job_id=drained)).xcom_value is None
    assert deployment.clients.dataflow.get(job_id).state.active


def test_without_storage_a_drain_still_ends_the_job_that_is_listed(
    deployment: Deployment,
    variables: dict[str, str],
    run_task: Run,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Run,
) -> None:
    from google.api_core.exceptions import ServiceUnavailable

    from imagen_ops.records.launches import Launches
    from imagen_ops.stream.operators import DrainStream

    job_id = run_task(launch(), params=deployment.form())

    def gone(*_: Any) -> None:
        raise ServiceUnavailable("gone")

    with monkeypatch.context() as outage:
        outage.setattr(Launches, "read", gone)
        outage.setattr(Launches, "_change", gone)
        assert run_task(DrainStream(task_id="drain")) == job_id
    ended = lambda: deployment.clients.dataflow.get(job_id).state.terminal  # noqa: E731
    eventually(ended, what="the job's end")
