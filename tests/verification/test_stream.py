"""The stream's checks, as far as they look at jobs: listings, and what a launcher passes on."""

from typing import Any

import pytest

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
