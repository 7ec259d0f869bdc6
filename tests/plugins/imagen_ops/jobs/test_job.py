"""Parsing jobs as Dataflow's REST API represents them."""

from datetime import UTC, datetime

import pytest

from imagen_ops.jobs.job import Job, JobState, parse_api_time

RESOURCE = {
    "id": "2026-11-03_01_02_03-42",
    "name": "imagen-stream",
    "type": "JOB_TYPE_STREAMING",
    "currentState": "JOB_STATE_RUNNING",
    "currentStateTime": "2026-11-03T09:05:00.123456789Z",
    "createTime": "2026-11-03T09:02:03Z",
    "location": "europe-west4",
    "labels": {"goog-dataflow-sdk-name": "apache_beam_sdk_for_python"},
}


def test_a_resource_becomes_a_job() -> None:
    assert Job.from_api(RESOURCE) == Job(
        id="2026-11-03_01_02_03-42",
        name="imagen-stream",
        state=JobState.RUNNING,
        state_since=datetime(2026, 11, 3, 9, 5, 0, 123456, UTC),
        created=datetime(2026, 11, 3, 9, 2, 3, tzinfo=UTC),
        labels={"goog-dataflow-sdk-name": "apache_beam_sdk_for_python"},
    )


def test_a_launch_response_becomes_a_job_without_details() -> None:
    response = {"id": "j", "name": "n", "currentStateTime": "1970-01-01T00:00:00Z"}
    assert Job.from_api(response) == Job("j", "n", JobState.UNKNOWN)


@pytest.mark.parametrize("missing", ["id", "name"])
def test_a_resource_without_an_id_or_a_name_is_rejected_with_its_fields(missing: str) -> None:
    resource = {key: value for key, value in RESOURCE.items() if key != missing}
    with pytest.raises(ValueError, match="currentState"):
        Job.from_api(resource)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("JOB_STATE_RUNNING", JobState.RUNNING),
        ("RUNNING", JobState.RUNNING),
        ("JOB_STATE_RESOURCE_CLEANING_UP", JobState.RESOURCE_CLEANING_UP),
        ("JOB_STATE_INVENTED_NEXT_YEAR", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
        (None, JobState.UNKNOWN),
    ],
)
def test_a_state_is_parsed_by_name_and_any_other_name_is_unknown(
    name: str | None, state: JobState
) -> None:
    assert JobState.parse(name) is state


def test_the_text_of_a_job_has_its_name_id_and_state() -> None:
    assert str(Job.from_api(RESOURCE)) == "imagen-stream (2026-11-03_01_02_03-42, RUNNING)"


def test_a_job_of_which_only_the_launch_is_known_is_not_told_to_be_unknown() -> None:
    assert Job("1", "a", JobState.RUNNING).standing == "job 1 is RUNNING"
    unknown = Job("1", "a", JobState.UNKNOWN).standing
    assert unknown == "job 1 was launched; its state is not known yet"


def test_every_state_of_the_api_is_known() -> None:
    import json
    from pathlib import Path

    import googleapiclient

    path = Path(googleapiclient.__file__).parent / "discovery_cache/documents/dataflow.v1b3.json"
    schema = json.loads(path.read_text())["schemas"]["Job"]["properties"]["currentState"]
    assert {f"JOB_STATE_{state}" for state in JobState} == set(schema["enum"])


def test_a_state_is_either_terminal_or_active() -> None:
    terminal = {state for state in JobState if state.terminal}
    assert terminal == {"DRAINED", "CANCELLED", "FAILED", "UPDATED", "DONE"}
    assert {state for state in JobState if state.active} == set(JobState) - terminal


def test_stopped_means_not_started_yet() -> None:
    assert JobState.STOPPED.active
    assert JobState.STOPPED.starting


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-03T09:05:00Z", datetime(2026, 11, 3, 9, 5, tzinfo=UTC)),
        ("2026-11-03T09:05:00.1Z", datetime(2026, 11, 3, 9, 5, 0, 100000, UTC)),
        ("2026-11-03T09:05:00.999999999Z", datetime(2026, 11, 3, 9, 5, 0, 999999, UTC)),
        ("2026-11-03T11:05:00+02:00", datetime(2026, 11, 3, 9, 5, tzinfo=UTC)),
        ("soon", None),
        ("", None),
        (None, None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_a_time_of_any_precision_is_parsed_and_anything_else_is_none(
    text: str | None, time: datetime | None
) -> None:
    assert parse_api_time(text) == time
