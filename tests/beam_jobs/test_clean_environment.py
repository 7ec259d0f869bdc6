"""The image is complete: both jobs run with only the files and packages of its Dockerfile.

A virtual environment has beam_jobs/requirements.txt and nothing else, a folder the files that the
Dockerfile copies, and the programs run there with the environment variables that it sets.
"""

import json

import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from google.api_core.client_options import ClientOptions
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from beam_jobs.prefetch.parts import Prepared
from tests.beam_jobs.machine import Machine, image_of
from tests.conftest import BUCKET, PROJECT, eventually

pytestmark = pytest.mark.slow

REGION = "us-central1"
PLACE = {"projectId": PROJECT, "location": REGION}
ACCOUNT = f"imagen-worker@{PROJECT}.iam.gserviceaccount.com"
SUBNETWORK = f"regions/{REGION}/subnetworks/imagen"
PLACES = (
    "--service_account_email=" + ACCOUNT,
    "--subnetwork=" + SUBNETWORK,
    "--machine_type=n2-standard-2",
    "--num_workers=1",
    "--max_num_workers=2",
    "--no_use_public_ips",
    "--experiments=some_experiment",
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return Machine(tmp_path_factory.mktemp("image"))


@pytest.fixture
def jobs(cloud):
    options = ClientOptions(api_endpoint=cloud.dataflow_url)
    api = build("dataflow", "v1b3", client_options=options, cache_discovery=False)
    return api.projects().locations().jobs()


def flags(lane, **others):
    return [
        *lane.options(
            runner="DataflowRunner",
            region=REGION,
            job_name=lane.name,
            temp_location=f"gs://{BUCKET}/{lane.name}/temp",
            staging_location=f"gs://{BUCKET}/{lane.name}/staging",
            **others,
        ),
        *PLACES,
    ]


def endpoint(cloud):
    # Beam uses REST only for an endpoint with this name, and gRPC for all others.
    return cloud.dataflow_url.replace("127.0.0.1", "localhost")


def the_job(jobs, lane):
    (listed,) = jobs.list(**PLACE, name=lane.name).execute()["jobs"]
    return jobs.get(**PLACE, jobId=listed["id"], view="JOB_VIEW_ALL").execute()


def staged(lane, job):
    """Return the pipeline whose location the job's options give."""
    url = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    assert url.startswith(f"gs://{BUCKET}/{lane.name}/staging/")
    blob = lane.storage.bucket(BUCKET).blob(url.removeprefix(f"gs://{BUCKET}/"))
    return beam_runner_api_pb2.Pipeline.FromString(blob.download_as_bytes())


def check_place(job, target):
    """Assert that a job has the region, service account, image and size of its options."""
    environment = job["environment"]
    (pool,) = environment["workerPools"]
    (container,) = pool["sdkHarnessContainerImages"]
    assert container["containerImage"] == image_of(target)
    assert pool["workerHarnessContainerImage"] == image_of(target)
    assert "packages" not in pool, "workers would install what their image does not hold"
    assert pool["subnetwork"] == SUBNETWORK
    assert pool["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert pool["machineType"] == "n2-standard-2"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 2
    assert pool["numThreadsPerWorker"] == 64
    assert environment["serviceAccountEmail"] == ACCOUNT
    expected = {"some_experiment", "no_use_multiple_sdk_containers", "use_runner_v2"}
    assert expected <= set(environment["experiments"])


def check_options(job, **expected):
    """Assert that the job has its options, both to run with and for the console to show."""
    sent = job["environment"]["sdkPipelineOptions"]
    assert {name: sent["options"][name] for name in expected} == expected
    shown = {item["key"]: item["value"] for item in sent["display_data"]}
    assert {name: shown[name] for name in expected} == expected


def transforms(pipeline, urn):
    """Return the name and spec of each transform of a kind, such as `pubsub_read:v1`."""
    every = pipeline.components.transforms.values()
    return {each.unique_name: each.spec for each in every if each.spec.urn.endswith(urn)}


def check_pipeline(pipeline, lane, target):
    """Assert that a pipeline has our steps, publishes to both topics and runs on our image.

    Returns the names of its steps.
    """
    shown = {
        each.unique_name: {
            item.key: item.string_value
            for item in (
                beam_runner_api_pb2.LabelledPayload.FromString(data.payload)
                for data in each.display_data
            )
        }
        for each in pipeline.components.transforms.values()
    }
    assert shown["Imagen/Parse"]["fn"] == "beam_jobs.pipeline.transforms.Parse"
    assert shown["Publish/Encode/ParDo(Encode)"]["fn"] == "beam_jobs.pipeline.transforms.Encode"
    assert shown["Publish/Predictions"]["topic"] == lane.topic("predictions")
    assert shown["Publish/Dead letters"]["topic"] == lane.topic("dead-letters")
    for environment in pipeline.components.environments.values():
        payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
        assert payload.container_image == image_of(target)
        assert not environment.dependencies
    return set(shown)


def test_all_programs_start_and_say_what_is_wrong_with_their_options(machine, cloud):
    started = [
        machine.start(target, cloud, ["--runner=DataflowRunner", "--responses_topics=misspelt"])
        for target in ("stream", "backfill", "prefetch_import")
    ]
    required = ("--messages_subscription", "--prompts", "--prefetch")
    for process, own in zip(started, required, strict=True):
        code, said = machine.finish(process)
        assert code == 2, said
        assert "error: --responses_topics: no such option" in said
        assert f"error: {own}: expected" in said
        assert "Traceback" not in said


def test_the_stream_is_submitted_to_dataflow_whole_and_works(machine, cloud, lane, jobs):
    subscription = lane.subscription("prompts")
    options = flags(lane, messages_subscription=subscription, dataflow_endpoint=endpoint(cloud))
    options += ["--enable_streaming_engine", "--labels=app=imagen", "--labels=run=r1"]
    code, said = machine.finish(machine.start("stream", cloud, options))
    assert code == 0, said
    job = the_job(jobs, lane)
    assert (job["name"], job["type"]) == (lane.name, "JOB_TYPE_STREAMING")
    assert job["labels"] == {"app": "imagen", "run": "r1"}
    check_place(job, "stream")
    assert "enable_streaming_engine" in job["environment"]["experiments"]
    check_options(
        job,
        messages_subscription=subscription,
        responses_topic=lane.topic("predictions"),
        dead_letter_topic=lane.topic("dead-letters"),
        images_output_location=lane.images_location,
    )
    pipeline = staged(lane, job)
    assert "Imagen/Generate" in check_pipeline(pipeline, lane, "stream")
    (read,) = transforms(pipeline, ":pubsub_read:v1").values()
    payload = beam_runner_api_pb2.PubSubReadPayload.FromString(read.payload)
    assert (payload.subscription, payload.with_attributes) == (subscription, True)
    topics = {
        beam_runner_api_pb2.PubSubWritePayload.FromString(spec.payload).topic
        for spec in transforms(pipeline, ":pubsub_write:v1").values()
    }
    assert topics == {lane.topic("predictions"), lane.topic("dead-letters")}
    lane.publish("a fox")
    assert lane.predictions(1)[0]["prompt"] == "a fox"
    # The same request returns the same job. Another request for its name is refused.
    same = {name: job[name] for name in ("name", "type", "environment", "clientRequestId")}
    assert jobs.create(**PLACE, body=same).execute()["id"] == job["id"]
    with pytest.raises(HttpError, match=f"already an active job named {lane.name} with id"):
        jobs.create(**PLACE, body=same | {"clientRequestId": "another"}).execute()


def test_the_backfill_is_submitted_to_dataflow_whole_and_is_done(machine, cloud, lane, jobs):
    prompts, report = lane.put("prompts.txt", "a fox\na heron\n"), f"gs://{BUCKET}/{lane.name}/r"
    options = flags(lane, prompts=prompts, report=report, dataflow_endpoint=endpoint(cloud))
    options += ["--source=backfill:r1", "--labels=app=imagen"]
    code, said = machine.finish(machine.start("backfill", cloud, options))
    assert code == 0, said
    job = the_job(jobs, lane)
    assert (job["type"], job["labels"]) == ("JOB_TYPE_BATCH", {"app": "imagen"})
    check_place(job, "backfill")
    check_options(job, prompts=prompts, report=report, source="backfill:r1")
    names = check_pipeline(staged(lane, job), lane, "backfill")
    assert {"Prompts", "Read", "Imagen/Generate", "Report/Write"} <= names
    assert {p["prompt"] for p in lane.predictions(2)} == {"a fox", "a heron"}
    eventually(lambda: the_job(jobs, lane)["currentState"] == "JOB_STATE_DONE", what="DONE")


def test_the_flex_launcher_gets_its_job_object_and_no_job_is_created(machine, cloud, lane, jobs):
    started = {}
    for target, own in (
        ("stream", {"messages_subscription": lane.subscription("prompts")}),
        ("backfill", {"prompts": lane.put("prompts.txt", "a fox\n")}),
    ):
        at = f"gs://{BUCKET}/{lane.name}/staging/template_launches/{target}/job_object"
        options = flags(lane, template_location=at, **own)
        # As a launcher may pass them: labels as JSON, and a flag that Beam does not know.
        options += ['--labels={"app": "imagen"}', "--enable_launcher_vm_serial_port_logging"]
        options += ["--enable_streaming_engine"] if target == "stream" else []
        started[target] = machine.start(target, cloud, options)
    for target, process in started.items():
        code, said = machine.finish(process)
        assert code == 0, said
        written = lane.objects(f"staging/template_launches/{target}/")
        (job,) = [json.loads(content) for content in written.values()]
        assert (job["name"], job["labels"]) == (lane.name, {"app": "imagen"})
        check_place(job, target)
        check_pipeline(staged(lane, job), lane, target)
    assert "jobs" not in jobs.list(**PLACE, name=lane.name).execute()


def test_a_worker_unpickles_and_runs_the_job_with_what_the_image_holds(machine, cloud, lane):
    """In a separate process, started by the command of the image's entry point."""
    gemini, deployed = "gemini-3.1-flash-image", "flux-1"
    rows = [{"prompt": "a fox", "model": gemini}, {"prompt": "a heron"}, {"prompt": ""}]
    prompts = lane.put("prompts.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    report = f"gs://{BUCKET}/{lane.name}/report.json"
    options = lane.options(prompts=prompts, report=report, model=deployed, allowed_models=gemini)
    options += [f"--model_endpoint=projects/{PROJECT}/locations/{REGION}/endpoints/1234"]
    options += ["--direct_running_mode=multi_processing"]
    code, said = machine.finish(machine.start("backfill", cloud, options))
    assert code == 0, said
    every = [machine.check_modules(record) for record in machine.records.glob("*.json")]
    (worker,) = [each for each in every if each.get("__main__", "").endswith("/sdk_worker_main.py")]
    assert {"beam_jobs.models.gemini", "beam_jobs.models.predict"} <= set(worker)
    assert {p["model"] for p in lane.predictions(2)} == {gemini, deployed}
    assert lane.dead_letters(1)[0]["reason"] == "INVALID_PROMPT"
    assert json.loads(lane.objects()["report.json"])["predictions"] == 2


@pytest.mark.full
def test_the_import_is_submitted_to_dataflow_whole_and_is_done(machine, cloud, lane, jobs):
    folder = f"gs://{BUCKET}/{lane.name}/prefetch/r1/"
    lane.put("prefetch/r1/parts.json", json.dumps(Prepared("backfill:r1", ()).to_json()))
    of_prompts = ("--responses_topic", "--dead_letter_topic")
    options = flags(lane, prefetch=folder, dataflow_endpoint=endpoint(cloud))
    options = [each for each in options if not each.startswith(of_prompts)]
    code, said = machine.finish(machine.start("prefetch_import", cloud, options))
    assert code == 0, said
    job = the_job(jobs, lane)
    assert job["type"] == "JOB_TYPE_BATCH"
    (pool,) = job["environment"]["workerPools"]
    assert pool["workerHarnessContainerImage"] == image_of("prefetch_import")
    assert "packages" not in pool, "workers would install what their image does not hold"
    assert "no_use_multiple_sdk_containers" in job["environment"]["experiments"]
    check_options(job, prefetch=folder, images_output_location=lane.images_location)
    eventually(lambda: the_job(jobs, lane)["currentState"] == "JOB_STATE_DONE", what="DONE")
    report = json.loads(lane.objects("prefetch/")["prefetch/r1/import.json"])
    assert (report["run"], report["parts"]) == ("backfill:r1", 0)
