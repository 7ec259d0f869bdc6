"""The JSON Schemas in `docs/schemas/`, against the code that reads and writes the messages.

Every outcome of `tests/beam_jobs/engine/test_generate.py` is held against them too.
"""

import json
import re
from typing import Any

import pytest

from beam_jobs.catalog import MAX_IMAGES
from beam_jobs.outcomes import (
    MAX_DEAD_LETTER_BODY_BYTES,
    Failure,
    Outcome,
    Prediction,
    Reason,
    Work,
)
from beam_jobs.prompts.canary import Canary
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.field_values import MAX_ID_CHARS, MAX_PROMPT_CHARS, MAX_SEED
from beam_jobs.prompts.fields import FIELDS, Kind
from beam_jobs.prompts.parse import OUTPUT_FORMATS, PERSON_GENERATION, Prompt, parse
from beam_jobs.prompts.references import MAX_REFERENCES, MAX_ROLE_CHARS
from beam_jobs.prompts.templates import PromptTemplate
from tests.message_schemas import message_of, schema, validator

GEMINI = "gemini-3.1-flash-image"
DEFAULTS = PromptDefaults(
    model=GEMINI,
    allowed_models=frozenset({GEMINI, "flux-1"}),
    reference_buckets=frozenset({"pictures"}),
)
BILLED = Work(images=1, calls=2, cost_usd=0.0336, input_tokens=9, image_tokens=1120, tier="flex")
UNKNOWN = Work(calls=1, unpriced_calls=1)


def parsed(body: bytes, **changes: Any) -> Any:
    return parse(body, {"tenant": "a"}, origin="message-1", defaults=DEFAULTS, **changes)


def prediction(**changes: Any) -> Prediction:
    prompt = parsed(b'{"prompt": "a fox", "images": 2}')
    assert isinstance(prompt, Prompt)
    fields: dict[str, Any] = {
        "prompt_id": prompt.prompt_id,
        "deduplication_key": prompt.deduplication_key,
        "digest": prompt.digest,
        "prompt": prompt.text,
        "images": (f"gs://pictures/images/{prompt.digest}-0.png",),
        "model": prompt.model,
        "source": "stream",
        "reused": False,
        "created_at": "2026-11-01T00:00:00.000+00:00",
        "latency_ms": 1200,
        "attributes": prompt.attributes,
    }
    return Prediction(**fields | changes)


def canary() -> Prediction:
    item = Canary("0" * 32)
    nothing = {"digest": "", "prompt": "", "images": (), "model": "", "prompt_id": item.prompt_id}
    return prediction(**nothing, deduplication_key=item.deduplication_key)


def failure(reason: Reason = Reason.UNAVAILABLE, **changes: Any) -> Failure:
    fields: dict[str, Any] = {
        "prompt_id": "order-1",
        "deduplication_key": "0f" * 32,
        "reason": reason,
        "detail": "model answered 503",
        "retryable": True,
        "attempts": 7,
        "body": b"\xff",
        "attributes": {"tenant": "a"},
        "source": "backfill:x",
    }
    return Failure(**fields | changes)


OUTCOMES: dict[str, Outcome] = {
    "prediction": prediction(work=BILLED),
    "reused": prediction(reused=True),
    "signed": prediction(
        signed_urls=("https://storage.googleapis.com/b/x?a=1&X-Goog-Signature=0f",)
    ),
    "canary": canary(),
    "template": prediction(template="studio@1767225600000000"),
    "answered by another model": prediction(requested_model="x", model_version="y@1"),
    "cost unknown": prediction(work=UNKNOWN),
    **{reason.value: failure(reason) for reason in Reason},
    "failure that paid": failure(work=BILLED),
    "refused template": failure(Reason.BLOCKED, template="studio@1767225600000000"),
    "failure of unknown cost": failure(work=UNKNOWN),
    "cut body": failure(body=b"x" * (MAX_DEAD_LETTER_BODY_BYTES + 1)),
    "no prompt": parsed(b'{"prompt": 3}'),
    "no canary": parse(b"", {"canary": "x"}, origin="FILE:7", defaults=DEFAULTS),
}
messages = pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)


@messages
def test_every_kind_of_message_fits_its_schema(outcome: Outcome) -> None:
    message = message_of(outcome)
    name = "prediction" if isinstance(outcome, Prediction) else "dead_letter"
    declared = schema(name)
    assert set(message) <= set(declared["properties"]), "a field is in no schema"
    assert set(declared["properties"]) - set(message) <= {"body_truncated_from_bytes"}
    assert set(declared["required"]) == set(declared["properties"]) - {"body_truncated_from_bytes"}


@messages
def test_a_field_that_is_new_to_a_consumer_does_not_disturb_it(outcome: Outcome) -> None:
    name = "prediction" if isinstance(outcome, Prediction) else "dead_letter"
    message = message_of(outcome)
    more = {**message, "next": [1], "tokens": {**message["tokens"], "audio": 0}}
    validator(name).validate(more)


