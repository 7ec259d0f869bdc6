"""What error answers mean: by reason, status and number, in whatever form they come."""

import json

import pytest

from beam_jobs.models.refusals import Meaning, Refusal, code_of, error_in, meaning_of, parse_refusal

OVER_QUOTA, OVERLOADED, TRANSIENT = Meaning.OVER_QUOTA, Meaning.OVERLOADED, Meaning.TRANSIENT
OPERATOR, BLOCKED, PROMPT = Meaning.OPERATOR, Meaning.BLOCKED, Meaning.PROMPT

INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def status(number, name, message="told why", reason=None, domain="googleapis.com", **others):
    error = {"code": number, "message": message, "status": name, **others}
    if reason:
        error["details"] = [{"@type": INFO, "reason": reason, "domain": domain}]
    return json.dumps({"error": error}).encode()


# As the services answer them: number, body, meaning.
ANSWERS = [
    (429, status(429, "RESOURCE_EXHAUSTED"), OVER_QUOTA),
    (503, status(503, "RESOURCE_EXHAUSTED"), OVER_QUOTA),
    (400, status(400, "RESOURCE_EXHAUSTED"), OVER_QUOTA),
    (403, status(403, "PERMISSION_DENIED", reason="RATE_LIMIT_EXCEEDED"), OVER_QUOTA),
    (403, b'{"error": {"code": 403, "errors": [{"reason": "userRateLimitExceeded"}]}}', OVER_QUOTA),
    (429, b"{not JSON", OVER_QUOTA),
    (429, b"", OVER_QUOTA),
    (499, status(499, "CANCELLED", "The operation was cancelled."), TRANSIENT),
    (409, status(409, "ABORTED"), TRANSIENT),
    (425, b"Too Early", TRANSIENT),
    (500, status(500, "INTERNAL"), OVERLOADED),
    (500, status(500, "UNKNOWN"), OVERLOADED),
    (503, status(503, "UNAVAILABLE", "The model is overloaded."), OVERLOADED),
    (504, status(504, "DEADLINE_EXCEEDED"), OVERLOADED),
    (408, b"", OVERLOADED),
    (502, b"<html>Bad Gateway</html>", OVERLOADED),
    (529, b"Site is overloaded", OVERLOADED),
    (400, status(400, "FAILED_PRECONDITION", "The model is not enabled"), OPERATOR),
    (
        400,
        status(
            400,
            "FAILED_PRECONDITION",
            "Organization Policy constraint `constraints/vertexai.allowedModels` violated",
        ),
        OPERATOR,
    ),
    (400, status(400, "FAILED_PRECONDITION", "User location is not supported"), OPERATOR),
    (400, status(400, "INVALID_ARGUMENT", "API key", reason="API_KEY_INVALID"), OPERATOR),
    (
        400,
        status(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
        OPERATOR,
    ),
    (401, status(401, "UNAUTHENTICATED"), OPERATOR),
    (401, b"<html>", OPERATOR),
    (402, b"", OPERATOR),
    (403, status(403, "PERMISSION_DENIED", reason="SERVICE_DISABLED"), OPERATOR),
    (403, status(403, "PERMISSION_DENIED", reason="BILLING_DISABLED"), OPERATOR),
    (403, status(403, "PERMISSION_DENIED", reason="CONSUMER_INVALID"), OPERATOR),
    (
        403,
        status(
            403,
            "PERMISSION_DENIED",
            "Requests to this API are blocked.",
            reason="API_KEY_SERVICE_BLOCKED",
        ),
        OPERATOR,
    ),
    (403, b"<html>Forbidden by the proxy</html>", OPERATOR),
    (404, status(404, "NOT_FOUND", "Publisher Model `x` was not found"), OPERATOR),
    (405, b"", OPERATOR),
    (407, b"", OPERATOR),
    (410, b"", OPERATOR),
    (501, status(501, "UNIMPLEMENTED"), OPERATOR),
    (302, b"", OPERATOR),
    (400, status(400, "INVALID_ARGUMENT", "Aspect ratio 2:1 is not supported"), PROMPT),
    (400, status(400, "OUT_OF_RANGE", "seed is out of range"), PROMPT),
    (400, b'{"detail": "field required"}', PROMPT),
    (400, b"", PROMPT),
    (413, b"", PROMPT),
    (422, b'{"detail": [{"loc": ["body", "instances"]}]}', PROMPT),
    (400, status(400, "INVALID_ARGUMENT", "violates Google's Responsible AI practices"), BLOCKED),
    (400, status(400, "INVALID_ARGUMENT", "blocked by safety filters"), BLOCKED),
]


@pytest.mark.parametrize(("number", "body", "meaning"), ANSWERS)
def test_an_error_says_whose_fault_it_is(number, body, meaning):
    assert meaning_of(parse_refusal(number, body)) is meaning
    in_a_list = b"[" + body + b"]" if body.startswith(b'{"error"') else body
    assert meaning_of(parse_refusal(number, in_a_list)) is meaning


def test_every_error_number_has_a_meaning():
    assert {meaning_of(Refusal(number)) for number in range(300, 600)} == {
        OVER_QUOTA,
        OVERLOADED,
        TRANSIENT,
        OPERATOR,
        PROMPT,
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (status(503, "UNAVAILABLE", "busy"), "busy"),
        (b'{"error": "busy"}', "busy"),
        (b'{"message": "busy", "code": 503}', "busy"),
        (b"  busy \n  now ", "busy now"),
        (b"\xff", "\ufffd"),
        (
            b'{"error": {"details": "odd", "errors": 1}}',
            '{"error": {"details": "odd", "errors": 1}}',
        ),
        (b"null", "null"),
        (b"[1]", "[1]"),
    ],
)
def test_what_a_service_says_is_found_in_any_form(body, message):
    assert parse_refusal(503, body).message == message


def test_a_page_is_quoted_only_in_part():
    assert len(parse_refusal(502, b"<html>" * 1000).message) == 200


def test_an_error_may_hide_in_an_answer_that_says_it_is_good():
    assert error_in({"error": {"code": 429}}) == {"code": 429}
    assert error_in([{"candidates": []}, {"error": {"code": 429}}]) == {"code": 429}
    assert error_in({"error": "busy"}) == {"message": "busy"}
    assert error_in({"candidates": [], "error": None}) is None
    assert error_in("busy") is None
    assert [code_of({"code": code}) for code in (429, 200, "429", None)] == [429, 500, 500, 500]
