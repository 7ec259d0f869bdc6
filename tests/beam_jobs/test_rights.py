"""The jobs need no more of Cloud Storage than `composer.tf` grants the workers' account."""

import json
from collections.abc import Callable, Iterator

import aiohttp
import pytest

from beam_jobs import backfill, stream
from beam_jobs.custom import preprocess
from beam_jobs.images import recent_index
from beam_jobs.images.lanes import Lanes
from beam_jobs.images.location import PREDICTIONS, Location
from beam_jobs.images.objects import Objects
from beam_jobs.names import PROMPT_TEMPLATES_FOLDER
from beam_jobs.prompts.parse import Prompt
from tests.beam_jobs.prefetch.outputs import outputs_of
from tests.beam_jobs.test_prefetch_import import Night
from tests.conftest import BUCKET, PROJECT, Cloud, Lane, RunningStream
from tests.grants import Needed, is_granted
from tests.guarded_storage import GuardedStorage, guarded

pytestmark = pytest.mark.slow


@pytest.fixture
def workers_storage(
    cloud: Cloud, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GuardedStorage]:
    """Cloud Storage, for what this test starts, as the workers' account sees it."""
    upstream = cloud.environment["STORAGE_EMULATOR_HOST"]
    with guarded("worker", upstream, folder=f"{lane.name}/") as storage:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        yield storage
        # Its thread would write what waits through the next test's.
        recent_index.flush(60.0)


def test_a_stream_works_with_what_workers_are_granted(
    lane: Lane, workers_storage: GuardedStorage, start_stream: Callable[..., RunningStream]
) -> None:
    running = start_stream()
    lane.publish("A fox", {"prompt": "Two foxes", "images": 2}, "fault:blocked")
    lane.predictions(2)
    lane.dead_letters(1)
    lane.publish("A fox")
    assert lane.predictions(1)[0]["reused"], "what is stored is found"
    assert running.drain() == "DRAINED"
    # The index of recent outcomes is written without the engine's session, and later.
    recent_index.flush(60.0)
    assert workers_storage.refused == []
    assert workers_storage.asked["storage.objects.create", "images/recent"]


def test_custom_functions_need_no_more_than_workers_are_granted(
    lane: Lane, workers_storage: GuardedStorage, start_stream: Callable[..., RunningStream]
) -> None:
    preprocess._client.cache_clear()  # another test's has another address
    start_stream(
        preprocess="tests.custom_functions:three", postprocess="tests.custom_functions:signed"
    )
    lane.publish("A fox")
    lane.predictions(3)
    lane.publish("A fox")
    assert all(one["reused"] for one in lane.predictions(3))
    assert workers_storage.refused == []
    assert workers_storage.asked["storage.objects.create", "images/preprocessed"] == 1
    preprocess._client.cache_clear()


@pytest.mark.asyncio
async def test_an_attempt_to_write_works_with_what_workers_are_granted(
    lane: Lane, workers_storage: GuardedStorage
) -> None:
    """It is made while storage refuses every write, and leaves nothing behind."""
    async with aiohttp.ClientSession() as session:
        await Objects(session, Location.parse(lane.images_location), Lanes())._try_to_write()
    assert workers_storage.refused == []
    assert workers_storage.asked["storage.objects.delete", "images/write-checks"] == 1
    assert lane.objects("images/") == {}


def test_a_backfill_works_with_what_workers_are_granted(
    lane: Lane, workers_storage: GuardedStorage
) -> None:
    lane.put("prompts/ds=2026-11-01/a.txt", "A garden\nA meadow\n")
    lane.put("prompts/ds=2026-11-01/b.csv", "prompt\nA forest\n")
    report = f"gs://{BUCKET}/{lane.name}/jobs/0123456789abcdef/report.json"
    options = {
        "prompts": f"gs://{BUCKET}/{lane.name}/prompts/ds=2026-11-01/*",
        "report": report,
        "source": "backfill:night-1",
        "image_metadata": "prompt",
    }
    for _ in range(2):  # the second one finds everything, and replaces the report
        assert backfill.main(lane.options(**options)) == 0
    assert workers_storage.refused == []
    (stored,) = lane.objects("jobs/").values()
    assert json.loads(stored)["predictions"] == 3
    assert workers_storage.asked["storage.objects.list", "prompts"]


