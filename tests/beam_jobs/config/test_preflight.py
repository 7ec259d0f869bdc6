"""What fails at once in the launcher instead of minutes later on a worker."""

import time

import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from google.api_core import exceptions as api_exceptions
from google.api_core.retry import Retry
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import storage

from beam_jobs.config import preflight
from beam_jobs.config.job_config import JobConfig, job_config
from tests.conftest import BUCKET


@pytest.fixture
def config_of(lane):
    def make(**changes) -> JobConfig:
        return job_config(PipelineOptions(lane.stream_options(**changes)), streaming=True)

    return make


def said(config, **others) -> list[str]:
    with pytest.raises(preflight.PreflightError) as caught:
        preflight.check(config, **others)
    return str(caught.value).splitlines()


@pytest.mark.slow
def test_existing_resources_pass_the_check(lane, config_of):
    prompts = lane.put("prompts/a.txt", "a fox\n")
    preflight.check(config_of(), subscription=lane.subscription("prompts"))
    preflight.check(config_of(), prompts=prompts)
    preflight.check(config_of(), prompts=prompts.replace("a.txt", "*.txt"))


def test_a_local_glob_of_prompts_is_checked_too(config_of, tmp_path):
    (tmp_path / "a.csv").write_text("prompt\na fox\n")
    preflight.check(config_of(), prompts=f"{tmp_path}/*.csv")
    (line,) = said(config_of(), prompts=f"{tmp_path}/*.txt")
    assert line == f"--prompts: {tmp_path}/*.txt does not exist; create it, or correct the option"


def test_the_default_template_is_there_and_is_one(lane, config_of):
    def put(content):
        blob = lane.storage.bucket(BUCKET).blob(f"templates/prompts/{lane.name}.txt")
        blob.upload_from_string(content)

    path = f"--prompt_template: gs://{BUCKET}/templates/prompts/{lane.name}.txt"
    (line,) = said(config_of(prompt_template=lane.name))
    assert line.startswith(f"{path}: template {lane.name}: there is no gs://")
    put("A {broken")
    (line,) = said(config_of(prompt_template=lane.name))
    assert line.startswith(f"{path}: template {lane.name}@")
    assert ", line 1: expected '}'" in line
    put("A {whole}")
    preflight.check(config_of(prompt_template=lane.name))


NO_TOPIC = "projects/demo-project/topics/no-such-topic"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"responses_topic": NO_TOPIC}, f"--responses_topic: topic {NO_TOPIC} does not exist"),
        ({"dead_letter_topic": NO_TOPIC}, f"--dead_letter_topic: topic {NO_TOPIC} does not exist"),
        (
            {"images_output_location": "gs://no-such-bucket/images"},
            "--images_output_location: bucket gs://no-such-bucket does not exist",
        ),
    ],
)
def test_what_is_missing_is_named_with_its_option(lane, config_of, changes, line):
    (only,) = said(config_of(**changes), subscription=lane.subscription("prompts"))
    assert only == f"{line}; create it, or correct the option"


def test_everything_that_is_missing_is_named_at_once(config_of):
    subscription = "projects/demo-project/subscriptions/no-such-sub"
    lines = said(
        config_of(
            responses_topic=NO_TOPIC,
            dead_letter_topic=f"{NO_TOPIC}-either",
            images_output_location="gs://no-such-bucket/images",
        ),
        subscription=subscription,
        prompts="/no/such/file-*.txt",
    )
    assert [line.split(":")[0] for line in lines] == [
        "--responses_topic",
        "--dead_letter_topic",
        "--messages_subscription",
        "--images_output_location",
        "--prompts",
    ]
    assert f"--messages_subscription: subscription {subscription} does not exist" in lines[2]


def test_prompts_that_no_file_matches_on_storage_are_named(lane, config_of):
    pattern = lane.images_location.replace("images", "prompts/*.txt")
    (line,) = said(config_of(), prompts=pattern)
    assert line.startswith(f"--prompts: {pattern} does not exist")


@pytest.mark.slow
def test_unreachable_services_are_reported_without_a_long_wait(lane, config_of, monkeypatch):
    config = config_of()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(preflight, "_retry", Retry(initial=0.1, timeout=0.5))
    started = time.monotonic()
    lines = said(config, subscription=lane.subscription("prompts"))
    assert time.monotonic() - started < 120
    assert len(lines) == 4
    assert all("cannot be checked: " in line for line in lines)


@pytest.mark.slow
def test_a_transient_error_does_not_stop_a_job(cloud, lane, config_of, monkeypatch):
    # Enough attempts that random errors cannot fail all of them.
    monkeypatch.setattr(preflight, "_retry", Retry(initial=0.05, maximum=0.2, timeout=60))
    path = lane.put("prompts.txt", b"a fox")
    cloud.storage(error_rate=0.3, error_status=500)
    for _ in range(2):
        preflight.check(config_of(), subscription=lane.subscription("prompts"), prompts=path)


def test_a_bucket_that_the_launcher_may_not_look_up_counts_as_existing(
    lane, config_of, monkeypatch
):
    class Forbidding:
        def __init__(self, **_):
            pass

        def get_bucket(self, *_, **__):
            raise api_exceptions.Forbidden("storage.buckets.get")

    monkeypatch.setattr(preflight.storage, "Client", Forbidding)
    preflight.check(config_of(), subscription=lane.subscription("prompts"))


