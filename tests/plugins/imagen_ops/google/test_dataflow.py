"""The life of a stream as hooks and sensors see it, with a real job on the local Dataflow."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.plugins.conftest import Deployment

pytestmark = pytest.mark.slow

Run = Callable[..., Any]


def launch_request(deployment: Deployment, **form: Any) -> Any:
    from imagen_ops.jobs.launch_request import stream_launch_request
    from imagen_ops.jobs.params import JobForm

    form = {"model": deployment.settings.model, **form}
    return stream_launch_request(deployment.settings, JobForm(**form), run_label="a-test")


def test_a_stream_is_launched_updated_measured_and_drained(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    from imagen_ops.stream.sensors import JobEndedSensor, JobRunningSensor

    dataflow, lane = deployment.clients.dataflow, deployment.lane
    first = dataflow.launch(launch_request(deployment))
    assert first.state.active
    running = JobRunningSensor(task_id="wait", job_id=first.id)
    eventually(lambda: run_task(running), what="RUNNING")
    assert dataflow.active(first.name).labels["imagen-run"] == "a-test"

    lane.publish("a fox in the snow", "   ")
    lane.predictions(1)
    lane.dead_letters(1)
    # A prompt is counted with its batch, and the two may be in different batches.
    counters = eventually(
        lambda: (values := dataflow.counters(first.id)).get("prompts") == 2 and values,
        what="the counters of both",
    )
    assert (counters["predictions"], counters["failures"]) == (1, 1)
    now = datetime.now(UTC)
    for metric in ("system_lag", "data_watermark_age"):
        reading = deployment.clients.monitoring.newest(
            f"dataflow.googleapis.com/job/{metric}", at=now, metric__job_id=first.id
        )
        assert reading is not None
        assert reading.value >= 0

    second = dataflow.launch(launch_request(deployment, max_workers=3), update=True)
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


def test_the_error_of_a_waiting_task_says_why_its_job_failed(
    deployment: Deployment, run_task: Run, eventually: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.stream.sensors import JobRunningSensor

    launch = launch_request(deployment)
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
