"""The parser: turns the bytes and attributes of a message into a prompt.

`parse` is pure and never raises: for any input it returns a `Prompt`, a `Canary` or a `Failure`.
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
from beam_jobs.prompts.fields import DECIDING, FIELD_NAMES, PARAMETERS
from beam_jobs.prompts.identity import digest_of

# The longest prompt worth paying for. Imagen reads 480 tokens, Gemini image models at least 32,768.
MAX_PROMPT_CHARS = 8_000
# No valid prompt needs more, even if every character of both texts is written as two \u escapes.
MAX_BODY_BYTES = 256 * 1024
MAX_ID_CHARS = 128
MAX_IMAGES = 4
# The seed is an int32 for Gemini and Imagen, and Imagen requires it to be positive.
MAX_SEED = 2**31 - 1

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]*")
_LOOKS_LIKE_AN_OBJECT = re.compile(r'\s*\{\s*"')


@dataclasses.dataclass(frozen=True, slots=True)
class PromptDefaults:
    """What the job's options set for its prompts.

    Args:
        model: for prompts that do not name one.
        allowed_models: the models that a prompt may name.
        source: the source that outcomes name: `stream` or `backfill:RUN`.
    """

    model: str
    allowed_models: frozenset[str]
    source: str = "stream"


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One valid request for images. `body` and `attributes` are those of its message."""

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

    @property
    def deciding(self) -> dict[str, Any]:
        """The fields that decide the image, by name; None for a field without a value."""
        return {
            field.name: getattr(self, "text" if field.name == "prompt" else field.name)
            for field in DECIDING
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """What the sender asked for beyond text, model and number of images, by field name."""
        values = {field.name: getattr(self, field.name) for field in PARAMETERS}
        return {name: value for name, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True, slots=True)
class Canary:
    """A health probe: passes through the job like a prompt, but no model is called for it."""

    prompt_id: str
    body: bytes
    attributes: Mapping[str, str]


# The result of parsing a message, and the input of the engine.
Parsed = Prompt | Canary | Failure


class _InvalidPromptError(ValueError):
    """The body is not a valid prompt. The message is a sentence for the person who sent it."""


def parse(
    body: bytes, attributes: Mapping[str, str], *, origin: str, defaults: PromptDefaults
) -> Parsed:
    """Parse a message or a row of a file.

    Args:
        body: the bytes of the message or row: plain text, or a JSON object.
        attributes: those of the message.
        origin: identifies this delivery: the message id, or `FILE:LINE`. It becomes the id of a
            body that cannot be parsed, and part of the digest of a prompt that asks for new images.
        defaults: the model for prompts that do not name one, and the models they may name.
    """
    forwarded = {
        key: value
        for key, value in attributes.items()
        # Pub/Sub refuses to publish keys that begin with "goog".
        if key not in RESERVED_ATTRIBUTES and not key.startswith("goog")
    }
    try:
        if len(forwarded.keys() - {REPLAYS_ATTRIBUTE}) > MAX_ATTRIBUTES:
            raise _InvalidPromptError(
                f"message has {len(forwarded)} attributes; the limit is {MAX_ATTRIBUTES}, because "
                "the prediction has to carry them too"
            )
        if CANARY_ATTRIBUTE in forwarded:
            return Canary(
                prompt_id=_truncated(forwarded[CANARY_ATTRIBUTE] or origin),
                body=body,
                attributes=forwarded,
            )
        return _prompt(_fields(body), body, forwarded, origin, defaults)
    except _InvalidPromptError as error:
        return invalid(str(error), body, attributes, origin=origin, source=defaults.source)


def invalid(
    detail: str, body: bytes, attributes: Mapping[str, str], *, origin: str, source: str
) -> Failure:
    """Return the failure for a body that is not a prompt; its id is `origin`."""
    return Failure(
        # Of a long path and line, the end tells the rows apart.
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
        raise _InvalidPromptError(f"body has {len(body):,} bytes; the limit is {MAX_BODY_BYTES:,}")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _InvalidPromptError(
            f"body is not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}"
        ) from None
    if not text.lstrip().startswith("{"):
        return {"prompt": text}
    try:
        value: dict[str, Any] = json.loads(text, object_pairs_hook=_unique_fields)
    except RecursionError:
        raise _InvalidPromptError("body is JSON nested too deeply to be read") from None
    except json.JSONDecodeError as error:
        if not _LOOKS_LIKE_AN_OBJECT.match(text):
            return {"prompt": text}  # a prompt may begin with a brace
        raise _InvalidPromptError(
            f"body starts like a JSON object but is not valid JSON: {error.msg} at line "
            f"{error.lineno}, column {error.colno}"
        ) from None
    except _InvalidPromptError:
        raise
    except ValueError:  # Python refuses integers of more than 4,300 digits
        raise _InvalidPromptError("body is JSON with a number that has too many digits") from None
    if not isinstance(value.get("prompt"), str):
        raise _InvalidPromptError(
            f"field 'prompt': expected a string, got {_quoted(value.get('prompt'))}"
            if "prompt" in value
            else "field 'prompt' is missing; a JSON object needs it, as a string"
        )
    return value


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise _InvalidPromptError(f"field {_quoted(key)} appears twice")
        fields[key] = value
    return fields


def _prompt(
    fields: dict[str, Any],
    body: bytes,
    attributes: Mapping[str, str],
    origin: str,
    defaults: PromptDefaults,
) -> Prompt:
    unknown = sorted(set(fields) - set(FIELD_NAMES))
    if unknown:
        raise _InvalidPromptError(
            f"unknown field {_quoted(unknown[0])}; expected one of {', '.join(FIELD_NAMES)}"
        )
    text = _text(fields["prompt"], "prompt")
    model = _choice(fields, "model", defaults.allowed_models) or defaults.model
    capabilities = CAPABILITIES[family_of(model)]
    negative_prompt = fields.get("negative_prompt")
    if negative_prompt is not None:
        negative_prompt = _text(negative_prompt, "negative_prompt")
        if not capabilities.negative_prompt:
            raise _InvalidPromptError(
                f"field 'negative_prompt': {model} does not support it; write in the prompt what "
                "to leave out"
            )
    reuse = fields.get("reuse")
    if reuse is not None and not isinstance(reuse, bool):
        raise _InvalidPromptError(f"field 'reuse': expected true or false, got {_quoted(reuse)}")
    given_id = _id(fields.get("id"))
    deciding: dict[str, Any] = {
        "prompt": text,
        "model": model,
        "images": _integer(fields, "images", 1, MAX_IMAGES) or 1,
        "aspect_ratio": _choice(fields, "aspect_ratio", capabilities.aspect_ratios),
        "image_size": _choice(fields, "image_size", capabilities.image_sizes),
        "seed": _integer(fields, "seed", 0, MAX_SEED),
        "negative_prompt": negative_prompt,
    }
    digest = digest_of(deciding, fresh=(given_id or origin) if reuse is False else None)
    del deciding["prompt"]
    return Prompt(
        prompt_id=given_id or digest,
        digest=digest,
        body=body,
        attributes=attributes,
        text=text,
        **deciding,
    )


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise _InvalidPromptError(f"field '{field}': expected a string, got {_quoted(value)}")
    text = value.strip()
    if not text:
        raise _InvalidPromptError(f"field '{field}' is empty")
    if len(text) > MAX_PROMPT_CHARS:
        raise _InvalidPromptError(
            f"field '{field}' has {len(text):,} characters; the limit is {MAX_PROMPT_CHARS:,}"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
        raise _InvalidPromptError(
            f"field '{field}' is not valid Unicode: lone surrogate at character {error.start}"
        ) from None
    if "\x00" in text:
        raise _InvalidPromptError(f"field '{field}' contains a NUL character; remove it")
    return text


def _id(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ID_CHARS or not _ID.fullmatch(value):
        raise _InvalidPromptError(
            f"field 'id': expected 1 to {MAX_ID_CHARS} characters from A-Z a-z 0-9 . _ : @ / + = "
            f"-, starting with a letter or digit, got {_quoted(value)}"
        )
    return value


def _integer(fields: dict[str, Any], field: str, minimum: int, maximum: int) -> int | None:
    value = fields.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise _InvalidPromptError(
            f"field '{field}': expected a whole number from {minimum} to {maximum}, "
            f"got {_quoted(value)}"
        )
    return value


def _choice(fields: dict[str, Any], field: str, allowed: frozenset[str]) -> str | None:
    value = fields.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or value not in allowed:
        raise _InvalidPromptError(
            f"field '{field}': expected one of {', '.join(sorted(allowed))}, got {_quoted(value)}"
        )
    return value


def _quoted(value: Any) -> str:
    """Return `value` as error messages quote it: JSON-like, in ASCII, at most 60 characters."""
    return _truncated(ascii(value) if not isinstance(value, float) else repr(value), 60)


def _truncated(text: str, length: int = 200) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
