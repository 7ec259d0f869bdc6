"""The folder in which workers tell of each other, in Cloud Storage's stand-in."""

import asyncio
import math

import pytest
from gcloud.aio.storage import Storage

from beam_jobs.fleet import objects
from beam_jobs.fleet.fleet import NoAnswerError, NotAllowedError
from beam_jobs.fleet.objects import FleetObjects
from beam_jobs.fleet.report import Usage
from beam_jobs.fleet.split import Split, settle
from tests.conftest import BUCKET
from tests.guarded_storage import guarded

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

USAGE = {"p/global/standard": Usage(math.inf, 3, 2.0, 40, 1), "job": Usage(2.5)}


@pytest.fixture
def folder(lane, session):
    """Return a function that returns one worker's view of the lane's folder."""

    def folder(worker="w1", *, of="stream", bucket=BUCKET):
        return FleetObjects(Storage(session=session), bucket, f"{lane.name}/jobs/{of}", worker)

    return folder


async def test_before_anybody_has_split_there_is_nothing(folder):
    stored = await folder().read()
    assert (stored.split, stored.generation, stored.age_s) == (Split(), "0", math.inf)
    assert list(await folder().reports(60.0)) == []


async def test_what_one_worker_reports_all_can_read(folder):
    written_at = await folder("w1").report(USAGE)
    await folder("w2").report({})
    reports = sorted(await folder("w3").reports(60.0), key=lambda report: report.written_at)
    assert [report.usage for report in reports] == [USAGE, {}]
    assert reports[0].written_at == written_at


async def test_a_worker_that_leaves_or_reports_no_more_is_not_there(folder):
    await folder("w1").report(USAGE)
    await folder("w2").report(USAGE)
    await folder("w1").leave()
    assert len(await folder().reports(60.0)) == 1
    await asyncio.sleep(2.1)  # storage tells ages in whole seconds
    assert len(await folder().reports(1.0)) == 0


async def test_reports_that_are_long_forgotten_are_deleted(folder, lane, monkeypatch):
    await folder("w1").report(USAGE)
    monkeypatch.setattr(objects, "FORGOTTEN_AFTER_S", -2.0)
    await folder("w2").reports(60.0)
    assert lane.objects("jobs/") == {}


async def test_of_two_that_split_at_once_one_is_heard(folder):
    reports = [await _report(folder)]
    first, second = (settle(Split(), reports, {"job": 20.0}, by) for by in ("w1", "w2"))
    assert await folder().write(first, "0")
    assert await folder().write(second, "0") is None
    stored = await folder().read()
    assert stored.split == first
    assert stored.age_s <= 2
    generation = await folder().write(second, stored.generation)
    assert (await folder().read()).generation == generation


async def test_two_jobs_in_one_bucket_know_nothing_of_each_other(folder):
    await folder(of="stream-1").report(USAGE)
    await folder(of="stream-1").write(Split(by="w1"), "0")
    assert list(await folder(of="stream-2").reports(60.0)) == []
    assert (await folder(of="stream-2").read()).generation == "0"


async def test_what_is_no_split_is_replaced_and_what_is_no_report_is_ignored(folder, lane, caplog):
    lane.put("jobs/stream/split.json", b"somebody else's")
    lane.put("jobs/stream/workers/w9", b"somebody else's")
    stored = await folder().read()
    assert (stored.split, stored.age_s) == (Split(), math.inf)
    assert "is replaced" in caplog.text
    assert await folder().write(Split(by="w1"), stored.generation)
    assert list(await folder().reports(60.0)) == []


async def test_more_workers_than_a_page_has_are_all_read(folder):
    for number in range(4):
        await folder(f"w{number}").report(USAGE)
    reader = folder()
    get = reader._storage.session.get

    async def small_pages(url, params=None, **others):
        return await get(url, params={**params, "maxResults": "2"}, **others)

    reader._storage.session.get = small_pages
    assert len(await reader.reports(60.0)) == 4


async def test_without_an_answer_and_without_the_right_are_two_things(folder, cloud):
    cloud.storage(down=True)
    for request in (folder().read(), folder().report({}), folder().reports(1.0)):
        with pytest.raises(NoAnswerError):
            await request
    cloud.storage(down=False)
    with pytest.raises(NoAnswerError):
        await folder(bucket="no-such-bucket").write(Split(), "0")
    cloud.storage(error_rate=1.0, error_status=403)
    with pytest.raises(NotAllowedError, match=r"cannot write gs://.*/workers/w1: .* 403"):
        await folder().report({})
    cloud.storage(error_rate=0.0)


async def test_workers_may_do_what_it_takes(cloud, lane, folder, monkeypatch):
    upstream = cloud.environment["STORAGE_EMULATOR_HOST"]
    with guarded("worker", upstream, folder=f"{lane.name}/") as storage:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        await folder().report(USAGE)
        await folder().report(USAGE)
        reports = await folder().reports(60.0)
        generation = await folder().write(settle(Split(), reports, {}, "w1"), "0")
        await folder().write(Split(), generation)
        await folder().read()
        await folder().leave()
        assert storage.refused == []
        assert (
            sum(count for (_, top), count in storage.asked.items() if top.startswith("jobs")) >= 7
        )


async def _report(folder):
    await folder().report(USAGE)
    (report,) = await folder().reports(60.0)
    return report
