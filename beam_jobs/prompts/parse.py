"""What a prompt is, and how bytes become one.

`parse` is pure and total: whatever bytes and attributes come in, it returns a `Prompt`, a
`Canary` or a `Failure`, and raises nothing.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from beam_jobs.catalog import CAPABILITIES, family_of
from beam_jobs.outcomes import (
    CANARY_ATTRIBUTE,
    MAX_ATTRIBUTES,
    REPLAYS_ATTRIBUTE,
    RESERVED_ATTRIBUTES,
    Failure,
    Reason,
)
from beam_jobs.prompts.identity import digest_of

# The longest prompt worth paying for; Imagen reads 480 tokens, Gemini image models at least 32,768.
MAX_PROMPT_CHARS = 8_000
# No valid prompt needs more, even with every character of both texts as two \u escapes.
MAX_BODY_BYTES = 256 * 1024
MAX_ID_CHARS = 128
MAX_IMAGES = 4
# Gemini's and Imagen's seed is an int32; Imagen wants it positive.
MAX_SEED = 2**31 - 1

FIELDS = (
    "prompt",
    "id",
    "model",
    "images",
    "aspect_ratio",
    "image_size",
    "seed",
    "negative_prompt",
    "reuse",
)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]*")
_LOOKS_LIKE_AN_OBJECT = re.compile(r'\s*\{\s*"')


@dataclasses.dataclass(frozen=True, slots=True)
class PromptDefaults:
    """What a prompt that does not say gets, and which models it may name."""

    model: str
    allowed_models: frozenset[str]
    source: str = "stream"


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One request for images, checked. `body` and `attributes` are the message it came in."""

    prompt_id: str
    digest: str
    text: str
    model: str
    images: int
    aspect_ratio: str | None
    image_size: str | None
    seed: int | None
    negative_prompt: str | None
    body: bytes
    attributes: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Canary:
    """A health probe: goes the way of a prompt, pays for nothing."""

    prompt_id: str
    body: bytes
    attributes: Mapping[str, str]


# What parsing makes of a message, and what the work on it begins with.
Parsed = Prompt | Canary | Failure


class _InvalidPromptError(ValueError):
    """What is wrong with a prompt, in a sentence for the person who sent it."""


def parse(
    body: bytes, attributes: Mapping[str, str], *, origin: str, defaults: PromptDefaults
) -> Parsed:
    """Turn a message or a row of a file into what the job works on.

    `origin` names this delivery for good: the message id, or file and line. It is the identity of
    what cannot be parsed, and of a prompt that asks for fresh images.
    """
    kept = {
        key: value
        for key, value in attributes.items()
        # Pub/Sub refuses to publish keys that begin with "goog".
        if key not in RESERVED_ATTRIBUTES and not key.startswith("goog")
    }
    try:
        if len(kept.keys() - {REPLAYS_ATTRIBUTE}) > MAX_ATTRIBUTES:
            raise _InvalidPromptError(
                f"message has {len(kept)} attributes; at most {MAX_ATTRIBUTES} can travel on "
                "to the prediction"
            )
        if CANARY_ATTRIBUTE in kept:
            return Canary(
                prompt_id=_short(kept[CANARY_ATTRIBUTE] or origin), body=body, attributes=kept
            )
        return _prompt(_fields(body), body, kept, origin, defaults)
    except _InvalidPromptError as error:
        return invalid(str(error), body, attributes, origin=origin, source=defaults.source)


def invalid(
    detail: str, body: bytes, attributes: Mapping[str, str], *, origin: str, source: str
) -> Failure:
    """Return the failure of something that is no prompt; `origin` stands in for its id."""
    return Failure(
        # The end of a long path is what tells one row from the next.
        prompt_id=origin[-200:],
        reason=Reason.INVALID_PROMPT,
        detail=detail,
        retryable=False,
        attempts=0,
        body=body,
        attributes=attributes,
        source=source,
    )


