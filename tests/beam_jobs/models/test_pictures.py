"""Base64 in its dialects, and pictures that are whole or break off."""

import base64
import textwrap

import pytest

from beam_jobs.models.pictures import (
    NotAPictureError,
    decode_base64,
    looks_like_picture,
    picture_format,
)
from tests.pictures import encoded, png

# Bytes whose base64 has each special character of both alphabets, and padding.
DATA = b"\xff\xd8\xff\xe0\xfb\xef\xbe\xff\xff\xfe" * 20
PLAIN = base64.b64encode(DATA).decode()
URL_SAFE = base64.urlsafe_b64encode(DATA).decode()


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.rstrip("="),
        URL_SAFE,
        URL_SAFE.rstrip("="),
        "\n".join(textwrap.wrap(PLAIN, 76)) + "\n",
        "\r\n".join(textwrap.wrap(PLAIN, 64)),
        f"  {PLAIN}\t",
        f"data:image/png;base64,{PLAIN}",
        f"data:image/svg+xml;charset=utf-8;base64,{PLAIN}",
        f"DATA:image/png;BASE64,{URL_SAFE.rstrip('=')}",
        "data:;base64,\n" + "\n".join(textwrap.wrap(URL_SAFE, 76)),
    ],
)
def test_base64_of_every_common_dialect_is_read(text):
    assert {"+", "/", "="} <= set(PLAIN)
    assert decode_base64(text) == DATA


@pytest.mark.parametrize("text", ["!", "a", "CUDA out of memory.", "data:image/png,abc", PLAIN[:5]])
def test_what_is_not_base64_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        decode_base64(text)


@pytest.mark.parametrize("text", [PLAIN, URL_SAFE, f"data:image/png;base64,{PLAIN}"])
def test_base64_is_read_where_it_stands_in_json(text):
    assert decode_base64(memoryview(text.encode())) == DATA


@pytest.mark.parametrize("byte", [b"\t", b"\r", b"\0", b"\xff", b" "])
def test_a_byte_that_json_does_not_allow_within_base64_is_refused(byte):
    broken = PLAIN[:40].encode() + byte + PLAIN[40:].encode()
    with pytest.raises(ValueError, match=r".+"):
        decode_base64(memoryview(broken))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_told_by_the_beginning_of_its_base64(kind):
    text = base64.urlsafe_b64encode(encoded(kind)).decode()
    assert looks_like_picture(text)
    assert looks_like_picture(f"data:image/x;base64,{text}")
    assert not looks_like_picture("image/png")
    assert not looks_like_picture("")


WHOLE = {
    "png": (encoded("PNG"), "png", "image/png"),
    "png-by-hand": (png(b"a fox"), "png", "image/png"),
    "jpeg": (encoded("JPEG"), "jpg", "image/jpeg"),
    # Several scans, with segments between them.
    "jpeg-progressive": (encoded("JPEG", progressive=True), "jpg", "image/jpeg"),
    # The comment holds the end of a thumbnail.
    "jpeg-thumbnail": (encoded("JPEG", comment=b"\xff\xd9"), "jpg", "image/jpeg"),
    "webp": (encoded("WEBP"), "webp", "image/webp"),
    "webp-lossless": (encoded("WEBP", lossless=True), "webp", "image/webp"),
}


@pytest.mark.parametrize(("data", "extension", "mime_type"), WHOLE.values(), ids=WHOLE)
def test_a_whole_picture_is_known_by_its_bytes_whatever_follows_it(data, extension, mime_type):
    assert picture_format(data) == (extension, mime_type)
    assert picture_format(data + b"\0trailing bytes") == (extension, mime_type)


@pytest.mark.parametrize(("data", "extension", "mime_type"), WHOLE.values(), ids=WHOLE)
def test_a_picture_that_breaks_off_anywhere_is_none(data, extension, mime_type):
    for length in range(16, len(data)):
        with pytest.raises(NotAPictureError, match="breaks off"):
            picture_format(data[:length])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG",
        b"GIF89a....;",
        b"RIFF\x10\0\0\0WAVEfmt ",
        b"\0\0\0\x20ftypavif",
        b"\0\0\0\x18ftypheic",
        b"<html>",
    ],
)
def test_what_is_no_png_jpeg_or_webp_is_none(data):
    with pytest.raises(NotAPictureError, match="not a PNG, JPEG or WebP"):
        picture_format(data)


@pytest.mark.parametrize(
    "data",
    [
        # Nothing but a beginning and an end.
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0IEND\xaeB`\x82",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\xff\xff",
        b"RIFF\x04\0\0\0WEBP",
    ],
)
def test_a_picture_without_pixels_is_none(data):
    with pytest.raises(NotAPictureError, match="breaks off"):
        picture_format(data)
