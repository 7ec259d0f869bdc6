"""Checks the values of a structured prompt's fields, one by one. Pure."""

import re
from decimal import Decimal
from typing import Any

from beam_jobs.prompts.body import InvalidPromptError, is_blank, quoted, without_marks
from beam_jobs.prompts.structured import kind_of, stands_for_no_value

# The longest prompt worth paying for. Imagen reads 480 tokens, Gemini image models at least 32,768.
MAX_PROMPT_CHARS = 8_000
MAX_ID_CHARS = 128
# The seed is an int32 for Gemini and Imagen, and Imagen requires it to be positive.
MAX_SEED = 2**31 - 1

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]*")
# What no text has: the control characters of ASCII and DEL, which come from binary, a terminal or
# another encoding, and C1, which come from Windows-1252 read as ISO 8859-1. Not those that Unicode
# counts as line ends or white space: tab, LF, VT, FF, CR and NEL.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_CONTROL_NAMES = {0: "NUL", 0x1A: "DOS end-of-file", 0x1B: "terminal escape", 0x7F: "DEL"}
# A value of a field for a model that is not in the catalog: it is passed on as it is.
_OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,31}")
# As JSON, BigQuery (which exports INT64 as strings), pandas and spreadsheets write whole numbers.
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,3})?")


def text_of(value: Any, field: str) -> str:
    """Return a field's text.

    Args:
        value: what the field holds.
        field: its name, for error messages.

    Raises:
        InvalidPromptError: it is no text that a model can take.
    """
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
    return sendable(text, field)


def sendable(text: str, field: str) -> str:
    """Return a text, if it can be sent to a model.

    Args:
        text: the text.
        field: the name of the field that it is of, for error messages.

    Raises:
        InvalidPromptError: it is too long, or has characters that no text has.
    """
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


def id_of(value: Any) -> str | None:
    """Return the id that a sender gave; None if there is none.

    Raises:
        InvalidPromptError: it is none.
    """
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ID_CHARS or not _ID.fullmatch(value):
        raise InvalidPromptError(
            f"field 'id': expected 1 to {MAX_ID_CHARS} characters from A-Z a-z 0-9 . _ : @ / + = "
            f"-, starting with a letter or digit, got {quoted(value)}"
        )
    return value


def integer(
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


def offered_value(
    fields: dict[str, Any], field: str, model: str, offered: tuple[str, ...] | None
) -> str | None:
    """Return a field that a model may or may not make; `offered` None: nothing is known of it."""
    value = fields.get(field)
    if value is None:
        return None
    if offered is None and isinstance(value, str) and _OPTION.fullmatch(value):
        return value
    if offered and isinstance(value, str) and value in offered:
        return value
    if offered:
        expected = f"expected one of {', '.join(offered)}, which {model} makes"
    elif offered is None:
        expected = "expected a value such as 16:9 or 2K"
    else:
        expected = f"{model} does not have it; remove the field"
    raise InvalidPromptError(f"field '{field}': {expected}, got {quoted(value)}")


def choice(
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