def _fields(body: bytes) -> dict[str, Any]:
    """Return the fields of a structured prompt, or the whole body as the field `prompt`."""
    if len(body) > MAX_BODY_BYTES:
        raise _InvalidPromptError(
            f"body has {len(body):,} bytes; a prompt has at most {MAX_BODY_BYTES:,}"
        )
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _InvalidPromptError(
            f"body is not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}"
        ) from None
    if not text.lstrip().startswith("{"):
        return {"prompt": text}
    try:
        value: dict[str, Any] = json.loads(text, object_pairs_hook=_no_duplicates)
    except RecursionError:
        raise _InvalidPromptError("body is JSON nested too deeply to read") from None
    except json.JSONDecodeError as error:
        if not _LOOKS_LIKE_AN_OBJECT.match(text):
            return {"prompt": text}  # a prompt may begin with a brace
        raise _InvalidPromptError(
            f"body begins like a JSON object but is not one: {error.msg} at line {error.lineno} "
            f"column {error.colno}"
        ) from None
    except _InvalidPromptError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise _InvalidPromptError(f"body is not usable JSON: {error}") from None
    if not isinstance(value.get("prompt"), str):
        raise _InvalidPromptError(
            f"field 'prompt': expected a string, got {_shown(value.get('prompt'))}"
            if "prompt" in value
            else "field 'prompt' is missing: a JSON object must have it, as a string"
        )
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise _InvalidPromptError(f"field {_shown(key)} is given twice")
        fields[key] = value
    return fields


def _prompt(
    fields: dict[str, Any],
    body: bytes,
    attributes: Mapping[str, str],
    origin: str,
    defaults: PromptDefaults,
) -> Prompt:
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise _InvalidPromptError(
            f"unknown field {_shown(unknown[0])}; known are {', '.join(FIELDS)}"
        )
    text = _text(fields["prompt"], "prompt")
    model = _one_of(fields, "model", defaults.allowed_models) or defaults.model
    offers = CAPABILITIES[family_of(model)]
    negative_prompt = fields.get("negative_prompt")
    if negative_prompt is not None:
        negative_prompt = _text(negative_prompt, "negative_prompt")
        if not offers.negative_prompt:
            raise _InvalidPromptError(
                f"field 'negative_prompt': {model} has none; say in the prompt what to leave out"
            )
    reuse = fields.get("reuse")
    if reuse is not None and not isinstance(reuse, bool):
        raise _InvalidPromptError(f"field 'reuse': expected true or false, got {_shown(reuse)}")
    given_id = _id(fields.get("id"))
    decisive: dict[str, Any] = {
        "text": text,
        "model": model,
        "images": _integer(fields, "images", 1, MAX_IMAGES) or 1,
        "aspect_ratio": _one_of(fields, "aspect_ratio", offers.aspect_ratios),
        "image_size": _one_of(fields, "image_size", offers.image_sizes),
        "seed": _integer(fields, "seed", 0, MAX_SEED),
        "negative_prompt": negative_prompt,
    }
    digest = digest_of(**decisive, fresh=(given_id or origin) if reuse is False else None)
    return Prompt(
        prompt_id=given_id or digest, digest=digest, body=body, attributes=attributes, **decisive
    )


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise _InvalidPromptError(f"field '{field}': expected a string, got {_shown(value)}")
    text = value.strip()
    if not text:
        raise _InvalidPromptError(f"field '{field}' is empty")
    if len(text) > MAX_PROMPT_CHARS:
        raise _InvalidPromptError(
            f"field '{field}' has {len(text):,} characters; at most {MAX_PROMPT_CHARS:,}"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
        raise _InvalidPromptError(
            f"field '{field}' is not Unicode text: lone surrogate at character {error.start}"
        ) from None
    if "\x00" in text:
        raise _InvalidPromptError(f"field '{field}' has a NUL character in it")
    return text


def _id(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ID_CHARS or not _ID.fullmatch(value):
        raise _InvalidPromptError(
            f"field 'id': expected 1 to {MAX_ID_CHARS} of the characters A-Z a-z 0-9 . _ : @ / + "
            f"= -, beginning with a letter or digit, got {_shown(value)}"
        )
    return value


def _integer(fields: dict[str, Any], field: str, least: int, most: int) -> int | None:
    value = fields.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _InvalidPromptError(
            f"field '{field}': expected a whole number from {least} to {most}, got {_shown(value)}"
        )
    return value


def _one_of(fields: dict[str, Any], field: str, allowed: frozenset[str]) -> str | None:
    value = fields.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or value not in allowed:
        raise _InvalidPromptError(
            f"field '{field}': expected one of {', '.join(sorted(allowed))}, got {_shown(value)}"
        )
    return value


def _shown(value: Any) -> str:
    """Return `value` for an error message: JSON-like, ASCII, and short whatever was sent."""
    return _short(ascii(value) if not isinstance(value, float) else repr(value), 60)


def _short(text: str, length: int = 200) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
