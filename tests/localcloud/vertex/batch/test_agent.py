"""The service agent asks Cloud Storage over HTTP, so a proxy can check its permissions."""

import pytest

from tests.grants import Needed
from tests.guarded_storage import guarded
from tests.localcloud.vertex.batch.conftest import BUCKET, Services, row

# google-cloud-storage asks for it, and does without: findings/storage_asks_for_the_bucket.sh
BUCKET_ITSELF = "storage.buckets.get on ''"


def refused(storage):
    """What was refused, once each, since the last time."""
    found = sorted(set(storage.refused) - {BUCKET_ITSELF})
    storage.refused.clear()
    return found


@pytest.mark.full  # the proxy takes half a minute to stop
def test_it_needs_to_read_the_input_and_references_and_to_create_the_output(
    services: Services, monkeypatch
):
    allowed: set[Needed] = set()
    monkeypatch.setattr("tests.guarded_storage.is_granted", lambda _, needed: needed in allowed)
    services.put(b"no picture", "references/a.png")
    wanted = row("A fox")
    file = {"fileUri": f"gs://{BUCKET}/references/a.png", "mimeType": "image/png"}
    wanted["request"]["contents"][0]["parts"].append({"fileData": file})

    with guarded("vertex", services.storage) as storage:
        job = services.run([row("A"), wanted], storage_url=storage.url)
        assert refused(storage) == ["storage.objects.get on 'batch/in.jsonl'"]
        assert "does not have storage.objects.get access" in job["error"]["message"]

        allowed.add(Needed("storage.objects.get", "batch/in.jsonl"))
        job = services.ended(services.create())
        folder = job["outputInfo"]["gcsOutputDirectory"].removeprefix(f"gs://{BUCKET}/")
        output = Needed("storage.objects.create", f"{folder}/predictions.jsonl")
        assert f"{output.permission} on {output.name!r}" in refused(storage)
        assert "does not have storage.objects.create access" in job["error"]["message"]
        assert services.lines(job) == []

    monkeypatch.setattr(
        "tests.guarded_storage.is_granted",
        lambda _, needed: needed in allowed or needed.permission == "storage.objects.create",
    )
    with guarded("vertex", services.storage) as storage:
        services.set(storage_url=storage.url)
        job = services.ended(services.create())
        assert refused(storage) == ["storage.objects.get on 'references/a.png'"]
        assert sorted(each["status"][:9] for each in services.rows(job)) == ["", "Not Found"]

        allowed.add(Needed("storage.objects.get", "references/a.png"))
        job = services.ended(services.create())
        assert job["state"] == "JOB_STATE_SUCCEEDED"
        assert refused(storage) == []
        assert set(storage.asked) <= {
            ("storage.objects.get", "batch"),
            ("storage.objects.get", "references"),
            ("storage.objects.create", "batch"),
            ("storage.buckets.get", ""),
        }
