"""How bytes, statuses and headers are interpreted, the same for both APIs."""

import pytest

from beam_jobs.models.base import (
    MAX_DETAIL_CHARS,
    CallError,
    Retry,
    blocked_error,
    error_from_status,
    image_from_bytes,
    no_image_error,
    parse_retry_after,
    unreachable_error,
)
from beam_jobs.outcomes import Reason


@pytest.mark.parametrize(
    ("data", "extension", "mime_type"),
    [
        (b"\x89PNG\r\n\x1a\n....", "png", "image/png"),
        (b"\xff\xd8\xff\xe0....", "jpg", "image/jpeg"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp", "image/webp"),
    ],
)
def test_a_picture_is_known_by_its_first_bytes(data, extension, mime_type):
    image = image_from_bytes(data)
    assert (image.data, image.extension, image.mime_type) == (data, extension, mime_type)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89PNG", b"GIF89a....", b"RIFF\x10\0\0\0WAVEfmt ", b"<html>", b"This is no picture."],
)
def test_what_is_no_picture_is_an_answer_without_an_image(data):
    with pytest.raises(CallError) as caught:
        image_from_bytes(data)
    assert (caught.value.reason, caught.value.retry) == (Reason.NO_IMAGE, Retry.LIMITED)
    assert str(caught.value) == (
        f"model answered with {len(data)} bytes that are not a PNG, JPEG or WebP image; "
        f"they start with {data[:8].hex() or 'nothing'}"
    )


@pytest.mark.parametrize(
    ("status", "reason", "retry", "retryable", "over_quota", "overloaded"),
    [
        (400, Reason.MODEL_ERROR, Retry.NEVER, False, False, False),
        (401, Reason.MODEL_ERROR, Retry.NEVER, True, False, False),
        (403, Reason.MODEL_ERROR, Retry.NEVER, True, False, False),
        (404, Reason.MODEL_ERROR, Retry.NEVER, True, False, False),
        (413, Reason.MODEL_ERROR, Retry.NEVER, False, False, False),
        (408, Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, False, True),
        (429, Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, True, False),
        (500, Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, False, True),
        (503, Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, False, True),
        (504, Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, False, True),
    ],
)
def test_a_status_says_what_to_do(status, reason, retry, retryable, over_quota, overloaded):
    error = error_from_status(status, "told why", 3.0)
    assert (error.reason, error.retry, error.retryable) == (reason, retry, retryable)
    assert (error.over_quota, error.overloaded) == (over_quota, overloaded)
    assert error.detail == f"model answered {status}: told why"
    assert error.retry_after_s == (3.0 if retry is Retry.UNTIL_TIMEOUT else None)


def test_refusals_are_final_empty_answers_few_and_silence_patient():
    assert (blocked_error("x").retry, blocked_error("x").retryable) == (Retry.NEVER, False)
    assert (no_image_error("x").retry, no_image_error("x").retryable) == (Retry.LIMITED, True)
    assert (unreachable_error("x").retry, unreachable_error("x").overloaded) == (
        Retry.UNTIL_TIMEOUT,
        True,
    )


def test_a_services_essay_is_cut_short():
    error = error_from_status(500, "x" * 10_000)
    assert len(error.detail) == len(str(error)) == MAX_DETAIL_CHARS


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        (None, None),
        ("", None),
        ("0", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_nothing(header, seconds):
    assert parse_retry_after(header) == seconds
