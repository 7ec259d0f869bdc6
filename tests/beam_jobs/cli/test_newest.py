"""The newest images, found with the jobs' index and without it."""

import json

import pytest
from google.cloud import storage

from beam_jobs.cli.gallery import newest
from beam_jobs.images import recent_index
from beam_jobs.images.location import Location
from beam_jobs.outcomes import Prediction
from tests.conftest import PROJECT


@pytest.fixture
def location(lane):
    return Location.parse(lane.images_location)


@pytest.fixture
def listings(monkeypatch):
    """The prefixes of all listings."""
    real, seen = storage.Client.list_blobs, []

    def list_blobs(self, bucket, **options):
        seen.append(options["prefix"])
        return real(self, bucket, **options)

    monkeypatch.setattr(storage.Client, "list_blobs", list_blobs)
    return seen


@pytest.fixture
def make(lane, location):
    """Store a prompt's record as the job does, and add it to the index if `note` is set."""

    def one(number, *, note=True, reused=False, images=None):
        digest = f"{number:032x}"[::-1]
        paths = [f"{lane.images_location}/{digest[:2]}/{digest}-{index}.png" for index in (1, 3)]
        record = {
            "schema": "imagen.record/1",
            "prompt": f"fox {number}",
            "images": paths,
            "created_at": "2026-11-01T00:00:00+00:00",
        }
        if not reused:
            lane.put(f"images/{digest[:2]}/{digest}.json", json.dumps(record))
        if note:
            index_images = tuple(paths) if images is None else images
            outcome = Prediction(
                prompt_id="id",
                deduplication_key="0f" * 32,
                digest=digest,
                prompt="cut",
                images=index_images,
                model="m",
                source="s",
                reused=reused,
                created_at="now",
                latency_ms=1,
            )
            recent_index.record_outcome(outcome, location)
            recent_index.flush(30)
        return f"images/{digest[:2]}/{digest}.json"

    return one


def prompts(location, limit):
    return [record["prompt"] for record in newest(location, PROJECT, limit)]


def test_images_in_the_index_need_no_listing_of_all_images(make, location, listings):
    for number in (3, 1, 2):
        make(number)
    assert prompts(location, 3) == ["fox 2", "fox 1", "fox 3"]
    assert prompts(location, 2) == ["fox 2", "fox 1"]
    assert set(listings) == {f"{location.prefix}recent/predictions/"}
    assert len(listings) == 2


def test_all_images_are_listed_if_the_index_has_too_few(make, location, listings):
    make(1, note=False)
    make(2)
    assert prompts(location, 2) == ["fox 2", "fox 1"]
    assert listings == [f"{location.prefix}recent/predictions/", location.prefix]


def test_reused_images_do_not_count_as_new(make, location):
    for number in (1, 2):
        make(number)
    make(1, reused=True)
    assert prompts(location, 2) == ["fox 2", "fox 1"]
    assert prompts(location, 1) == ["fox 2"]


def test_a_prompt_with_two_entries_is_shown_once(make, location, listings):
    for number in (1, 2, 2):
        make(number)
    assert prompts(location, 2) == ["fox 2", "fox 1"]
    assert len(listings) == 1


def test_deleted_images_are_skipped(make, lane, location, listings):
    for number in (1, 2):
        make(number)
    lane.storage.bucket(location.bucket).blob(f"{lane.name}/{make(3)}").delete()
    assert prompts(location, 2) == ["fox 2", "fox 1"]
    assert len(listings) == 1


@pytest.mark.parametrize(
    "images",
    [
        (),
        ("gs://elsewhere/images/20/2" + "0" * 31 + "-0.png",),
        ("gs://demo-project-imagen/../20/2" + "0" * 31 + "-0.png",),
        (5,),
    ],
)
def test_an_entry_without_images_of_this_location_is_skipped(make, location, images):
    make(1)
    make(2, images=images, reused=False, note=True)
    assert prompts(location, 1) == ["fox 1"]


def test_index_objects_are_not_listed_as_images(make, lane, location, listings):
    make(1, note=False)
    record = {"schema": "imagen.record/1", "prompt": "no image", "images": []}
    lane.put("images/recent/predictions/0.json", json.dumps(record))
    assert prompts(location, 10) == ["fox 1"]
