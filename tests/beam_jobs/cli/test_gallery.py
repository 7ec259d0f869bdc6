"""The newest images, and one downloaded."""

import asyncio

import aiohttp
import pytest
from google.api_core import exceptions as api_exceptions

from beam_jobs.cli.gallery import download, newest
from beam_jobs.images.location import Location
from beam_jobs.images.receipt import Receipt
from beam_jobs.images.store import ImageStore
from beam_jobs.models.base import Image
from beam_jobs.outcomes import Work

PROJECT = "demo-project"
PAID = Receipt("", Work())
PNG = Image(b"\x89PNG\r\n\x1a\npicture", "png", "image/png")


@pytest.fixture
def location(lane):
    return Location.parse(lane.images_location)


@pytest.fixture
def stored(location, prompt_of):
    """Store prompts' images as the job does."""

    async def store(prompts):
        async with aiohttp.ClientSession() as session:
            images = ImageStore(session, location)
            for prompt in prompts:
                paths = [
                    await images.put_image(prompt.digest, index, PNG)
                    for index in range(prompt.images)
                ]
                await images.put_record(
                    prompt.digest,
                    paths,
                    deciding=prompt.deciding,
                    created_at="2026-11-01T00:00:00+00:00",
                    receipt=PAID,
                )

    def make(*texts, **fields):
        asyncio.run(store([prompt_of(text, **fields) for text in texts]))

    return make


def test_the_newest_come_first_up_to_the_limit(stored, location):
    stored("one")
    stored("two")
    stored("three")
    texts = [record["prompt"] for record in newest(location, PROJECT, 10)]
    assert texts == ["three", "two", "one"]
    assert [record["prompt"] for record in newest(location, PROJECT, 2)] == ["three", "two"]


def test_foreign_files_are_skipped(stored, location, lane):
    stored("one")
    for name, content in (("a.json", "{}"), ("b.json", "not JSON"), ("c.json", "[1]")):
        lane.put(f"images/{name}", content)
    assert [record["prompt"] for record in newest(location, PROJECT, 1)] == ["one"]


def test_an_empty_location_lists_nothing(location):
    assert newest(location, PROJECT, 10) == []


def test_another_folder_with_the_same_beginning_is_not_listed(stored, lane):
    stored("a fox")
    other = Location.parse(lane.images_location.removesuffix("ages"))
    assert newest(other, PROJECT, 10) == []


def test_an_image_is_downloaded_under_its_name(stored, location, tmp_path):
    stored("a fox")
    (path,) = newest(location, PROJECT, 1)[0]["images"]
    target = download(path, PROJECT, tmp_path / "new" / "folder")
    assert target == tmp_path / "new" / "folder" / path.rpartition("/")[2]
    assert target.read_bytes() == PNG.data


def test_a_missing_image_is_an_error(lane, tmp_path):
    with pytest.raises(api_exceptions.NotFound):
        download(f"{lane.images_location}/gone.png", PROJECT, tmp_path)
    with pytest.raises(ValueError, match="expected gs://"):
        download("gone.png", PROJECT, tmp_path)
