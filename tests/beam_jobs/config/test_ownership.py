"""A job uses nothing of another project or bucket that its options don't list."""

import pytest

from beam_jobs.config.job_config import OptionsError, job_config
from tests.beam_jobs.config.test_job_config import BACKFILL, STREAM, complaints, config, options

OTHERS_ENDPOINT = "projects/other/locations/europe-west4/endpoints/1"
FLUX = {"model": "flux-1", "model_endpoint": OTHERS_ENDPOINT}
OF_OTHERS = [
    (STREAM, "messages_subscription", "projects/other/subscriptions/s"),
    (STREAM, "responses_topic", "projects/other/topics/t"),
    (STREAM, "dead_letter_topic", "projects/other/topics/t"),
    (STREAM, "network", "projects/other/global/networks/n"),
    (STREAM, "subnetwork", "projects/other/regions/us-central1/subnetworks/s"),
    (STREAM, "service_account_email", "worker@other.iam.gserviceaccount.com"),
    (STREAM, "temp_location", "gs://other-bucket/temp"),
    (STREAM, "staging_location", "gs://other-bucket/staging"),
    (BACKFILL, "prompts", "gs://other-bucket/prompts/*"),
    (BACKFILL, "report", "gs://other-bucket/report.json"),
]
LISTS = {"allowed_projects": " other , 123,", "allowed_buckets": "other-bucket"}


@pytest.mark.parametrize(("base", "option", "value"), OF_OTHERS)
def test_each_option_that_names_anothers_resource_is_refused_and_allowed_by_a_list(
    base: dict[str, str], option: str, value: str
) -> None:
    (line,) = complaints(base, project="p-1", **{option: value})
    assert line.startswith(f"--{option}: ")
    assert "--allowed_buckets" in line if "://" in value else "--allowed_projects" in line
    config(base, project="p-1", **{option: value}, **LISTS)


def test_an_endpoint_of_another_project_gets_no_prompt() -> None:
    (line,) = complaints(**FLUX)
    assert f"--model_endpoint: '{OTHERS_ENDPOINT}' is of the project 'other', not of p-1" in line
    assert config(**FLUX, allowed_projects="other").defaults.model_endpoint == OTHERS_ENDPOINT


def test_without_a_project_the_own_one_is_that_of_the_responses_topic() -> None:
    config()
    (line,) = complaints(dead_letter_topic="projects/other/topics/t")
    assert line.startswith("--dead_letter_topic: ")
    assert len(complaints(project="other")) == 3, "the topics and the subscription are p-1's"


def test_the_templates_launcher_stages_in_an_allowed_bucket_too() -> None:
    flex = {"template_location": "gs://other-bucket/staging/template_launches/1/job_object"}
    assert complaints(**flex)[0].startswith("--template_location: ")
    config(**flex, allowed_buckets="other-bucket")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("allowed_projects", "projects/other", "ids or numbers of projects, got 'projects/other'"),
        ("allowed_projects", "ok-project,*", "got '*'"),
        ("allowed_buckets", "gs://other", "names of buckets without gs://, got 'gs://other'"),
    ],
)
def test_a_malformed_list_is_a_problem_of_its_own(option: str, value: str, expected: str) -> None:
    (line,) = complaints(**{option: value})
    assert line.startswith(f"--{option}: expected comma-separated ")
    assert expected in line


def test_all_of_them_are_listed_at_once() -> None:
    named = {option: value for base, option, value in OF_OTHERS if base is STREAM}
    # Two topics that are equal are another problem.
    named["dead_letter_topic"] += "-2"
    with pytest.raises(OptionsError) as caught:
        job_config(options(**named, project="p-1"), streaming=True)
    assert len(str(caught.value).splitlines()) == len(named)
