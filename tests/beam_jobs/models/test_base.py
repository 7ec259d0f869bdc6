"""How bytes, statuses and headers are interpreted, the same for both APIs."""

import datetime
import email.utils

import pytest

from beam_jobs.models.base import (
    MAX_DETAIL_CHARS,
    MAX_WORDS_CHARS,
    CallError,
    Retry,
    blocked_error,
    error_from_answer,
    error_from_status,
    image_from_bytes,
    no_image_error,
    parse_retry_after,
    quote_words,
    unreachable_error,
)
from beam_jobs.outcomes import Reason
from tests.pictures import encoded, png

# google.rpc.RetryInfo
DELAYED = b'{"error": {"details": [{"@type": "x"}, {"retryDelay": "3.5s"}]}}'


@pytest.mark.parametrize(
    ("data", "extension", "mime_type"),
    [
        (png(), "png", "image/png"),
        (encoded("JPEG"), "jpg", "image/jpeg"),
        (encoded("WEBP"), "webp", "image/webp"),
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


def test_a_picture_that_breaks_off_is_an_answer_without_an_image():
    with pytest.raises(CallError, match="bytes of a PNG image that breaks off") as caught:
        image_from_bytes(png()[:-1])
    assert (caught.value.reason, caught.value.retry) == (Reason.NO_IMAGE, Retry.LIMITED)


@pytest.mark.parametrize(
    ("status", "reason", "retry", "retryable", "over_quota", "overloaded"),
    [
        # Google's services would name a status.
        (400, Reason.MODEL_ERROR, Retry.NEVER, True, False, False),
        (422, Reason.MODEL_ERROR, Retry.NEVER, False, False, False),
        (401, Reason.MODEL_ERROR, Retry.NEVER, True, False, False),
        (403, Reason.MODEL_ERROR, Retry.NEVER, True, False, False),
        (404, Reason.MODEL_ERROR, Retry.NEVER, True, False, False),
        (413, Reason.MODEL_ERROR, Retry.NEVER, False, False, False),
        (409, Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, False, False),
        (499, Reason.UNAVAILABLE, Retry.UNTIL_TIMEOUT, True, False, False),
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
    ("body", "headers", "seconds"),
    [
        (b"{}", {}, None),
        (b"{}", {"Retry-After": "2"}, 2.0),
        (DELAYED, {}, 3.5),
        (DELAYED, {"Retry-After": "2"}, 2.0),
        (DELAYED, {"Retry-After": "soon"}, 3.5),
        (b'{"error": {"details": [{"retryDelay": "later"}]}}', {}, None),
        (b"<html>slow down</html>", {"Retry-After": "2"}, 2.0),
    ],
)
def test_an_answer_says_how_long_to_wait(body, headers, seconds):
    error = error_from_answer(429, body, headers)
    assert error.over_quota
    assert error.retry_after_s == seconds


def test_an_answer_of_an_operators_kind_is_retryable_and_quotes_status_and_text():
    body = b'{"error": {"status": "FAILED_PRECONDITION", "message": "policy violated"}}'
    error = error_from_answer(400, body, {})
    assert (error.reason, error.retry, error.retryable) == (Reason.MODEL_ERROR, Retry.NEVER, True)
    assert error.detail == "model answered 400: FAILED_PRECONDITION: policy violated"


def test_an_answer_of_success_without_content_is_no_image():
    assert error_from_answer(204, b"", {}).reason is Reason.NO_IMAGE


def test_what_a_model_says_is_quoted_on_one_line_and_cut_off():
    assert quote_words() == quote_words("", None, " \n") == ""
    assert quote_words("I cannot\n draw", "that.") == "; it says: I cannot draw that."
    long = quote_words("x" * 1000)
    assert long.endswith("x…")
    assert len(long) < MAX_WORDS_CHARS + 20


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
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 -0000", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", None),
        ("Mon, 01 Jan 0001 00:00:00 -0000", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +9999999999", None),
        ("1e999", None),
        ("\0", None),
    ],
)
def test_retry_after_is_a_time_to_come_or_nothing(header, seconds):
    assert parse_retry_after(header) == seconds


@pytest.mark.parametrize("zone", ["-2359", "+2359", "-0000", "GMT"])
def test_retry_after_may_be_at_the_end_of_time(zone):
    seconds = parse_retry_after(f"Fri, 31 Dec 9999 23:59:59 {zone}")
    assert seconds is not None
    assert seconds > 1e9


def test_a_date_in_retry_after_is_a_time_from_now():
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    seconds = parse_retry_after(email.utils.format_datetime(until, usegmt=True))
    assert seconds is not None
    assert 40 < seconds <= 100
