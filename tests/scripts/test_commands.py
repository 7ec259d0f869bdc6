"""What the scripts call once all is there, word by word."""

import pytest

from beam_jobs.catalog import DEFAULT_MODEL
from imagen_ops.jobs.launch_request import stream_launch_request
from imagen_ops.jobs.params import JobForm
from imagen_ops.settings import Settings
from localcloud.dataflow.flags import flags_of

OURS = {"PROJECT": "my-project", "REGION": "us-central1", "IMAGE_TAG": "abc"}
REGISTRY = "us-central1-docker.pkg.dev/my-project/imagen"
REFUSALS = {
    # Google's, without the job's id.
    "google": "google.api_core.exceptions.Conflict: 409 POST https://dataflow.googleapis.com/…: "
    "(78f6): There is already an active job named imagen-stream. If you want to  submit a second "
    "job, try again by setting a different name.\n",
    # Beam's, for the answer that is the job which is there.
    "beam": "DataflowJobAlreadyExistsError: There is already active job named imagen-stream with "
    "id: 2026-10-31_1-9. If you want to submit a second job, try again by setting a different "
    "name using --job_name.\n",
}
SUBMITTED = (
    "2026-11-01 00:00:00,000 INFO apache_beam.runners.dataflow Submitted job: 2026-11-01_1-2\n"
)


@pytest.fixture
def ready(place):
    place.install("gcloud")
    place.install_python()
    images = ("imagen-stream", "imagen-backfill", "imagen-prefetch-import")
    tags = "".join(f"{image}\tabc\n" for image in images) + "imagen-stream\tabcd\n"
    place.answer("gcloud", "artifacts docker tags list", out=tags)
    place.answer("python", "-m beam_jobs.stream", err=SUBMITTED)
    return place


def settings(**others):
    return Settings(
        project="my-project",
        region="us-central1",
        bucket="my-project-imagen",
        stream_template="gs://my-project-imagen/templates/stream.json",
        backfill_template="gs://my-project-imagen/templates/backfill.json",
        worker_service_account="imagen-worker@my-project.iam.gserviceaccount.com",
        worker_subnetwork="regions/us-central1/subnetworks/imagen",
        **others,
    )


def test_what_is_launched_is_what_airflow_launches(ready):
    done = ready.script("01_run_dataflow", **OURS)
    assert (done.returncode, done.stderr) == (0, "")
    (call,) = ready.calls("python", "-m", "beam_jobs.stream")
    form = JobForm(model=DEFAULT_MODEL)
    launch = stream_launch_request(settings(), form, run_label="run")
    image = {"sdkContainerImage": f"{REGISTRY}/imagen-stream:abc"}
    airflows = {f"--{name}={value}" for name, value in launch.parameters.items()}
    airflows |= set(flags_of({**launch.environment, **image}))
    place = {"--project=my-project", "--region=us-central1", f"--job_name={launch.job_name}"}
    assert set(call[2:]) - airflows == place | {"--runner=DataflowRunner"}
    assert airflows - set(call[2:]) == {
        "--labels=imagen-run=run",  # no run of a DAG
        # As the job's own defaults are.
        "--max_in_flight=64",
        "--max_retry_seconds=600",
        "--request_tier=standard",
        "--thumbnails=on",
    }


def test_more_arguments_come_last_and_whole(ready):
    ready.script("01_run_dataflow", "--update", "--labels=team=a b", **OURS, MAX_WORKERS="7")
    (call,) = ready.calls("python", "-m", "beam_jobs.stream")
    assert call[-2:] == ["--update", "--labels=team=a b"]
    assert "--max_num_workers=7" in call
    assert not [argument for argument in call if "dataflow_endpoint" in argument]


def test_a_launch_ends_with_where_to_look(ready):
    done = ready.script("01_run_dataflow", **OURS)
    console = "https://console.cloud.google.com/dataflow/jobs/us-central1/2026-11-01_1-2"
    assert "Submitted: job 2026-11-01_1-2\n" in done.stdout
    assert f"{console}?project=my-project\n" in done.stdout
    assert list(ready.edge.glob("imagen-launch.*")) == []


