"""The two message formats that consumers read."""

import base64
import json

import pytest

from beam_jobs.outcomes import (
    MAX_ATTRIBUTES,
    MAX_DEAD_LETTER_BODY_BYTES,
    RESERVED_ATTRIBUTES,
    Failure,
    Prediction,
    Reason,
    Work,
    encode,
)

KEY = "0f" * 32


def prediction(**changes) -> Prediction:
    fields = {
        "prompt_id": "order-1",
        "deduplication_key": KEY,
        "digest": "ab" * 16,
        "prompt": "naïve 🦊",
        "images": ("gs://b/ab/x-0.png", "gs://b/ab/x-1.png"),
        "model": "gemini-3.1-flash-image",
        "source": "stream",
        "reused": False,
        "created_at": "2026-11-01T00:00:00.000+00:00",
        "latency_ms": 1200,
        "attributes": {"team": "ads"},
        "work": Work(images=2, calls=2),
    }
    return Prediction(**fields | changes)


def failure(**changes) -> Failure:
    fields = {
        "prompt_id": "order-1",
        "deduplication_key": KEY,
        "reason": Reason.UNAVAILABLE,
        "detail": "model answered 503",
        "retryable": True,
        "attempts": 7,
        "body": b'{"prompt": "\xff"}',
        "attributes": {"team": "ads"},
        "source": "backfill:x",
    }
    return Failure(**fields | changes)


def test_a_prediction_has_exactly_the_fields_of_its_schema():
    body, attributes = encode(prediction())
    assert json.loads(body) == {
        "schema": "imagen.prediction/1",
        "prompt_id": "order-1",
        "deduplication_key": KEY,
        "digest": "ab" * 16,
        "prompt": "naïve 🦊",
        "images": ["gs://b/ab/x-0.png", "gs://b/ab/x-1.png"],
        "signed_urls": [],
        "model": "gemini-3.1-flash-image",
        "source": "stream",
        "reused": False,
        "created_at": "2026-11-01T00:00:00.000+00:00",
        "latency_ms": 1200,
        "requested_model": "gemini-3.1-flash-image",
        "model_version": "",
        "template": "",
        "cost_usd": 0.0,
        "unpriced_calls": 0,
        "tokens": {"input": 0, "text": 0, "image": 0},
        "tier": "",
    }
    assert attributes == {
        "team": "ads",
        "prompt_id": "order-1",
        "deduplication_key": KEY,
        "source": "stream",
    }
    assert "🦊".encode() in body


def test_a_failure_has_exactly_the_fields_of_its_schema():
    body, attributes = encode(failure(template="studio@7"))
    assert json.loads(body) == {
        "schema": "imagen.failure/1",
        "prompt_id": "order-1",
        "deduplication_key": KEY,
        "reason": "UNAVAILABLE",
        "detail": "model answered 503",
        "retryable": True,
        "attempts": 7,
        "template": "studio@7",
        "cost_usd": 0.0,
        "unpriced_calls": 0,
        "tokens": {"input": 0, "text": 0, "image": 0},
        "tier": "",
        "source": "backfill:x",
        "body": base64.b64encode(b'{"prompt": "\xff"}').decode(),
        "attributes": {"team": "ads"},
    }
    assert attributes == {
        "prompt_id": "order-1",
        "deduplication_key": KEY,
        "source": "backfill:x",
        "reason": "UNAVAILABLE",
        "retryable": "true",
    }


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_is_written_as_its_name_and_retryable_in_lower_case(reason):
    _, attributes = encode(failure(reason=reason, retryable=False))
    assert (attributes["reason"], attributes["retryable"]) == (reason.name, "false")


def test_reserved_attributes_replace_incoming_ones():
    _, attributes = encode(prediction(attributes={"source": "x", "prompt_id": "y"}))
    assert attributes == {"source": "stream", "prompt_id": "order-1", "deduplication_key": KEY}


def test_a_body_larger_than_any_prompt_is_cut_and_says_so():
    whole = b"x" * (MAX_DEAD_LETTER_BODY_BYTES + 5)
    message, _ = encode(failure(body=whole))
    content = json.loads(message)
    assert base64.b64decode(content["body"]) == whole[:MAX_DEAD_LETTER_BODY_BYTES]
    assert content["body_truncated_from_bytes"] == len(whole)
    # https://cloud.google.com/pubsub/quotas#resource_limits
    assert len(message) < 10_000_000
    message, _ = encode(failure(body=whole[:MAX_DEAD_LETTER_BODY_BYTES]))
    assert "body_truncated_from_bytes" not in json.loads(message)


def test_the_maximum_of_attributes_leaves_room_for_the_reserved_ones():
    attributes = {f"k{number}": "v" for number in range(MAX_ATTRIBUTES)}
    for outcome in (prediction(attributes=attributes), failure(attributes=attributes)):
        _, published = encode(outcome)
        assert len(published) <= 100
    reserved = {"prompt_id", "deduplication_key", "source", "reason", "retryable"}
    assert reserved == RESERVED_ATTRIBUTES


@pytest.mark.parametrize(("attributes", "canary"), [({"canary": ""}, True), ({}, False)])
def test_a_prediction_is_a_canary_by_its_attribute(attributes, canary):
    assert prediction(attributes=attributes).canary is canary


def test_a_lone_surrogate_in_a_services_text_is_escaped():
    """JSON from Google may hold one, as in a message that was cut in the middle of an emoji."""
    body, _ = encode(failure(detail="model answered 400: a fox \ud83d", prompt_id="naïve"))
    assert b"na\xc3\xafve" in body
    assert json.loads(body)["detail"] == "model answered 400: a fox \ud83d"


@pytest.mark.parametrize(
    ("work", "usd"),
    [
        (Work(), 0.0),
        (Work(calls=1, cost_usd=0.0336), 0.0336),
        (Work(calls=2, cost_usd=0.0336, unpriced_calls=1), 0.0336),
        (Work(calls=1, unpriced_calls=1), None),
    ],
)
def test_an_unknown_cost_is_null_and_never_0(work, usd):
    assert json.loads(encode(prediction(work=work))[0])["cost_usd"] == usd