def test_an_import_works_with_what_workers_are_granted(
    cloud: Cloud, lane: Lane, workers_storage: GuardedStorage, prompt_of: Callable[..., Prompt]
) -> None:
    night = Night(lane, cloud)
    prompts = [prompt_of(f"A heron {number}", origin=f"f:{number}") for number in range(3)]
    night.answer(night.order(*prompts), [line for each in prompts for line in outputs_of(each)])
    for _ in range(2):  # the second one finds everything, and replaces the report
        assert night.import_all()["rows"]["stored"] == 3
    assert workers_storage.refused == []
    assert workers_storage.asked["storage.objects.list", "prefetch"]


def test_the_launcher_stages_a_job_with_what_workers_are_granted(
    cloud: Cloud, lane: Lane, workers_storage: GuardedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEN_IMAGE", "us-central1-docker.pkg.dev/p/imagen/imagen-stream:1")
    options = lane.options(
        runner="DataflowRunner",
        region="us-central1",
        job_name=lane.name,
        temp_location=f"gs://{BUCKET}/{lane.name}/temp",
        staging_location=f"gs://{BUCKET}/{lane.name}/staging",
        template_location=f"gs://{BUCKET}/{lane.name}/staging/template_launches/1/job_object",
        service_account_email=f"imagen-worker@{PROJECT}.iam.gserviceaccount.com",
        messages_subscription=lane.subscription("prompts"),
        dataflow_endpoint=cloud.dataflow_url.replace("127.0.0.1", "localhost"),
    )
    assert stream.main([*options, "--enable_streaming_engine"]) == 0
    assert workers_storage.refused == []
    assert workers_storage.asked["storage.objects.create", "staging"]


def test_an_object_that_is_there_is_not_taken_for_a_refusal(
    lane: Lane, workers_storage: GuardedStorage
) -> None:
    """It may be answered 403: its name is taken, and workers may not replace it."""
    workers_storage.strict = True
    location = Location.parse(lane.images_location)
    index, name = (
        recent_index._Index(location, every_s=1.0),
        f"{location.index(PREDICTIONS)}1.jsonl",
    )
    index._create(name, b"{}\n")
    index._create(name, b"of a retry, whose first answer was lost")
    assert list(lane.objects("images/recent/").values()) == [b"{}\n"]
    assert workers_storage.refused == []


@pytest.mark.parametrize("who", ["worker", "composer"])  # who plans has to read them too
def test_prompt_templates_are_listed_and_read(who: str) -> None:
    assert is_granted(who, Needed("storage.objects.list", f"{PROMPT_TEMPLATES_FOLDER}/"))
    assert is_granted(who, Needed("storage.objects.get", f"{PROMPT_TEMPLATES_FOLDER}/studio.txt"))


@pytest.mark.parametrize(
    ("permission", "name"),
    [
        ("storage.objects.delete", "images/c0/c0.json"),
        ("storage.objects.delete", "images/c0/c0-0.png"),
        ("storage.objects.delete", "keys/c0.claim"),
        ("storage.objects.delete", "images/recent/predictions/1.jsonl"),
        ("storage.objects.create", "prompts/ds=2026-11-01/a.txt"),
        ("storage.objects.create", "keys/canary.json"),
        ("storage.objects.get", "templates/stream.json"),
        ("storage.objects.create", "templates/stream.json"),
        ("storage.objects.create", "templates/prompts/studio.txt"),
        ("storage.objects.get", "records/health/ds=2026-11-01.jsonl"),
        ("storage.objects.create", "records/launches/imagen-stream.json"),
        ("storage.objects.get", "dead-letters/reason=BLOCKED/ds=2026-11-01/1.jsonl"),
        ("storage.objects.get", "builds/source.tgz"),
        ("storage.objects.list", ""),
        ("storage.objects.list", "images"),
    ],
)
def test_workers_are_granted_nothing_beyond_that(permission: str, name: str) -> None:
    assert not is_granted("worker", Needed(permission, name))
