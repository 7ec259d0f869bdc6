"""The body of a message or a row: plain text, or the fields of a JSON object.

What was meant as JSON and is none is refused rather than drawn as text.
"""

import json
import unicodedata
from typing import Any

from beam_jobs.prompts.structured import kind_of, seen

# No valid prompt needs more, even if every character of both texts is written as two \u escapes.
MAX_BODY_BYTES = 256 * 1024
_BYTE_ORDER_MARK = "\ufeff"
# Unicode's categories of separators, format characters and marks.
_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cf", "Mn", "Me"})
# An empty Braille cell, and the fillers in place of a letter of Hangul.
_BLANKS = frozenset("\u2800\u115f\u1160\u3164\uffa0")
_AS_AN_OBJECT = 'send one JSON object per prompt, such as {"prompt": "a fox"}, or plain text'


class InvalidPromptError(ValueError):
    """The body is not a valid prompt. The message is a sentence for the person who sent it."""


def fields_of(body: bytes) -> dict[str, Any]:
    """Return the fields of a structured prompt, or the whole body as the field `prompt`.

    Raises:
        InvalidPromptError: the body is too long, not UTF-8, or was meant as JSON and is not one
            object.
    """
    if len(body) > MAX_BODY_BYTES:
        raise InvalidPromptError(f"body has {len(body):,} bytes; the limit is {MAX_BODY_BYTES:,}")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidPromptError(
            f"body is not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}"
        ) from None
    text = without_marks(text)
    kind = kind_of(text)
    if kind is None:
        return {"prompt": text}  # which may begin with a brace or a bracket
    if kind != "JSON":
        raise InvalidPromptError(f"body is {kind}; {_AS_AN_OBJECT}")
    try:
        value = json.loads(seen(text), object_pairs_hook=_unique_fields)
    except RecursionError:
        raise InvalidPromptError("body is JSON nested too deeply to be read") from None
    except json.JSONDecodeError as error:
        raise InvalidPromptError(
            "body starts like a JSON object or list but is not valid JSON: "
            f"{error.msg} at line {error.lineno}, column {error.colno}; {_AS_AN_OBJECT}"
        ) from None
    except InvalidPromptError:
        raise
    except ValueError:  # Python refuses integers of more than 4,300 digits
        raise InvalidPromptError("body is JSON with a number that has too many digits") from None
    if not isinstance(value, dict):
        kind = "list" if isinstance(value, list) else "string that holds one"
        raise InvalidPromptError(f"body is a JSON {kind}; {_AS_AN_OBJECT}")
    return value


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise InvalidPromptError(f"field {quoted(key)} appears twice")
        fields[key] = value
    return fields


def without_marks(text: str) -> str:
    """Return a text without byte order marks, and without white space around it.

    A byte order mark is no part of a text (RFC 8259, section 8.1). Where texts were put together or
    pasted, marks are in the middle too.
    """
    return text.replace(_BYTE_ORDER_MARK, "").strip()


def is_blank(text: str) -> bool:
    """Whether a text has nothing to see.

    That is white space, format characters such as U+200B and U+00AD, marks without a letter to
    stand on, and the few letters and symbols that are drawn as nothing.
    """
    if "!" <= text[:1] <= "~":  # nearly every text, at once
        return False
    return all(
        char in _BLANKS or char.isspace() or unicodedata.category(char) in _INVISIBLE
        for char in text
    )


def quoted(value: Any) -> str:
    """Return `value` as error messages quote it: JSON-like, in ASCII, at most 60 characters."""
    return truncated(ascii(value) if not isinstance(value, float) else repr(value), 60)


def truncated(text: str, length: int = 200) -> str:
    """Return `text`, shortened to `length` characters."""
    return text if len(text) <= length else text[: length - 3] + "..."
