"""The JSON Schemas of the messages, `docs/schemas/`, for whatever test has a real message."""

import functools
import json
from typing import Any

from jsonschema import Draft202012Validator

from beam_jobs.outcomes import FAILURE_SCHEMA, PREDICTION_SCHEMA, Outcome, encode
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "schemas"
_NAMES = {PREDICTION_SCHEMA: "prediction", FAILURE_SCHEMA: "dead_letter"}


@functools.cache
def schema(name: str) -> dict[str, Any]:
    """Return a schema: `prompt`, `prediction`, or `dead_letter`."""
    text = (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@functools.cache
def validator(name: str) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema(name))
    return Draft202012Validator(schema(name))


def message_of(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome's message as a consumer reads it, once it fits its schema."""
    message: dict[str, Any] = json.loads(encode(outcome)[0])
    validator(_NAMES[message["schema"]]).validate(message)
    return message
