"""What a launch of a template is refused for, and what becomes of one that is not."""

import json
import threading
from typing import Any

import pytest
from googleapiclient.errors import HttpError

STREAM = "gs://bucket/templates/stream.json"


def refused(call: Any, *args: Any, **kwargs: Any) -> HttpError:
    with pytest.raises(HttpError) as caught:
        call(*args, **kwargs)
    return caught.value


def status_of(error: HttpError) -> tuple[int, str]:
    return error.status_code, json.loads(error.content)["error"]["status"]


@pytest.mark.slow
def test_a_job_is_queued_then_pending_then_running(dataflow, tmp_path):
    dataflow.settings.queued_s = 600
    start = tmp_path / "start"
    job_id = dataflow.launch(parameters={"starts_with": str(start)})["id"]
    seen = []

    def new() -> str | None:
        state = dataflow.state_of(job_id)
        return None if state in seen else state

    for _ in range(3):
        seen.append(dataflow.eventually(new, what="another state"))
        if seen[-1] == "QUEUED":
            dataflow.no_longer_queued(job_id)
        if seen[-1] == "PENDING":
            start.touch()
    assert seen == ["QUEUED", "PENDING", "RUNNING"]


def test_the_answer_to_a_launch_has_an_id_of_googles_form_and_no_state_yet(dataflow):
    job = dataflow.launch()
    assert job["name"] == "imagen-stream"
    assert "currentState" not in job
    day, number = job["id"].rsplit("-", 1)
    assert len(day) == len("2026-11-22_12_34_56")
    assert len(number) == 19


@pytest.mark.slow
def test_a_stream_is_pending_until_its_process_really_works(dataflow):
    job = dataflow.launch(parameters={"never_ready": "1"})
    log = dataflow.file(job["id"], "log")
    dataflow.eventually(lambda: log.exists() and log.read_text(), what="the process")
    assert dataflow.state_of(job["id"]) == "PENDING"


