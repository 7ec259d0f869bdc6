"""Google's own clients, as they call batch jobs over REST."""

import uuid

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform, aiplatform_v1
from google.genai import Client, errors, types
from google.oauth2.credentials import Credentials

from tests.localcloud.vertex.batch.conftest import (
    INPUT,
    MODEL,
    OUTPUT,
    PARENT,
    Services,
    row,
)

THREE = [row(f"A fox {n}", n) for n in range(3)]


@pytest.fixture
def genai(services: Services):
    return Client(
        enterprise=True,
        project="demo-project",
        location="global",
        credentials=Credentials("token"),
        http_options=types.HttpOptions(base_url=services.vertex),
    )


def test_google_genai_creates_gets_lists_cancels_and_deletes(services: Services, genai):
    services.put(THREE)
    services.set(kept_in="RUNNING")
    job = genai.batches.create(
        model=MODEL, src=INPUT, config={"dest": OUTPUT, "display_name": "night"}
    )
    assert job.state == types.JobState.JOB_STATE_PENDING
    assert job.model == f"publishers/google/models/{MODEL}"
    assert (job.src.gcs_uri, job.dest.gcs_uri) == ([INPUT], OUTPUT)
    services.reached(job.name, "JOB_STATE_RUNNING")
    services.set(kept_in="")
    services.ended(job.name)
    job = genai.batches.get(name=job.name)
    assert job.done
    assert job.completion_stats.successful_count == 3
    assert job.output_info.gcs_output_directory.startswith(f"{OUTPUT}/prediction-model-")
    assert job.end_time > job.start_time > job.create_time
    listed = genai.batches.list(config={"filter": 'display_name="night"', "page_size": 1})
    assert job.name in [each.name for each in listed]
    with pytest.raises(errors.ClientError, match="FAILED_PRECONDITION"):
        genai.batches.cancel(name=job.name)
    assert genai.batches.delete(name=job.name).done
    with pytest.raises(errors.ClientError) as gone:
        genai.batches.get(name=job.name)
    assert gone.value.code == 404


def test_google_genai_cancels_a_job(services: Services, genai):
    services.put(THREE)
    services.set(kept_in="QUEUED")
    job = genai.batches.create(model=MODEL, src=INPUT, config={"dest": OUTPUT})
    genai.batches.cancel(name=job.name)
    services.ended(job.name)
    assert genai.batches.get(name=job.name).state == types.JobState.JOB_STATE_CANCELLED


def test_google_genai_reads_each_state_and_an_error(services: Services, genai):
    services.put(THREE)
    for state in ("QUEUED", "PAUSED", "UPDATING"):
        services.set(kept_in=state)
        name = services.create()
        services.reached(name, f"JOB_STATE_{state}")
        assert genai.batches.get(name=name).state.value == f"JOB_STATE_{state}"
        services.set(kept_in="")
        services.ended(name)
    job = services.run(THREE, agent_reads=False)
    error = genai.batches.get(name=job["name"]).error
    assert error.code == 7
    assert "storage.objects.get" in error.message


def test_google_genai_gets_an_error_in_words(services: Services, genai):
    services.set(unserved_models=MODEL)
    with pytest.raises(errors.ClientError, match="Do not support publisher model") as refused:
        genai.batches.create(model=MODEL, src=INPUT, config={"dest": OUTPUT})
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")


@pytest.fixture
def jobs(services: Services):
    """The generated client, over REST and plain HTTP."""
    from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceRestTransport

    transport = JobServiceRestTransport(
        host=services.vertex.removeprefix("http://"),
        url_scheme="http",
        credentials=Credentials("token"),
    )
    return aiplatform_v1.JobServiceClient(transport=transport)


def test_the_job_service_client_creates_gets_lists_cancels_and_deletes(services: Services, jobs):
    run = f"r{uuid.uuid4().hex}"  # other tests' jobs are listed too
    services.put(THREE)
    services.set(kept_in="PENDING")
    created = jobs.create_batch_prediction_job(
        parent=PARENT,
        batch_prediction_job=aiplatform_v1.BatchPredictionJob(
            display_name="by the client",
            model=f"publishers/google/models/{MODEL}",
            input_config={"instances_format": "jsonl", "gcs_source": {"uris": [INPUT]}},
            output_config={
                "predictions_format": "jsonl",
                "gcs_destination": {"output_uri_prefix": OUTPUT},
            },
            labels={"run": run},
        ),
    )
    assert created.state == aiplatform_v1.JobState.JOB_STATE_PENDING
    with pytest.raises(exceptions.BadRequest, match="its state is"):
        jobs.delete_batch_prediction_job(name=created.name)
    services.set(kept_in="", end_in="PARTIALLY_SUCCEEDED")
    services.ended(created.name)
    job = jobs.get_batch_prediction_job(name=created.name)
    assert job.state == aiplatform_v1.JobState.JOB_STATE_PARTIALLY_SUCCEEDED
    assert (job.completion_stats.successful_count, job.completion_stats.incomplete_count) == (2, 1)
    assert job.partial_failures[0].code == 13
    assert dict(job.labels) == {"run": run}
    request = {"parent": PARENT, "filter": f"labels.run={run}", "page_size": 1}
    assert [each.name for each in jobs.list_batch_prediction_jobs(request)] == [job.name]
    with pytest.raises(exceptions.BadRequest, match="its state is"):
        jobs.cancel_batch_prediction_job(name=job.name)
    assert jobs.delete_batch_prediction_job(name=job.name).done()
    with pytest.raises(exceptions.NotFound):
        jobs.get_batch_prediction_job(name=job.name)


def test_a_submitted_job_of_the_sdk_is_read_and_listed(services: Services, jobs, monkeypatch):
    # The SDK's own REST transport insists on https; the client above is the same but for that.
    monkeypatch.setattr(aiplatform.initializer.global_config, "create_client", lambda **_: jobs)
    services.put(THREE)
    job = aiplatform.BatchPredictionJob.submit(
        job_display_name="by the SDK",
        model_name=f"publishers/google/models/{MODEL}",
        gcs_source=INPUT,
        gcs_destination_prefix=OUTPUT,
        project="demo-project",
        location="global",
        credentials=AnonymousCredentials(),
    )
    services.ended(job.resource_name)
    assert job.state == aiplatform_v1.JobState.JOB_STATE_SUCCEEDED
    assert job.output_info.gcs_output_directory.startswith(OUTPUT)
    assert job.completion_stats.successful_count == 3