@pytest.mark.parametrize("name", ["prediction", "dead_letter"])
def test_a_field_that_is_missing_or_of_another_type_does_not_fit(name: str) -> None:
    kind = Prediction if name == "prediction" else Failure
    message = next(message_of(each) for each in OUTCOMES.values() if isinstance(each, kind))
    for field in message:
        assert not validator(name).is_valid({**message, field: {"a": [1]}}), field
        assert not validator(name).is_valid({k: v for k, v in message.items() if k != field})


def test_the_schema_of_a_dead_letter_names_every_reason() -> None:
    assert schema("dead_letter")["properties"]["reason"]["examples"] == [
        each.value for each in Reason
    ]


def test_the_schema_of_a_prompt_has_the_fields_and_limits_of_the_parser() -> None:
    fields = schema("prompt")["properties"]
    assert list(fields) == [field.name for field in FIELDS]
    types = {
        Kind.TEXT: {"string"},
        Kind.CHOICE: {"string"},
        Kind.INTEGER: {"integer", "string"},
        Kind.BOOLEAN: {"boolean"},
        Kind.PATHS: {"array", "string"},
        Kind.VALUES: {"object"},
    }
    number = schema("prompt")["$defs"]["whole_number"]["type"]
    for field in FIELDS:
        if "enum" not in fields[field.name]:
            assert set(fields[field.name].get("type", number)) == types[field.kind] | {"null"}
    for name in ("prompt", "negative_prompt", "system_instruction"):
        assert fields[name]["maxLength"] == MAX_PROMPT_CHARS
    assert fields["id"]["maxLength"] == MAX_ID_CHARS
    assert fields["images"]["maximum"] == MAX_IMAGES
    assert fields["seed"]["maximum"] == MAX_SEED
    assert fields["references"]["maxItems"] == MAX_REFERENCES
    assert MAX_ROLE_CHARS == 200, "schema: role"
    assert fields["person_generation"]["enum"] == [*PERSON_GENERATION, None]
    assert fields["output_format"]["enum"] == [*OUTPUT_FORMATS, None]


TEMPLATE = {"template": "studio", "vars": {"product": "a shoe", "year": 2026, "unused": None}}


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": "a fox"},
        {"prompt": "a fox", "id": "fox-1", "images": 2, "aspect_ratio": "16:9", "seed": "42"},
        {"prompt": "a fox", "images": 2.0, "image_size": "2K", "thinking_level": "high"},
        {"prompt": "a fox", "model": "flux-1", "negative_prompt": "snow", "reuse": False},
        {"prompt": "a fox", "system_instruction": "oil", "person_generation": "ALLOW_NONE"},
        {"prompt": "a fox", "output_format": "jpeg", "output_quality": 80},
        {
            "prompt": "a fox",
            "references": ["gs://pictures/a.png", {"uri": "gs://pictures/c.png", "role": "x"}],
        },
        {"prompt": "a fox", "references": "gs://pictures/a.png gs://pictures/c.png"},
        {"prompt": "a fox", **{field.name: None for field in FIELDS if field.name != "prompt"}},
        TEMPLATE,
    ],
    ids=str,
)
def test_a_prompt_that_is_accepted_fits_the_schema(given: dict[str, Any]) -> None:
    template = PromptTemplate.parse("studio@1", b"{product} of {year}")
    accepted = parsed(json.dumps(given).encode(), find_template=lambda _: template)
    assert isinstance(accepted, Prompt), accepted
    validator("prompt").validate(given)


@pytest.mark.parametrize(
    "fields",
    [
        {"style": "oil"},
        {"prompt": 3},
        {"prompt": "x" * (MAX_PROMPT_CHARS + 1)},
        {"id": "~made"},
        {"id": "x" * (MAX_ID_CHARS + 1)},
        {"images": 0},
        {"images": 5},
        {"images": True},
        {"images": 1.5},
        {"seed": MAX_SEED + 1},
        {"seed": "many"},
        {"reuse": "no"},
        {"person_generation": "ALLOW"},
        {"output_format": "gif"},
        {"references": ["https://example.com/a.png"]},
        {"references": ["gs://pictures/a.png"] * (MAX_REFERENCES + 1)},
        {"references": [{"uri": "gs://pictures/a.png", "note": "x"}]},
        {"template": "Studio"},
        {"template": "studio", "vars": {"prompt": "x"}},
        {"template": "studio", "vars": {"product": True}},
        {"template": "studio", "vars": ["product"]},
    ],
    ids=lambda fields: re.sub(r"(.{40}).*", r"\1…", str(fields)),
)
def test_a_prompt_that_does_not_fit_the_schema_is_refused(fields: dict[str, Any]) -> None:
    given = {"prompt": "a fox", **fields}
    assert not validator("prompt").is_valid(given)
    template = PromptTemplate.parse("studio@1", b"{prompt} with {product}")
    refused = parsed(json.dumps(given).encode(), find_template=lambda _: template)
    assert isinstance(refused, Failure)
    assert refused.reason is Reason.INVALID_PROMPT


def test_a_prompt_without_a_text_or_template_does_not_fit() -> None:
    assert not validator("prompt").is_valid({"id": "fox-1"})
    assert isinstance(parsed(b'{"id": "fox-1"}'), Failure)
