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
    (413, b"", PROMPT),
    (413, b"<html>Request Entity Too Large", PROMPT),
    (414, b"", PROMPT),
    (415, b"", PROMPT),
    (422, b'{"detail": [{"loc": ["body", "instances"]}]}', PROMPT),
    (400, status(400, "INVALID_ARGUMENT", "violates Google's Responsible AI practices"), BLOCKED),
    (400, status(400, "INVALID_ARGUMENT", "blocked by safety filters"), BLOCKED),
    # https://github.com/google-marketing-solutions/adios/issues/62
    (
        400,
        status(
            400,
            "INVALID_ARGUMENT",
            "Image generation failed with the following error: The prompt could not be submitted. "
            "Your current safety filter threshold prohibited one or more words in this prompt. If "
            "you think this was an error, send feedback. Support codes: 61493863",
        ),
        BLOCKED,
    ),
    # https://github.com/epam/ai-dial-adapter-vertexai/issues/66
    (
        400,
        status(
            400,
            "INVALID_ARGUMENT",
            "Image generation failed with the following error: The response is blocked, as it may "
            "violate our policies. Error Code: 58061214",
        ),
        BLOCKED,
    ),
    (400, status(400, "INVALID_ARGUMENT", "New words. Support codes: 12345678"), BLOCKED),
    (400, b'{"error": "Unable to draw. Support codes: 12345678"}', BLOCKED),
    # What stands between the job and the model refuses too, for its own reasons.
    (400, b"<html>Request blocked. Support ID: 12345678901234567890</html>", OPERATOR),
    (400, b'{"fault": {"faultstring": "blocked by policy"}}', OPERATOR),
    (400, b'{"error": "Request blocked by firewall"}', OPERATOR),
    (400, b'{"message": "Sensitive data is prohibited", "status": 400}', OPERATOR),
    (400, b"Error code: 1020", OPERATOR),
    (400, b'{"detail": "field required"}', OPERATOR),
    (400, b"", OPERATOR),
    (422, b"<html>Blocked</html>", OPERATOR),
    (400, status(400, "INVALID_ARGUMENT", "Billing account is blocked."), OPERATOR),
    (
        400,
        status(400, "INVALID_ARGUMENT", "Request is prohibited by organization's policy."),
        OPERATOR,
    ),
    (
        400,
        status(400, "INVALID_ARGUMENT", "violates", reason="SECURITY_POLICY_VIOLATED"),
        OPERATOR,
    ),
    # A bad request is no refusal of its content.
    (400, status(400, "INVALID_ARGUMENT", "Request violates schema"), PROMPT),
    (400, status(400, "INVALID_ARGUMENT", "values are case-sensitive"), PROMPT),
    (400, status(400, "INVALID_ARGUMENT", "safetySetting: expected one of"), PROMPT),
    (400, status(400, "INVALID_ARGUMENT", "the field is blocked or prohibited"), PROMPT),
    # Numbers that say nothing about the prompt.
    *[
        (number, body, OPERATOR)
        for number in (406, 418, 421, 424, 428, 431, 440, 444, 451, 460, 495, 497, 498)
        for body in (b"", b"<html>")
    ],
    *[(number, b"", TRANSIENT) for number in (600, 999)],
    # Load is load, whatever else is said.
    (429, status(429, "", reason="SOME_NEW_REASON"), OVER_QUOTA),
    (429, status(429, "RESOURCE_EXHAUSTED", reason="SOME_NEW_REASON"), OVER_QUOTA),
    (
        429,
        status(429, "RESOURCE_EXHAUSTED", "check your plan and billing details"),
        OVER_QUOTA,
    ),
    (503, status(503, "UNAVAILABLE", reason="SOME_NEW_REASON"), OVERLOADED),
    (503, status(503, "", reason="LOCATION_POLICY_VIOLATED"), OVERLOADED),
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
