"""What refused writes mean."""

import json

import pytest

from beam_jobs.images.refusals import Meaning, Refusal

THERE, TRANSIENT, OPERATOR = Meaning.THERE, Meaning.TRANSIENT, Meaning.OPERATOR


def body(reason, message="told why"):
    error = {"code": 1, "message": message, "errors": [{"reason": reason, "message": message}]}
    return json.dumps({"error": error})


@pytest.mark.parametrize(
    ("status", "text", "meaning"),
    [
        (412, body("conditionNotMet", "At least one of the pre-conditions…"), THERE),
        (412, f"Precondition Failed: {body('conditionNotMet')}", THERE),
        (412, body("orgPolicyConstraintFailed"), OPERATOR),
        (412, body("conditionNotMet", "Request violates constraint 'constraints/x'"), OPERATOR),
        (412, body("softDeletePolicyNotSet"), OPERATOR),
        (412, "", Meaning.UNCLEAR),
        (412, "<html>Precondition Failed</html>", Meaning.UNCLEAR),
        (400, body("cloudKmsDisabledKey"), OPERATOR),
        (400, body("cloudKmsKeyLocationNotAllowed"), OPERATOR),
        (400, body("userProjectMissing"), OPERATOR),
        (400, body("invalid"), OPERATOR),
        (400, "", OPERATOR),
        (401, body("authError"), OPERATOR),
        (402, "", OPERATOR),
        (403, body("forbidden"), OPERATOR),
        (403, body("accountDisabled"), OPERATOR),
        # Who may create objects, and not replace any, is told so.
        (
            403,
            body("forbidden", "a@b does not have storage.objects.delete access to the object."),
            Meaning.UNCLEAR,
        ),
        (
            403,
            body("forbidden", "a@b does not have storage.objects.create access to the object."),
            OPERATOR,
        ),
        (403, body("rateLimitExceeded"), TRANSIENT),
        (404, body("notFound"), OPERATOR),
        (304, "", OPERATOR),
        (413, body("uploadTooLarge"), Meaning.OBJECT),
        (408, body("uploadBrokenConnection"), TRANSIENT),
        (409, body("conflict"), TRANSIENT),
        (410, "", TRANSIENT),
        (429, body("rateLimitExceeded"), TRANSIENT),
        (499, "", TRANSIENT),
        (500, body("backendError"), TRANSIENT),
        (502, "<html>", TRANSIENT),
        (503, body("backendError"), TRANSIENT),
        (504, "", TRANSIENT),
    ],
)
def test_only_a_condition_that_is_not_met_says_that_the_object_is_there(status, text, meaning):
    assert Refusal.parse(status, text).meaning is meaning


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"Bad Request: {body('cloudKmsDisabledKey')}", "cloudKmsDisabledKey: told why"),
        ("Bad Gateway:  <html>\n no", "Bad Gateway: <html> no"),
        ("{}", "{}"),
        ('{"error": "no"}', '{"error": "no"}'),
        (
            '{"error": {"errors": [], "message": "no"}}',
            '{"error": {"errors": [], "message": "no"}}',
        ),
        ("x" * 1000, "x" * 200),
    ],
)
def test_a_refusal_quotes_reason_and_message(text, says):
    assert str(Refusal.parse(400, text)) == says