@pytest.mark.parametrize("words", REFUSALS)
def test_a_second_stream_is_refused_with_what_can_be_done(ready, words):
    ready.answer("python", "-m beam_jobs.stream", err=REFUSALS[words], code=1)
    ready.answer("gcloud", "dataflow jobs list", out="2026-10-31_1-9\n")
    done = ready.script("01_run_dataflow", **OURS)
    assert done.returncode == 1
    assert "a job named imagen-stream is already active: 2026-10-31_1-9" in done.stderr
    assert "scripts/01_run_dataflow.sh --update" in done.stderr
    drain = "gcloud dataflow jobs drain 2026-10-31_1-9 --project=my-project --region=us-central1"
    assert drain in done.stderr
    asked = ready.calls("gcloud", "dataflow", "jobs", "list")
    assert len(asked) == (1 if words == "google" else 0)
    wanted = {"--filter=name=imagen-stream", "--status=active", "--region=us-central1"}
    assert all(wanted <= set(call) for call in asked)


def test_what_the_job_misses_is_passed_on_and_nothing_else(ready):
    said = "INFO something\nerror: --responses_topic: topic t is not there; create it\n"
    ready.answer("python", "-m beam_jobs.stream", err=said, code=2)
    done = ready.script("01_run_dataflow", **OURS)
    assert done.returncode == 1
    assert done.stderr == "error: --responses_topic: topic t is not there; create it\n"


def test_another_failure_is_shown_with_where_all_of_it_is(ready):
    said = "".join(f"line {number}\n" for number in range(100))
    ready.answer("python", "-m beam_jobs.stream", err=said, code=1)
    done = ready.script("01_run_dataflow", **OURS)
    assert done.returncode == 1
    *shown, last = done.stderr.splitlines()
    assert shown == said.splitlines()[-20:]
    (log,) = ready.edge.glob("imagen-launch.*")
    assert last.endswith(f"is in {log}")
    assert log.read_text() == said


def test_both_images_are_built_from_the_commit_in_cloud_build(ready):
    tag = ready.commit()
    given = {name: OURS[name] for name in ("PROJECT", "REGION")}
    done = ready.script("build_image", **given)
    assert (done.returncode, done.stderr) == (0, "")
    assert ready.calls("gcloud", "builds") == [
        [
            *("builds", "submit", "."),
            *("--project=my-project", "--region=us-central1"),
            "--config=beam_jobs/cloudbuild.yaml",
            f"--substitutions=_REPOSITORY={REGISTRY},_TAG={tag},_BUCKET=my-project-imagen",
            "--service-account=projects/my-project/serviceAccounts/"
            "imagen-build@my-project.iam.gserviceaccount.com",
            "--gcs-source-staging-dir=gs://my-project-imagen/builds",
        ]
    ]
    assert f"imagen-stream:{tag}" in done.stdout
    assert "terraform apply" in done.stdout


def test_a_tag_that_is_named_is_built_whatever_the_folder_is(ready):
    done = ready.script("build_image", **{**OURS, "IMAGE_TAG": "try-3"})
    assert done.returncode == 0
    (call,) = ready.calls("gcloud", "builds")
    assert f"--substitutions=_REPOSITORY={REGISTRY},_TAG=try-3,_BUCKET=my-project-imagen" in call


def test_images_that_are_there_are_not_built_again(ready):
    done = ready.script("build_image", **OURS)
    assert done.returncode == 0
    assert "All images already exist" in done.stdout
    assert "terraform apply" in done.stdout
    assert ready.calls("gcloud", "builds") == []


def test_a_build_that_fails_is_no_success(ready):
    ready.answer("gcloud", "builds submit", err="ERROR: build failed\n", code=1)
    done = ready.script("build_image", **{**OURS, "IMAGE_TAG": "new"})
    assert done.returncode == 1
    assert "Built" not in done.stdout


def test_a_prompt_is_published_as_it_was_given(ready):
    text = 'a "fox" in $HOME\'s `snow`\n and ice *'
    ready.script("publish_prompt", text, "--images", "2", **OURS, PROMPTS_TOPIC="mine")
    (call,) = ready.calls("python", "-m")
    assert call == ["-m", "beam_jobs", "publish", "--topic", "mine", text, "--images", "2"]


def test_in_a_terminal_that_points_at_stand_ins_one_sentence_says_what_to_do(place):
    given = {
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:4001",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:4002",
    }
    place.install_python()
    done = place.script("publish_prompt", "a fox", **given)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: this terminal points at stand-ins: export LOCALCLOUD=")
    assert place.calls("python", "-m") == []


def test_predictions_are_taken_from_the_subscription_of_the_deployment(ready):
    ready.script("watch_predictions", "--count", "2", **OURS, PREDICTIONS_SUBSCRIPTION="mine")
    (call,) = ready.calls("python", "-m")
    assert call == ["-m", "beam_jobs", "watch", "--subscription", "mine", "--count", "2"]