def test_prompts_that_the_launcher_may_not_list_count_as_existing(config_of, monkeypatch):
    def forbid(*_, **__):
        raise api_exceptions.Forbidden("storage.objects.list")

    monkeypatch.setattr(storage.Client, "list_blobs", forbid)
    preflight.check(config_of(), prompts="gs://demo-project-imagen/of-others/*.txt")


def test_looking_for_prompts_takes_one_page_however_many_objects_there_are(
    lane, config_of, monkeypatch
):
    """A million objects make a thousand pages."""
    for number in range(5):
        lane.put(f"many/{number}.txt", "a fox\n")
    listings = []
    list_blobs = storage.Client.list_blobs

    def in_pages_of_two(client, *args, **how):
        listings.append(list_blobs(client, *args, page_size=2, **how))
        return listings[-1]

    monkeypatch.setattr(storage.Client, "list_blobs", in_pages_of_two)
    folder = f"gs://demo-project-imagen/{lane.name}/many"
    preflight.check(config_of(), prompts=f"{folder}/*")
    preflight.check(config_of(), prompts=f"{folder}/**/4.txt")
    assert [listing.page_number for listing in listings] == [1, 1]
    (line,) = said(config_of(), prompts=f"{folder}/0*.csv")
    assert line.startswith(f"--prompts: {folder}/0*.csv does not exist")


@pytest.mark.parametrize("at", ["local", "gs"])
def test_a_glob_that_beam_could_match_for_hours_is_refused(lane, config_of, tmp_path, at):
    path = "gs://demo-project-imagen" if at == "gs" else str(tmp_path)
    path += "/*a*a*a*a*a*a*a*b"
    (line,) = said(config_of(), prompts=path)
    assert "it has 8 wildcards * and **, and the maximum is 4" in line


@pytest.mark.parametrize("at", ["local", "gs"])
def test_a_glob_that_passes_over_a_file_of_its_own_name_is_refused(lane, config_of, tmp_path, at):
    def put(name):
        if at == "gs":
            return lane.put(f"prompts/{name}", "a fox\n")
        (tmp_path / name).write_text("a fox\n")
        return f"{tmp_path}/{name}"

    put("x1.txt")
    path = put("x[2].txt").replace("[2]", "[1]")
    preflight.check(config_of(), prompts=path)
    assert put("x[1].txt") == path
    quoted = path.replace("[", "[[]")
    assert said(config_of(), prompts=path) == [
        f"--prompts: {path}: there is a file '{path}', with these very characters in its name, "
        f"which the wildcards do not match; for that file, write {quoted}"
    ]
    preflight.check(config_of(), prompts=quoted)
    (found,) = FileSystems.match([quoted])[0].metadata_list
    assert found.path == path
    if at == "gs":
        lane.put("folders/run[1]/a.txt", "a fox\n")
    else:
        (tmp_path / "run[1]").mkdir()
        put("run[1]/a.txt")
    folder = path.replace("x[1].txt", "run[1]/").replace("/prompts/", "/folders/")
    (line,) = said(config_of(), prompts=folder)
    quoted = folder.replace("[", "[[]")
    assert line.endswith(f"for that file, write {quoted}*")
    preflight.check(config_of(), prompts=f"{quoted}*")


@pytest.mark.parametrize(
    ("prompts", "problem"),
    [
        ("gs://bucket", "expected files in a bucket, such as gs://my-bucket/prompts/*"),
        ("gs://", "expected files in a bucket, such as gs://my-bucket/prompts/*"),
        ("gs://demo-project-imagen/p/[b-a]", "its brackets are not valid"),
        ("/tmp/[b-a]", "its brackets are not valid"),
        ("GS://bucket/p/*", "Beam reads no such file system; write gs:// in lower case"),
        ("no-such://bucket/p/*", "Beam reads no such file system"),
        ("/tmp/\udcff.txt", "is not UTF-8; write ? in place of each byte that is not"),
    ],
)
def test_a_malformed_path_of_prompts_is_refused_with_what_to_write(config_of, prompts, problem):
    (line,) = said(config_of(), prompts=prompts)
    assert line.startswith(f"--prompts: {prompts}: {problem}")


def test_the_root_of_a_bucket_can_be_a_glob(lane, config_of):
    blob = lane.storage.bucket("demo-project-imagen").blob(f"{lane.name}.txt")
    blob.upload_from_string("a fox\n")
    preflight.check(config_of(), prompts="gs://demo-project-imagen/*")
    preflight.check(config_of(), prompts="gs://demo-project-imagen/")
    blob.delete()


def test_prompts_in_a_missing_bucket_are_reported(config_of):
    (line,) = said(config_of(), prompts="gs://no-such-bucket/*.txt")
    assert line.startswith("--prompts: gs://no-such-bucket/*.txt does not exist")


def test_nobody_logged_in_is_one_line_that_says_so(config_of, monkeypatch, tmp_path):
    config = config_of()
    for name in ("PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)

    def nobody(*_, **__):
        raise DefaultCredentialsError("none were found")

    monkeypatch.setattr("google.auth.default", nobody)
    (line,) = said(config, prompts=str(tmp_path))
    assert line == "no credentials (none were found); log in: gcloud auth application-default login"
