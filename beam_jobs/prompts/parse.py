"""The parser: turns the bytes and attributes of a message into a prompt.

`parse` is pure and never raises: for any input it returns a `Prompt`, a `Canary` or a `Failure`.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from beam_jobs.catalog import CAPABILITIES, IMAGE_SIZES, MAX_IMAGES, family_of
from beam_jobs.outcomes import (
    CANARY_ATTRIBUTE,
    MAX_ATTRIBUTES,
    REPLAYS_ATTRIBUTE,
    Failure,
    Reason,
    forwarded_attributes,
)
from beam_jobs.prompts.body import (
    InvalidPromptError,
    fields_of,
    is_blank,
    quoted,
    without_marks,
)
from beam_jobs.prompts.canary import SIGNATURE_ATTRIBUTE, CheckCanary, refuse_canary, refused
from beam_jobs.prompts.fields import DECIDING, FIELD_NAMES, PARAMETERS
from beam_jobs.prompts.identity import ENDPOINT_PART, deduplication_key_of, digest_of, made_id
from beam_jobs.prompts.structured import kind_of, stands_for_no_value

# The longest prompt worth paying for. Imagen reads 480 tokens, Gemini image models at least 32,768.
MAX_PROMPT_CHARS = 8_000
MAX_ID_CHARS = 128
# The source of what the stream does; that of a backfill is backfill:RUN.
STREAM = "stream"
# The seed is an int32 for Gemini and Imagen, and Imagen requires it to be positive.
MAX_SEED = 2**31 - 1

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]*")
# What no text has: the control characters of ASCII and DEL, which come from binary, a terminal or
# another encoding, and C1, which come from Windows-1252 read as ISO 8859-1. Not those that Unicode
# counts as line ends or white space: tab, LF, VT, FF, CR and NEL.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_CONTROL_NAMES = {0: "NUL", 0x1A: "DOS end-of-file", 0x1B: "terminal escape", 0x7F: "DEL"}
# As JSON, BigQuery (which exports INT64 as strings), pandas and spreadsheets write whole numbers.
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,3})?")


@dataclasses.dataclass(frozen=True, slots=True)
class PromptDefaults:
    """What the job's options set for its prompts.

    Args:
        model: for prompts that do not name one.
        allowed_models: the models that a prompt may name.
        source: the source that outcomes name: `stream` or `backfill:RUN`.
        model_endpoint: the endpoint or publisher model that serves `model`; None: Google's own.
        allowed_image_sizes: those that a prompt may ask for, if its model offers them.
        max_images_per_prompt: how many images a prompt may ask for, at most `MAX_IMAGES`.
    """

    model: str
    allowed_models: frozenset[str]
    source: str = STREAM
    model_endpoint: str | None = None
    allowed_image_sizes: frozenset[str] = frozenset(IMAGE_SIZES)
    max_images_per_prompt: int = MAX_IMAGES

    def endpoint_of(self, model: str) -> str | None:
        """Return the endpoint that serves a model of the job; it serves the default model alone."""
        return self.model_endpoint if model == self.model else None


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One valid request for images. `body` and `attributes` are those of its message.

    `model_endpoint` is what serves its model, if it isn't Google's own; the job says so.
    """

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
    model_endpoint: str | None = None

    @property
    def deduplication_key(self) -> str:
        """What consumers deduplicate this prompt's outcomes on."""
        return deduplication_key_of(self.prompt_id, self.attributes, self.digest)

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides the image, by name: the fields, of which one without a value is None.

        For a model on an endpoint, that too: the same name may stand for another model there.
        """
        fields = {
            field.name: getattr(self, "text" if field.name == "prompt" else field.name)
            for field in DECIDING
        }
        return {**fields, **self._served_by}

    @property
    def parameters(self) -> dict[str, Any]:
        """What to show beside an image besides text and model: the fields with a value, by name.

        For a model on an endpoint, that too.
        """
        values = {field.name: getattr(self, field.name) for field in PARAMETERS}
        fields = {name: value for name, value in values.items() if value is not None}
        return {**fields, **self._served_by}

    @property
    def _served_by(self) -> dict[str, str]:
        return {ENDPOINT_PART: self.model_endpoint} if self.model_endpoint else {}


@dataclasses.dataclass(frozen=True, slots=True)
class Canary:
    """A health probe: passes through the job like a prompt, but no model is called for it."""

    name: str
    body: bytes = b""

    @property
    def prompt_id(self) -> str:
        """The id of its outcome."""
        return made_id(f"canary:{self.name}")

    @property
    def attributes(self) -> Mapping[str, str]:
        """What goes on to the prediction: nothing but the name."""
        return {CANARY_ATTRIBUTE: self.name}

    @property
    def deduplication_key(self) -> str:
        """What consumers deduplicate its outcomes on."""
        return deduplication_key_of(self.prompt_id, self.attributes)


# The result of parsing a message, and the input of the engine.
Parsed = Prompt | Canary | Failure


def parse(
    body: bytes,
    attributes: Mapping[str, str],
    *,
    origin: str,
    defaults: PromptDefaults,
    check_canary: CheckCanary = refuse_canary,
) -> Parsed:
    """Parse a message or a row of a file.

    Args:
        body: the bytes of the message or row: plain text, or a JSON object.
        attributes: those of the message.
        origin: identifies this delivery: the message id, or `FILE:LINE`. It becomes the id of a
            body that cannot be parsed, and part of the digest of a prompt that asks for new images.
        defaults: the model for prompts that do not name one, and the models they may name.
        check_canary: checks the signature of a canary. By default, no message is one.
    """
    forwarded = forwarded_attributes(attributes)
    try:
        if CANARY_ATTRIBUTE in attributes:
            return _canary(body, attributes, check_canary)
        if len(forwarded.keys() - {REPLAYS_ATTRIBUTE}) > MAX_ATTRIBUTES:
            raise InvalidPromptError(
                f"message has {len(forwarded)} attributes; the limit is {MAX_ATTRIBUTES}, because "
                "the prediction has to carry them too"
            )
        return _prompt(fields_of(body), body, forwarded, origin, defaults)
    except InvalidPromptError as error:
        return invalid(str(error), body, attributes, origin=origin, source=defaults.source)


def invalid(
    detail: str, body: bytes, attributes: Mapping[str, str], *, origin: str, source: str
) -> Failure:
    """Return the failure for a body that is not a prompt; its id is made of `origin`."""
    prompt_id = made_id(origin)
    return Failure(
        prompt_id=prompt_id,
        deduplication_key=deduplication_key_of(
            prompt_id, attributes, origin, hashlib.sha256(body).hexdigest()
        ),
        reason=Reason.INVALID_PROMPT,
        detail=detail,
        retryable=False,
        attempts=0,
        body=body,
        attributes=attributes,
        source=source,
    )


def _canary(body: bytes, attributes: Mapping[str, str], check_canary: CheckCanary) -> Canary:
    name = attributes[CANARY_ATTRIBUTE]
    if body:
        raise refused("on a message with a body")
    check_canary(name, attributes.get(SIGNATURE_ATTRIBUTE, ""))
    return Canary(name)


def _prompt(
    fields: dict[str, Any],
    body: bytes,
    attributes: Mapping[str, str],
    origin: str,
    defaults: PromptDefaults,
) -> Prompt:
    unknown = sorted(set(fields) - set(FIELD_NAMES))
    if unknown:
        raise InvalidPromptError(
            f"unknown field {quoted(unknown[0])}; expected one of {', '.join(FIELD_NAMES)}"
        )
    text = _text(fields["prompt"], "prompt")
    models = defaults.allowed_models
    model = _choice(fields, "model", models, option="--allowed_models") or defaults.model
    capabilities = CAPABILITIES[family_of(model)]
    negative_prompt = fields.get("negative_prompt")
    if negative_prompt is not None:
        negative_prompt = _text(negative_prompt, "negative_prompt")
        if not capabilities.negative_prompt:
            raise InvalidPromptError(
                f"field 'negative_prompt': {model} does not support it; write in the prompt what "
                "to leave out"
            )
    reuse = fields.get("reuse")
    if reuse is not None and not isinstance(reuse, bool):
        raise InvalidPromptError(f"field 'reuse': expected true or false, got {quoted(reuse)}")
    given_id = _id(fields.get("id"))
    deciding: dict[str, Any] = {
        "prompt": text,
        "model": model,
        "images": _images(fields, defaults.max_images_per_prompt),
        "aspect_ratio": _choice(fields, "aspect_ratio", capabilities.aspect_ratios),
        "image_size": _image_size(fields, capabilities.image_sizes, defaults.allowed_image_sizes),
        "seed": _integer(fields, "seed", 0, MAX_SEED),
        "negative_prompt": negative_prompt,
        ENDPOINT_PART: defaults.endpoint_of(model),
    }
    digest = digest_of(deciding, fresh=(given_id or origin) if reuse is False else None)
    del deciding["prompt"]
    return Prompt(
        prompt_id=given_id or made_id(digest),
        digest=digest,
        body=body,
        attributes=attributes,
        text=text,
        **deciding,
    )


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidPromptError(f"field '{field}': expected a string, got {quoted(value)}")
    text = without_marks(value)
    if is_blank(text):
        raise InvalidPromptError(f"field '{field}' is empty")
    if stands_for_no_value(text):
        raise InvalidPromptError(f"field '{field}' is empty: {quoted(text)} stands for no value")
    if kind := kind_of(text):
        raise InvalidPromptError(
            f"field '{field}' holds {kind}; expected the text itself, with the other fields beside "
            "it"
        )
    if len(text) > MAX_PROMPT_CHARS:
        raise InvalidPromptError(
            f"field '{field}' has {len(text):,} characters; the limit is {MAX_PROMPT_CHARS:,}"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
        raise InvalidPromptError(
            f"field '{field}' is not valid Unicode: lone surrogate at character {error.start}"
        ) from None
    if match := _CONTROL.search(text):
        code = ord(match[0])
        raise InvalidPromptError(
            f"field '{field}' contains a {_CONTROL_NAMES.get(code, 'control')} character, "
            f"U+{code:04X}, at character {match.start()}; remove it"
        )
    return text


def _id(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ID_CHARS or not _ID.fullmatch(value):
        raise InvalidPromptError(
            f"field 'id': expected 1 to {MAX_ID_CHARS} characters from A-Z a-z 0-9 . _ : @ / + = "
            f"-, starting with a letter or digit, got {quoted(value)}"
        )
    return value


def _images(fields: dict[str, Any], maximum: int) -> int:
    option = "--max_images_per_prompt" if maximum < MAX_IMAGES else ""
    return _integer(fields, "images", 1, maximum, option=option) or 1


def _image_size(
    fields: dict[str, Any], offered: frozenset[str], allowed: frozenset[str]
) -> str | None:
    option = "" if offered <= allowed else "--allowed_image_sizes"
    return _choice(fields, "image_size", offered & allowed, option=option)


def _integer(
    fields: dict[str, Any], field: str, minimum: int, maximum: int, *, option: str = ""
) -> int | None:
    """Return a whole number; `option` names what set the maximum, if an option of the job did."""
    value = fields.get(field)
    if value is None:
        return None
    number = _whole(value)
    if number is None or not minimum <= number <= maximum:
        raise InvalidPromptError(
            f"field '{field}': expected a whole number from {minimum} to {maximum}"
            f"{_set_by(option)}, got {quoted(value)}"
        )
    return int(number)


def _whole(value: Any) -> int | Decimal | None:
    """Return the whole number that a value stands for; None if it stands for none."""
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if _NUMBER.fullmatch(text := value.strip()):
            number = Decimal(text)  # exact, and cheap even for 1e999
            return number if number == number.to_integral_value() else None
        case _:
            return None


def _choice(
    fields: dict[str, Any], field: str, allowed: frozenset[str], *, option: str = ""
) -> str | None:
    """Return one of a few values; `option` names what limits them, if an option of the job does."""
    value = fields.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or value not in allowed:
        expected = f"one of {', '.join(sorted(allowed))}" if allowed else "no value"
        raise InvalidPromptError(
            f"field '{field}': expected {expected}{_set_by(option)}, got {quoted(value)}"
        )
    return value


def _set_by(option: str) -> str:
    # No apostrophe: a plan leaves out what stands in quotes, which may be somebody's prompt.
    return f" ({option})" if option else ""