def test_parameters_that_do_not_fit_are_listed_all_at_once(dataflow):
    error = refused(
        dataflow.launch_raw,
        jobName="a",
        containerSpecGcsPath=STREAM,
        parameters={"colour": "red"},
    )
    assert status_of(error) == (400, "INVALID_ARGUMENT")
    assert "words: Missing required parameter" in error.reason
    assert "colour: Unrecognized parameter" in error.reason
    error = refused(dataflow.launch, parameters={"words": "UPPER"})
    assert "words: Parameter didn't match regex" in error.reason


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        ({"jobNam": "a"}, "Unknown name \"jobNam\" at 'launch_parameter': Cannot find field."),
        (
            {"environment": {"maxWorker": 1}},
            "Unknown name \"maxWorker\" at 'launch_parameter.environment': Cannot find field.",
        ),
        ({"update": "yes"}, "Invalid value at 'launch_parameter.update' (TYPE_BOOL), \"yes\""),
        ({"parameters": {"words": 1}}, "Invalid value at 'launch_parameter.parameters[words]'"),
        ({"environment": {"ipConfiguration": "NONE"}}, "(TYPE_ENUM)"),
        ({"environment": {"tempLocation": "/tmp"}}, "tempLocation: expected gs://"),
        ({"environment": {"additionalUserLabels": {"A": "b"}}}, "A=b is no label"),
        ({"environment": {"numWorkers": 3, "maxWorkers": 2}}, "numWorkers: 3 is more than"),
        ({"containerSpecGcsPath": "bucket/stream.json"}, "expected gs://BUCKET/OBJECT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_launch_that_makes_no_sense_is_refused_with_what_is_wrong(dataflow, launch, words):
    fine = {"jobName": "a", "containerSpecGcsPath": STREAM, "parameters": {"words": "needed"}}
    error = refused(dataflow.launch_raw, body={**fine, **launch})
    assert status_of(error) == (400, "INVALID_ARGUMENT")
    assert words in error.reason
    assert dataflow.list() == {}


@pytest.mark.parametrize("name", ["", "Imagen", "9lives", "ends-", "a_b", "a" * 1025])
def test_a_name_that_dataflow_does_not_take_is_refused(dataflow, name):
    assert "Invalid job name" in refused(dataflow.launch, name).reason


def test_names_of_one_letter_and_of_the_greatest_length_are_taken(dataflow):
    for name in ("a", "a" * 1024):
        dataflow.launch(name, validate_only=True)


def test_a_missing_template_is_404_and_an_invalid_one_400(dataflow):
    error = refused(dataflow.launch, kind="other")
    assert status_of(error) == (404, "NOT_FOUND")
    assert "gs://bucket/templates/other.json" in error.reason
    dataflow.objects.contents["bucket", "templates/other.json"] = b"{not json"
    assert status_of(refused(dataflow.launch, kind="other"))[0] == 400
    dataflow.objects.contents["bucket", "templates/other.json"] = b'{"image": "gcr.io/p/what:1"}'
    assert "Unable to pull image gcr.io/p/what:1" in refused(dataflow.launch, kind="other").reason


def test_validate_only_checks_everything_and_starts_nothing(dataflow):
    assert dataflow.launch(validate_only=True) == {}
    assert dataflow.list() == {}
    refused(dataflow.launch, validate_only=True, parameters={"words": "UPPER"})
    dataflow.launch()
    assert status_of(refused(dataflow.launch, validate_only=True)) == (409, "ALREADY_EXISTS")


def test_of_many_launches_of_one_name_at_the_same_moment_exactly_one_wins(dataflow):
    outcomes = []
    together = threading.Barrier(6)

    def launch() -> None:
        together.wait()
        try:
            outcomes.append(dataflow.launch()["id"])
        except HttpError as error:
            outcomes.append(status_of(error))

    threads = [threading.Thread(target=launch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes))[:5] == ["(409, 'ALREADY_EXISTS')"] * 5
    assert len(dataflow.list()["jobs"]) == 1


@pytest.mark.slow
def test_a_name_is_held_until_the_drain_is_over(dataflow, tmp_path):
    finished = tmp_path / "finished"
    job_id = dataflow.running(parameters={"drains_until": str(finished)})
    dataflow.request(job_id, "DRAINED")
    assert dataflow.state_of(job_id) == "DRAINING"
    error = refused(dataflow.launch)
    assert status_of(error) == (409, "ALREADY_EXISTS")
    assert job_id in error.reason
    finished.touch()
    dataflow.wait(job_id, "DRAINED")
    assert dataflow.launch()["id"] != job_id


@pytest.mark.slow
def test_the_process_gets_parameters_environment_and_the_addresses_of_the_stand_ins(dataflow):
    job_id = dataflow.running(
        environment={
            "maxWorkers": 3,
            "numWorkers": 2,
            "tempLocation": "gs://bucket/tmp",
            "subnetwork": "regions/r/subnetworks/s",
            "serviceAccountEmail": "a@b.iam.gserviceaccount.com",
            "ipConfiguration": "WORKER_IP_PRIVATE",
            "additionalUserLabels": {"team": "pictures"},
            "additionalExperiments": ["fast"],
            "additionalPipelineOptions": ["--seconds=50"],
        }
    )
    log = dataflow.file(job_id, "log")
    # The job runs as soon as one of its workers does.
    seen = json.loads(dataflow.eventually(log.read_text, what="the log").splitlines()[0])
    assert seen["topic"] == "from the local cloud"
    assert set(seen["arguments"]) == {
        "--job_name=imagen-stream",
        "--project=demo-project",
        "--region=us-central1",
        "--words=needed",
        "--max_num_workers=3",
        "--num_workers=2",
        "--machine_type=e2-standard-2",
        "--temp_location=gs://bucket/tmp",
        "--subnetwork=regions/r/subnetworks/s",
        "--service_account_email=a@b.iam.gserviceaccount.com",
        "--no_use_public_ips",
        "--labels=team=pictures",
        "--experiments=fast",
        "--seconds=50",
        "--runner=localcloud.runner.MicroBatchRunner",
        f"--metrics_file={dataflow.file(job_id, 'metrics.json')}",
    }


@pytest.mark.slow
def test_an_update_takes_the_place_of_the_running_job_which_finishes(dataflow, tmp_path):
    finished = tmp_path / "finished"
    old = dataflow.running(parameters={"drains_until": str(finished)})
    new = dataflow.launch(update=True)["id"]
    dataflow.wait(new, "RUNNING")
    dataflow.wait(old, "UPDATED")
    assert dataflow.get(old)["replacedByJobId"] == new
    assert dataflow.get(new)["replaceJobId"] == old
    assert dataflow.file(old, "pid").exists()
    finished.touch()
    dataflow.eventually(lambda: not dataflow.file(old, "pid").exists(), what="the old one's end")
    assert "asked to end" in dataflow.file(old, "log").read_text()
    assert dataflow.state_of(old) == "UPDATED"
    assert [job["id"] for job in dataflow.list(filter="ACTIVE")["jobs"]] == [new]


@pytest.mark.slow
def test_what_an_updated_job_does_not_finish_in_time_is_left_to_the_new_one(dataflow, tmp_path):
    dataflow.settings.updated_s = 0.5
    old = dataflow.running(parameters={"drains_until": str(tmp_path / "never")})
    dataflow.wait(dataflow.launch(update=True)["id"], "RUNNING")
    dataflow.eventually(lambda: not dataflow.file(old, "pid").exists(), what="the old one's end")
    assert dataflow.state_of(old) == "UPDATED"


@pytest.mark.slow
def test_an_update_that_fails_leaves_the_old_job_running(dataflow):
    old = dataflow.running()
    new = dataflow.launch(update=True, parameters={"never_ready": "1", "seconds": "0.1"})["id"]
    dataflow.wait(new, "FAILED")
    assert dataflow.state_of(old) == "RUNNING"


@pytest.mark.slow
def test_only_a_running_streaming_job_that_is_not_being_updated_can_be_updated(dataflow):
    assert "there is no running job of that name" in refused(dataflow.launch, update=True).reason
    assert "only streaming jobs" in refused(dataflow.launch, kind="backfill", update=True).reason
    dataflow.running()
    dataflow.launch(update=True, parameters={"never_ready": "1"})
    assert "cannot be updated now" in refused(dataflow.launch, update=True).reason
