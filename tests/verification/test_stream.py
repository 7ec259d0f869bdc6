"""The stream's checks, as far as they look at jobs: listings, and what a launcher passes on."""

from typing import Any

import pytest

from tests.conftest import Lane
from tests.verification.answers import Answers
from tests.verification.conftest import Verifying, differs, holds

JOBS = "/v1b3/projects/demo-project/locations/us-central1/jobs"


@pytest.fixture
def dataflow(verifying: Verifying, answers: Answers) -> Answers:
    """Dataflow as the answers have it, in place of its stand-in."""
    access = verifying.visit.access
    name = "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW"
    access._environment = {**access._environment, name: answers.url}
    return answers


def job(**options: Any) -> dict[str, Any]:
    asked = {
        "service_account_email": "imagen-worker@demo-project.iam.gserviceaccount.com",
        "machine_type": "n2-standard-2",
        "use_public_ips": False,
        "max_num_workers": 2,
    }
    return {"environment": {"sdkPipelineOptions": {"options": {**asked, **options}}}}


def test_a_job_that_is_launched_as_asked_holds(verifying: Verifying, dataflow: Answers) -> None:
    verifying.visit.known["stream job"] = "1"
    dataflow.at[f"{JOBS}/1"] = (200, job())
    holds(verifying.ask("launched as asked"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"service_account_email": "1-compute@developer.gserviceaccount.com"}, "it runs as 1-comp"),
        ({"machine_type": "n1-standard-1"}, "its machines are n1-standard-1"),
        ({"use_public_ips": True}, "public addresses"),
        ({"max_num_workers": None}, "maximum number of workers"),
    ],
)
def test_what_the_launcher_does_not_pass_on_is_found(
    verifying: Verifying, dataflow: Answers, options: dict[str, Any], words: str
) -> None:
    verifying.visit.known["stream job"] = "1"
    dataflow.at[f"{JOBS}/1"] = (200, job(**options))
    differs(verifying.ask("launched as asked"), words)


def test_a_job_that_no_listing_shows_is_found(verifying: Verifying) -> None:
    verifying.visit.known["stream listed"] = (5.0, {"QUEUED": 6.0, "RUNNING": 90.0})
    assert "while QUEUED too" in holds(verifying.ask("jobs listed")).seen
    verifying.visit.known["stream listed"] = (5.0, {"RUNNING": 190.0})
    differs(verifying.ask("jobs listed"), "listed 185 s after the launch")
    verifying.visit.known["stream listed"] = (5.0, {})
    differs(verifying.ask("jobs listed"), "no listing showed the job")


def test_a_stream_that_works_already_is_left_alone(verifying: Verifying, dataflow: Answers) -> None:
    name = verifying.visit.deployment.stream_job
    active = {"id": "7", "name": name, "currentState": "JOB_STATE_RUNNING"}
    dataflow.at[JOBS] = (200, {"jobs": [active]})
    differs(verifying.ask("nothing runs"), "job 7 is RUNNING", "imagen_stream_drain")


def airflow_says(answers: Answers, dag_id: str, state: str, **tasks: str) -> None:
    runs = f"/api/v2/dags/{dag_id}/dagRuns"
    found = [{"task_id": name, "state": what} for name, what in tasks.items()]
    answers.at[runs] = (200, {"dag_run_id": "r"})
    answers.at[f"{runs}/r"] = (200, {"state": state})
    answers.at[f"{runs}/r/taskInstances"] = (200, {"task_instances": found})
    xcom = f"{runs}/r/taskInstances/launch/xcomEntries/return_value"
    answers.at[xcom] = (200, {"value": "1"})


def test_a_start_that_fails_is_found_with_its_task(verifying: Verifying, dataflow: Answers) -> None:
    dataflow.at[JOBS] = (200, {})
    airflow_says(dataflow, "imagen_stream_start", "failed", launch="failed")
    differs(verifying.ask("stream start"), "failed in launch")


def test_a_job_that_ended_after_its_canary_is_found(
    verifying: Verifying, dataflow: Answers
) -> None:
    dataflow.at[JOBS] = (200, {})
    dataflow.at[f"{JOBS}/1"] = (200, {"currentState": "JOB_STATE_FAILED"})
    airflow_says(dataflow, "imagen_stream_start", "success", launch="success")
    differs(verifying.ask("stream start"), "job 1 is FAILED after its canary came back")


def test_an_update_that_starts_no_other_job_is_found(
    verifying: Verifying, dataflow: Answers
) -> None:
    verifying.visit.known["stream job"] = "1"
    dataflow.at[f"{JOBS}/1"] = (200, {"currentState": "JOB_STATE_RUNNING"})
    airflow_says(dataflow, "imagen_stream_start", "success", launch="success")
    result = verifying.ask("update in place", within_s=1)
    differs(result, "the job was 1, which is RUNNING, and is 1")


def test_a_drain_that_cancels_is_found(verifying: Verifying, dataflow: Answers) -> None:
    verifying.visit.known["stream job"] = "1"
    dataflow.at[f"{JOBS}/1"] = (200, {"currentState": "JOB_STATE_CANCELLED"})
    airflow_says(dataflow, "imagen_stream_drain", "success")
    differs(verifying.ask("drain"), "job 1 is CANCELLED")


def test_a_drain_takes_back_what_waits_so_that_nobody_pays_for_it_later(
    verifying: Verifying, dataflow: Answers, lane: Lane
) -> None:
    verifying.visit.known["stream job"] = "1"
    dataflow.at[f"{JOBS}/1"] = (200, {"currentState": "JOB_STATE_DRAINED"})
    airflow_says(dataflow, "imagen_stream_drain", "success")
    lane.publish("somebody's own prompt")
    assert "0 came back, and 3 waited" in holds(verifying.ask("drain")).seen
    answer = lane.subscriber.pull(
        subscription=lane.subscription("prompts"), max_messages=10, timeout=60
    )
    assert [each.message.data for each in answer.received_messages] == [b"somebody's own prompt"]
