"""What an image's object says of the image, and that Cloud Storage takes it."""

import dataclasses
import json
import urllib.parse

import pytest

from beam_jobs.images.object_metadata import (
    MAX_OTHER_BYTES,
    MAX_TEXT_BYTES,
    ImageMetadata,
    escaped,
    metadata_of,
)
from beam_jobs.outcomes import Prediction
from beam_jobs.prompts.field_values import MAX_PROMPT_CHARS
from localcloud.storage.attributes import MAX_METADATA_BYTES
from tests.beam_jobs.engine import test_generate
from tests.conftest import BUCKET

GEMINI = "gemini-3.1-flash-image"
generator = test_generate.generator


def test_it_says_where_an_image_comes_from_and_not_what_was_asked_for(prompt_of):
    prompt = dataclasses.replace(prompt_of("a secret fox", id="order-1"), template="studio@7")
    metadata = metadata_of(prompt, 0.0672)
    assert metadata == {
        "prompt-id": "order-1",
        "digest": prompt.digest,
        "model": GEMINI,
        "template": "studio@7",
        "cost-usd": "0.067200",
    }
    assert metadata_of(prompt, 0.0672, ImageMetadata.PROMPT) == {
        **metadata,
        "prompt": "a secret fox",
    }
    assert metadata_of(prompt, 0.0672, ImageMetadata.OFF) is None


def test_what_is_not_known_is_left_out(prompt_of):
    assert set(metadata_of(prompt_of("a fox"), None) or {}) == {"prompt-id", "digest", "model"}


@pytest.mark.parametrize(
    "text",
    ["a fox, 50% off + more", "naïve 狐 🦊", "two\nlines\r\nX-Forged: 1", "\x00\x7f", "%41"],
)
def test_every_text_is_one_line_of_ascii_that_can_be_read_back(text):
    coded = escaped(text, MAX_TEXT_BYTES)
    assert coded.isascii()
    assert coded.isprintable()
    assert urllib.parse.unquote(coded) == text


@pytest.mark.parametrize("text", ["x", "é", "狐", "🦊", "a🦊", "%"])
@pytest.mark.parametrize("limit", [0, 1, 11, 12, 13, MAX_OTHER_BYTES, MAX_TEXT_BYTES])
def test_a_long_text_ends_with_its_last_whole_character_that_fits(text, limit):
    whole = text * MAX_PROMPT_CHARS
    coded = escaped(whole, limit)
    kept = urllib.parse.unquote(coded)
    assert whole.startswith(kept)
    assert limit - 12 < len(coded) <= limit or limit == 0


def test_the_longest_that_a_prompt_can_have_fits_into_the_limits(prompt_of):
    prompt = dataclasses.replace(
        prompt_of("🦊" * MAX_PROMPT_CHARS), model="m" * 5_000, prompt_id="p" * 5_000, template="x@1"
    )
    metadata = metadata_of(prompt, 1e9, ImageMetadata.PROMPT)
    assert metadata is not None
    assert sum(len(name) + len(value) for name, value in metadata.items()) <= MAX_METADATA_BYTES


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ImageMetadata)
async def test_it_is_sent_with_the_image_and_takes_no_request_more(
    cloud, lane, generator, prompt_of, kind
):
    before = cloud.storage()["calls"]
    prompt = prompt_of("a fox in 雪", images=2)
    outcome = await generator(metadata=kind).outcome(prompt)
    assert isinstance(outcome, Prediction), outcome
    # A look for what is there, a claim, two images, and their record.
    assert cloud.storage()["calls"] - before == 5
    stored = [
        blob
        for blob in lane.storage.list_blobs(BUCKET, prefix=f"{lane.name}/images/")
        if blob.name.endswith(".png")
    ]
    for blob in stored:
        assert blob.content_type == "image/png"
        metadata = blob.metadata
        if kind is ImageMetadata.OFF:
            assert metadata is None
            continue
        assert metadata["prompt-id"] == outcome.prompt_id
        assert metadata["digest"] == prompt.digest
        assert metadata["model"] == GEMINI
        each = outcome.work.cost_usd / 2
        assert float(metadata["cost-usd"]) == pytest.approx(each, abs=1e-6)
        text = urllib.parse.unquote(metadata.get("prompt", ""))
        assert text == ("a fox in 雪" if kind is ImageMetadata.PROMPT else "")
    assert len(stored) == 2


@pytest.mark.asyncio
async def test_images_with_it_are_found_like_others_and_their_record_is_the_same(
    lane, generator, prompt_of
):
    prompt = prompt_of("a fox")
    made = await generator(metadata=ImageMetadata.PROMPT).outcome(prompt)
    found = await generator().outcome(prompt_of("a fox", origin="message-2"))
    assert isinstance(found, Prediction)
    assert (found.images, found.reused) == (made.images, True)
    (record,) = [data for name, data in lane.objects("images/").items() if name.endswith(".json")]
    assert json.loads(record)["images"] == list(made.images)
