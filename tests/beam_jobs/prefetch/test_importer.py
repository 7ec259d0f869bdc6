"""One range: storage that fails now and then loses nothing; one that stays down ends the range."""

import asyncio

import pytest

from beam_jobs.images.location import Location
from beam_jobs.images.requests import StoreError
from beam_jobs.prefetch.folder import PrefetchFolder
from beam_jobs.prefetch.import_config import ImportConfig
from beam_jobs.prefetch.importer import Importer, OutputRange
from beam_jobs.prefetch.line_ranges import ranges_of
from beam_jobs.prefetch.output_row import RowEnd
from beam_jobs.prefetch.request_row import rows_of
from tests.beam_jobs.prefetch.outputs import RUN, outputs_of
from tests.conftest import BUCKET

pytestmark = pytest.mark.slow


@pytest.fixture
def range_of_output(lane, cloud, prompt_of):
    prompts = [prompt_of(f"A lynx {n}", origin=f"f:{n}") for n in range(40)]
    manifest = b"".join(row.to_line() for each in prompts for _, row in rows_of(each, RUN))
    lines = [line for n, each in enumerate(prompts) for line in outputs_of(each, first=n)]
    output = b"\n".join(lines)
    (file,) = ranges_of(lane.put("out/predictions.jsonl", output), len(output))
    return OutputRange(file, lane.put("manifest.jsonl", manifest))


@pytest.fixture
def importer_of(lane):
    """Return a function that makes an importer which retries for some seconds."""
    folder = PrefetchFolder.parse(f"gs://{BUCKET}/{lane.name}/prefetch/r/")

    made = []

    def make(max_retry_s):
        location = Location.parse(lane.images_location)
        made.append(Importer(ImportConfig(folder, location, max_retry_s, thumbnails=False)))
        return made[-1]

    yield make
    for importer in made:
        importer._loop.run(importer._session.close())


def test_requests_that_fail_now_and_then_are_sent_again(cloud, lane, importer_of, range_of_output):
    importer = importer_of(60.0)
    importer._manifests.index(range_of_output.manifest)  # which another client reads
    cloud.storage(error_rate=0.3)
    imported = importer.import_range(range_of_output)
    tally = importer.record([[receipt] for receipt in imported.receipts])
    cloud.storage(error_rate=0.0)
    assert [receipt.end for receipt in imported.receipts] == [RowEnd.STORED] * 40
    assert tally.counts["records"] == 40
    assert len(lane.objects("images/")) == 80


def test_storage_that_stays_down_ends_the_range_and_leaves_nothing_running(
    cloud, importer_of, range_of_output
):
    importer = importer_of(0.5)
    importer._manifests.index(range_of_output.manifest)
    cloud.storage(down=True)
    with pytest.raises(StoreError, match="503"):
        importer.import_range(range_of_output)
    cloud.storage(down=False)

    async def left():
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert importer._loop.run(left()) == []
    assert len(importer.import_range(range_of_output).receipts) == 40
