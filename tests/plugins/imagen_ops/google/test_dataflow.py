"""A stream's life as the hooks and sensors see it, with a real job under the local Dataflow."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.plugins.conftest import Deployment

pytestmark = pytest.mark.slow

Run = Callable[..., Any]


def launch_of(deployment: Deployment, **form: Any) -> Any:
    from imagen_ops.jobs.job_form import JobForm
    from imagen_ops.jobs.launch_request import stream_launch_request

    form = {"model": deployment.settings.model, **form}
    return stream_launch_request(deployment.settings, JobForm(**form), run_label="a-test")


def test_a_stream_is_launched_updated_measured_and_drained(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    from imagen_ops.stream.sensors import JobEndedSensor, JobRunningSensor

    dataflow, lane = deployment.clients.dataflow, deployment.lane
    first = dataflow.launch(launch_of(deployment))
    assert first.state.active
    running = JobRunningSensor(task_id="wait", job_id=first.id)
    eventually(lambda: run_task(running), what="RUNNING")
    assert dataflow.active(first.name).labels["imagen-run"] == "a-test"

    lane.publish("a fox in the snow", "   ")
    lane.predictions(1)
    lane.dead_letters(1)
    # A prompt counts with its batch, and each of the two may have one to itself.
    counters = eventually(
        lambda: (found := dataflow.counters(first.id)).get("prompts") == 2 and found,
        what="counters of both",
    )
    assert (counters["predictions"], counters["failures"]) == (1, 1)
    now = datetime.now(UTC)
    for metric in ("system_lag", "data_watermark_age"):
        reading = deployment.clients.monitoring.newest(
            f"dataflow.googleapis.com/job/{metric}", at=now, metric__job_id=first.id
        )
        assert reading is not None
        assert reading.value >= 0

    second = dataflow.launch(launch_of(deployment, max_workers=3), update=True)
    assert second.id != first.id
    eventually(lambda: run_task(JobRunningSensor(task_id="wait", job_id=second.id)))
    ended = eventually(lambda: run_task(JobEndedSensor(task_id="wait", job_id=first.id)))
    assert ended.xcom_value == "UPDATED"

    dataflow.drain(second.id)
    ended = eventually(lambda: run_task(JobEndedSensor(task_id="wait", job_id=second.id)))
    assert ended.xcom_value == "DRAINED"
    assert dataflow.active(first.name) is None
    assert dataflow.last_ended(first.name).id == second.id
    assert lane.nothing_left("prompts")


def test_a_job_that_fails_says_why_in_the_waiting_tasks_error(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.stream.sensors import JobRunningSensor

    launch = launch_of(deployment)
    missing = f"projects/{deployment.settings.project}/subscriptions/no-such-sub"
    parameters = {**launch.parameters, "messages_subscription": missing}
    job = deployment.clients.dataflow.launch(dataclasses.replace(launch, parameters=parameters))
    waiting = JobRunningSensor(task_id="wait", job_id=job.id)

    def failure() -> str:
        try:
            run_task(waiting)
        except AirflowFailException as error:
            return str(error)
        return ""

    text = eventually(failure, what="the job's failure")
    assert "FAILED" in text
    assert "no-such-sub" in text
    assert waiting.linked_job.job_id == job.id
