"""Each error of Google's libraries says in one line what to do."""

import aiohttp
import pytest
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.genai import errors as genai_errors
from requests import exceptions as requests_exceptions

from beam_jobs.cli.remedies import remedy


def genai(code, message):
    return genai_errors.APIError(code, {"error": {"code": code, "message": message}})


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (api_exceptions.NotFound("gone"), "does not exist (NotFound: 404 gone); create it"),
        (genai(404, "gone"), "does not exist (NotFound: 404 gone); create it"),
        (api_exceptions.PermissionDenied("no"), "access is denied (PermissionDenied: 403 no); ask"),
        (genai(403, "no"), "access is denied (Forbidden: 403 no); ask"),
        (api_exceptions.PermissionDenied("Pub/Sub API … SERVICE_DISABLED"), "its API is not"),
        (api_exceptions.Unauthenticated("old"), "the credentials are refused"),
        (auth_exceptions.RefreshError("old"), "the credentials are refused"),
        (genai(429, "slow"), "over quota"),
        (api_exceptions.InternalServerError("oh"), "X at x:1 fails"),
        (api_exceptions.ServiceUnavailable("oh"), "X at x:1 does not answer"),
        (api_exceptions.DeadlineExceeded("late"), "X at x:1 does not answer"),
        (api_exceptions.RetryError("late", OSError("refused")), "X at x:1 does not answer"),
        (requests_exceptions.ConnectTimeout("late"), "X at x:1 does not answer"),
        (aiohttp.ClientPayloadError("cut"), "X at x:1 does not answer"),
        (auth_exceptions.TransportError("cut"), "X at x:1 does not answer"),
        (TimeoutError(), "X at x:1 does not answer (TimeoutError)"),
        (genai(400, "bad"), "BadRequest: 400 bad"),
        (ValueError("odd\n" * 1000), "ValueError: odd odd"),
    ],
)
def test_an_error_is_a_line_with_what_to_do(error, says):
    text = remedy(error, at="X at x:1", missing="create it", denied="ask")
    assert text.startswith(says)
    assert len(text) < 400
    assert "\n" not in text


def test_the_request_of_an_http_error_is_left_out():
    error = api_exceptions.NotFound("GET http://x/very?long=query: The bucket does not exist.")
    text = remedy(error, at="X", missing="create it", denied="ask")
    assert text == "does not exist (NotFound: 404 The bucket does not exist); create it"


def test_the_answers_that_a_download_expects_are_left_out():
    expected = "('Request failed with status code', 403, 'Expected one of', <HTTPStatus.OK: 200>)"
    error = api_exceptions.Forbidden(f"GET http://x/b/x?alt=media: No access.: {expected}")
    text = remedy(error, at="X", missing="create it", denied="ask")
    assert text == "access is denied (Forbidden: 403 No access.: status 403); ask"
