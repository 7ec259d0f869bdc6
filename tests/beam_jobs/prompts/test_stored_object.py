"""Objects are read as stored, whatever their Content-Encoding, and from one generation."""

import gzip
import os

import pytest
from google.api_core import exceptions as api_exceptions

from beam_jobs.prompts import stored_object
from beam_jobs.prompts.stored_object import StoredObject
from tests.conftest import BUCKET


@pytest.fixture
def stored(lane):
    """Store an object and return it as a stream."""

    def put(content, **attributes):
        blob = lane.storage.bucket(BUCKET).blob(f"{lane.name}/p")
        for name, value in attributes.items():
            setattr(blob, name, value)
        blob.upload_from_string(content, content_type=attributes.get("content_type"))
        return StoredObject(
            lane.storage.bucket(BUCKET).blob(blob.name, generation=blob.generation), len(content)
        )

    return put


def whole(stream, size=7000):
    parts = []
    while part := stream.read(size):
        assert len(part) <= size
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("cache_control", [None, "no-transform"])
@pytest.mark.parametrize("content_type", ["text/plain", "application/gzip"])
def test_an_object_that_storage_would_decompress_is_read_as_stored(
    stored, monkeypatch, content_type, cache_control
):
    monkeypatch.setattr(stored_object, "PIECE_BYTES", 1000)
    content = gzip.compress(os.urandom(5000))
    kept = {"content_type": content_type, "cache_control": cache_control}
    assert whole(stored(content, content_encoding="gzip", **kept), 300) == content


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2000])
def test_every_size_is_read_to_its_end(stored, monkeypatch, size):
    monkeypatch.setattr(stored_object, "PIECE_BYTES", 1000)
    content = os.urandom(size)
    assert whole(stored(content)) == content


def test_an_object_that_is_replaced_meanwhile_is_not_read_half_and_half(lane, stored, monkeypatch):
    monkeypatch.setattr(stored_object, "PIECE_BYTES", 10)
    stream = stored(b"old" * 10)
    assert stream.read(10) == b"oldoldoldo"
    lane.put("p", b"new" * 10)
    with pytest.raises(api_exceptions.NotFound):
        stream.read(10)
    assert isinstance(stream.error, api_exceptions.NotFound)


def test_an_answer_of_another_size_is_an_error_and_not_an_endless_loop():
    class Blob:
        def download_as_bytes(self, **_):
            return b"the whole object, whatever the range"

    with pytest.raises(OSError, match="sent 36 bytes for the 5 from offset 0"):
        StoredObject(Blob(), 5).read(5)
