"""Whose a resource is, and which of them a deployment lets its jobs use."""

import re

import pytest

from beam_jobs.allowed import BUCKET_PATTERN, PROJECT_PATTERN, Allowed, names_in

OWN = Allowed(project="own-project", bucket="own-bucket")
WIDER = Allowed(
    project="own-project",
    bucket="own-bucket",
    projects=("network-host", "123456", "example.com:models"),
    buckets=("shared",),
)
COMPUTE = "https://www.googleapis.com/compute/v1"

# What is checked, the value, and the project that it is of; None: the own one.
OF_PROJECTS = [
    ("resource", "projects/{}/topics/predictions"),
    ("resource", "projects/{}/subscriptions/prompts-sub"),
    ("resource", "projects/{}/locations/us-central1/endpoints/1"),
    ("resource", "projects/{}/locations/global/publishers/google/models/imagen-4"),
    ("network", "projects/{}/regions/r/subnetworks/s"),
    ("network", COMPUTE + "/projects/{}/regions/r/subnetworks/s"),
    ("network", "https://compute.googleapis.com/compute/v1/projects/{}/regions/r/subnetworks/s"),
    ("network", "projects/{}/global/networks/n"),
    ("account", "worker@{}.iam.gserviceaccount.com"),
    ("account", "{}@appspot.gserviceaccount.com"),
]


@pytest.mark.parametrize(("kind", "form"), OF_PROJECTS)
def test_the_own_project_is_allowed_and_others_where_they_are_listed(kind: str, form: str) -> None:
    assert getattr(OWN, kind)("--x", form.format("own-project")) == []
    (refusal,) = getattr(OWN, kind)("--x", form.format("network-host"))
    assert refusal.startswith("--x: ")
    assert "of the project 'network-host', not of own-project" in refusal
    assert "--allowed_projects doesn't list it" in refusal
    assert getattr(WIDER, kind)("--x", form.format("network-host")) == []


@pytest.mark.parametrize(("kind", "form"), OF_PROJECTS)
@pytest.mark.parametrize(
    "other", ["own-project-2", "own-projec", "Own-project", "x-own-project", "own-project.evil"]
)
def test_a_name_that_is_nearly_the_own_one_is_another(kind: str, form: str, other: str) -> None:
    assert len(getattr(OWN, kind)("--x", form.format(other))) == 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("resource", "projects/123456/locations/us-central1/endpoints/1"),
        ("resource", "projects/123456/topics/t"),
        ("network", "projects/123456/regions/r/subnetworks/s"),
        ("account", "123456-compute@developer.gserviceaccount.com"),
    ],
)
def test_a_number_is_allowed_only_where_it_is_listed_itself(kind: str, value: str) -> None:
    (refusal,) = getattr(OWN, kind)("--x", value)
    assert "list 123456" in refusal
    assert "write the project's id instead" in refusal
    assert "even if it is own-project's own" in refusal
    assert getattr(WIDER, kind)("--x", value) == []
    assert getattr(WIDER, kind)("--x", value.replace("123456", "1234567")) != []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("resource", "projects/example.com:models/locations/us-central1/endpoints/1"),
        ("network", "projects/example.com:models/regions/r/subnetworks/s"),
        ("account", "worker@models.example.com.iam.gserviceaccount.com"),
        ("account", "models.example.com@appspot.gserviceaccount.com"),
    ],
)
def test_a_project_of_a_domain_is_written_in_two_ways(kind: str, value: str) -> None:
    assert "'example.com:models'" in getattr(OWN, kind)("--x", value)[0]
    assert getattr(WIDER, kind)("--x", value) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(
            (kind, value)
            for kind in ("resource", "network", "account", "path")
            for value in ("", None)
        ),
        ("network", "regions/us-central1/subnetworks/imagen"),
        ("network", "default"),
        ("path", "/tmp/prompts/*.txt"),
        ("path", "prompts/a.txt"),
        ("path", "projects/other/topics/a.txt"),
        ("path", "file:///tmp/a.txt"),
        ("path", "gs://own-bucket"),
        ("path", "gs://own-bucket/prompts/*.txt"),
        ("resource", "gemini-3.1-flash-image"),
        ("resource", "stream"),
    ],
)
def test_what_names_no_other_project_or_bucket_is_allowed(kind: str, value: str | None) -> None:
    assert getattr(OWN, kind)("--x", value) == []


@pytest.mark.parametrize(
    "value",
    [
        "gs://other/a",
        "gs://own-bucket-2/a",
        "gs://own-bucke*/a",
        "gs://{own-bucket,other}/a",
        "gs://shared.example.com/a",
        "gs:///own-bucket/a",
    ],
)
def test_a_path_in_another_bucket_is_refused(value: str) -> None:
    for allowed in (OWN, WIDER):
        (refusal,) = allowed.path("--prompts", value)
        assert refusal.startswith(f"--prompts: {value!r} is not in gs://own-bucket")
        assert "--allowed_buckets doesn't list" in refusal
    assert WIDER.path("--prompts", "gs://shared/a") == []


@pytest.mark.parametrize("value", ["s3://own-bucket/a", "GS://own-bucket/a", "hdfs://h/a"])
def test_a_path_in_another_file_system_is_refused(value: str) -> None:
    assert "expected gs://BUCKET/… in lower case" in OWN.path("--prompts", value)[0]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("network", "https://example.com/regions/r/subnetworks/s", "regions/REGION/subnetworks"),
        ("network", "//compute.example/projects/x/regions/r/subnetworks/s", "regions/REGION"),
        ("network", "projects/own-project", "regions/REGION"),
        ("account", "worker", "NAME@PROJECT.iam.gserviceaccount.com"),
        ("account", "somebody@example.com", "NAME@PROJECT.iam.gserviceaccount.com"),
        ("account", "x@own-project.iam.gserviceaccount.com.evil.example", "NAME@PROJECT"),
        ("account", "own-compute@developer.gserviceaccount.com", "NAME@PROJECT"),
    ],
)
def test_a_name_whose_project_cannot_be_told_is_refused(
    kind: str, value: str, expected: str
) -> None:
    (refusal,) = getattr(OWN, kind)("IMAGEN_X", value)
    assert refusal.startswith("IMAGEN_X: expected ")
    assert expected in refusal


def test_a_message_is_short_and_shows_what_was_given_on_one_line() -> None:
    (refusal,) = OWN.resource("--x", f"projects/{'o' * 5000}/topics/t")
    assert len(refusal) < 900
    (refusal,) = OWN.path("--x", "gs://a\nb/c")
    assert "\n" not in refusal


def test_a_list_is_separated_by_commas_and_has_each_name_once() -> None:
    assert names_in(" b, a ,,b,") == ("b", "a")
    assert names_in(None) == names_in("") == names_in(" , ") == ()


@pytest.mark.parametrize("name", ["my-project", "123456", "example.com:my-project", "a1"])
def test_projects_have_ids_or_numbers(name: str) -> None:
    assert re.fullmatch(PROJECT_PATTERN, name)


@pytest.mark.parametrize("name", ["My-project", "projects/p", "a_b", "*", "p\n", "example:p", ""])
def test_what_is_no_project_is_told(name: str) -> None:
    assert not re.fullmatch(PROJECT_PATTERN, name)
    assert not re.fullmatch(BUCKET_PATTERN, name) or name == "a_b"
