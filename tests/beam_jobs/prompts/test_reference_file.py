import pytest

from beam_jobs.prompts.body import InvalidPromptError
from beam_jobs.prompts.reference_file import MAX_BYTES, ResourceError, content_in, reference_type


def test_metadata_tells_what_is_too_large_or_packed_and_never_a_checksum_of_32_bits_alone():
    whole = {"size": "9", "generation": "1", "crc32c": "AAAA=="}
    with pytest.raises(InvalidPromptError, match=r"has 30,000,001 bytes; expected 1 to 30,000,000"):
        content_in("gs://b/a", {**whole, "size": str(MAX_BYTES + 1)})
    with pytest.raises(InvalidPromptError, match="is stored compressed"):
        content_in("gs://b/a", {**whole, "contentEncoding": "gzip"})
    with pytest.raises(ResourceError, match="cannot read storage's answer for gs://b/a: KeyError"):
        content_in("gs://b/a", {"size": "9"})
    # A picture with somebody else's CRC32C is made in a moment.
    assert content_in("gs://b/a", whole) != content_in("gs://b/c", whole)
    assert content_in("gs://b/a", {**whole, "md5Hash": "x"}) == "md5:x:9"


@pytest.mark.parametrize(
    ("start", "mime_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"\x00\x00\x00\x18ftypheic", "image/heic"),
        (b"\x00\x00\x00\x18ftypmif1", "image/heif"),
        (b"\x00\x00\x00\x18ftypmp42", None),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
def test_the_first_bytes_tell_the_type(start, mime_type):
    assert reference_type(start) == mime_type
